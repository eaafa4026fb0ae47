"""A calendar that is named: holes of a lone instrument are seen; what it lacks is one line."""

import logging
import sys

import pytest

from stages.core.errors import ExpectedError
from stages.datasets.market.find import find
from tests.datasets.market.test_trading_days import segments_of, weekdays, write_days
from tests.helpers.market_bars import write_bars

XNYS = {"calendar": "XNYS"}
HOLE = ["2024-03-12", "2024-03-13", "2024-03-14"]


@pytest.fixture
def _package():
    pytest.importorskip("exchange_calendars", reason="exchange_calendars is not installed; `make setup` installs it")


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("options", [XNYS, {"instruments": {"SPY": XNYS}}])
def test_a_hole_of_a_lone_instrument_is_one(tmp_path, options, caplog):
    """Four trading days' step is a gap; weekends, holidays and, with three days, a hole are none."""
    folder = write_days(tmp_path, weekdays("2023-12-01", "2024-06-01", [*HOLE, "2024-05-27"]))
    assert segments_of(folder) == ["2023-12-01"]
    assert segments_of(folder, options) == ["2023-12-01", "2024-03-15"]
    folder = write_days(tmp_path, weekdays("2023-12-01", "2024-06-01", [*HOLE[1:], "2024-05-27"]))
    assert segments_of(folder, options) == ["2023-12-01"]
    assert caplog.records == []


@pytest.mark.usefixtures("_package")
def test_bars_on_days_that_the_exchange_is_closed_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        find(write_days(tmp_path, weekdays("2024-05-01", "2024-06-01")), XNYS)
    assert [record.getMessage() for record in caplog.records] == [
        "SPY: 1 of 23 days with a bar are no trading days of XNYS, the first 2024-05-27, expected none; correct "
        "params.yaml: datasets.market.options.calendar or the bars"
    ]


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("name", "first", "message"),
    [
        ("XNYX", "2024-05-01", r"options.calendar: 'XNYX', expected a calendar .*did you mean 'XNYS'\?"),
        ("XHKG", "1950-05-01", r"options.calendar: 'XHKG' from 1950-05-01 .*recorded back to the year 1960"),
    ],
)
def test_a_calendar_that_is_not_there(tmp_path, name, first, message):
    with pytest.raises(ExpectedError, match=message):
        find(write_days(tmp_path, weekdays(first, "2024-06-01")[:40]), {"calendar": name})


def test_the_package_is_asked_for_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    folder = write_days(tmp_path, weekdays("2024-05-01", "2024-06-01"))
    with pytest.raises(
        ExpectedError, match=r"calendar: the package exchange_calendars is not installed.*\[calendars\]"
    ):
        find(folder, XNYS)
    assert find(folder, {})


@pytest.mark.parametrize("options", [XNYS, {"instruments": {"NQ": XNYS}}])
def test_a_calendar_changes_nothing_of_minutes(tmp_path, options, caplog):
    """And is told so."""
    lines = [f"2024-01-08 {i // 12:02}:{i * 5 % 60:02}:00,10,20,5,11,7" for i in range(30)]
    with caplog.at_level(logging.WARNING):
        find(write_bars(tmp_path, lines), options)
    (record,) = caplog.records
    assert "calendar: changes nothing" in record.getMessage()
