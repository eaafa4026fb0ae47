"""Gaps of daily, weekly and monthly bars, in the trading days that the bars show."""

import numpy as np
import pytest

from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import write_bars

HOLIDAYS = {"2023-12-25", "2024-01-01", "2024-01-15", "2024-02-19", "2024-03-29"}


def weekdays(first, last, without=()):
    all_days = np.arange(first, last, dtype="datetime64[D]")
    return [day for day in all_days if np.is_busday(day) and str(day) not in HOLIDAYS and str(day) not in without]


def write_days(folder, stamps, name="SPY.csv"):
    return write_bars(folder, [f"{day},10,20,5,11,7" for day in stamps], name, "Date,Open,High,Low,Close,Volume")


def segments_of(folder, options=None, name="SPY"):
    options = options or {}
    units = [unit for unit in find(folder, options) if unit.key.startswith(name + "/")]
    table = read_bars(folder, units, options)
    return np.unique(table.segment[table.is_own]).astype("datetime64[ns]").astype("datetime64[D]").astype(str).tolist()


def test_weekends_and_holidays_are_no_gaps(tmp_path):
    assert segments_of(write_days(tmp_path, weekdays("2023-12-01", "2024-06-01"))) == ["2023-12-01"]


@pytest.mark.parametrize(("last", "is_gap"), [("2024-03-14", False), ("2024-03-15", True)])
def test_days_that_others_trade_on_count(tmp_path, last, is_gap):
    """Three trading days' step is none, four are one; alone, the instrument would have closed for that long."""
    hole = [str(day) for day in np.arange("2024-03-13", last, dtype="datetime64[D]")] + ["2024-03-12"]
    folder = write_days(tmp_path, weekdays("2023-12-01", "2024-06-01", hole))
    assert segments_of(folder) == ["2023-12-01"]
    write_days(tmp_path, weekdays("2023-12-01", "2024-06-01"), "QQQ.csv")
    assert segments_of(folder) == (["2023-12-01", last] if is_gap else ["2023-12-01"])


def test_a_long_hole_is_one_also_when_alone(tmp_path):
    hole = [str(day) for day in np.arange("2024-03-01", "2024-04-01", dtype="datetime64[D]")]
    assert segments_of(write_days(tmp_path, weekdays("2023-12-01", "2024-06-01", hole))) == ["2023-12-01", "2024-04-01"]


def test_an_exchange_with_other_holidays_is_another_calendar(tmp_path):
    """A week that one exchange is closed is no gap of its instrument, though the other one trades."""
    closed = [str(day) for day in np.arange("2024-04-29", "2024-05-06", dtype="datetime64[D]")]
    folder = write_days(tmp_path, weekdays("2024-01-02", "2024-06-01", closed), "N225.csv")
    write_days(tmp_path, weekdays("2024-01-02", "2024-06-01"))
    assert segments_of(folder, name="N225") == ["2024-01-02"]


def test_months_and_weeks_are_lengths(tmp_path):
    """Steps of 28 to 31 days are a month each; four months without a bar are a gap. The same for weeks."""
    months = np.arange("2018-01", "2024-01", dtype="datetime64[M]").astype("datetime64[D]")
    assert segments_of(write_days(tmp_path / "m", months)) == ["2018-01-01"]
    assert segments_of(write_days(tmp_path / "g", np.delete(months, range(30, 33)))) == ["2018-01-01", "2020-10-01"]
    weeks = np.arange("2023-01-02", "2024-01-01", 7, dtype="datetime64[D]")
    weeks[[2, 8, 21]] += 1  # of a week that begins with a holiday
    assert segments_of(write_days(tmp_path / "w", weeks)) == ["2023-01-02"]


def test_the_day_of_a_date_is_that_of_the_file(tmp_path):
    """A date is midnight UTC, whatever zone or offset is said."""
    stamps = [f"{day} 00:00:00+08:00" for day in weekdays("2024-03-01", "2024-05-01")]
    for options in ({}, {"time_zone": "America/New_York"}):
        folder = write_days(tmp_path, stamps)
        table = read_bars(folder, find(folder, options), options)
        assert str(table.time[0].astype("datetime64[ns]"))[:16] == "2024-03-01T00:00"
    assert [unit.key for unit in find(folder, {})] == ["SPY/2024-03", "SPY/2024-04"]


def test_an_option_in_minutes_comes_first(tmp_path):
    folder = write_days(tmp_path, weekdays("2024-01-02", "2024-02-01"))
    assert len(segments_of(folder, {"max_gap_minutes": 1440})) == 5


def test_appended_days_change_the_last_month_only(tmp_path):
    stamps = weekdays("2023-06-01", "2024-06-01")
    before = {unit.key: unit.digest for unit in find(write_days(tmp_path, stamps[:-5]), {})}
    after = {unit.key: unit.digest for unit in find(write_days(tmp_path, stamps), {})}
    assert [key for key in after if before.get(key) != after[key]] == ["SPY/2024-05"]
