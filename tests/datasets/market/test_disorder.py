"""Files that are newest first, rows of one time, and the order of day and month in both orders of the file."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.errors import BadUnit
from stages.datasets.market import encode
from stages.datasets.market.encode.bars import DIFFERENT, read_bars
from stages.datasets.market.find import find
from tests.helpers.market_bars import refusal, write_bars

NEW_YORK = {"time_zone": "America/New_York"}


def five_minutes(first, n):
    """Return lines of bars, one each 5 minutes."""
    stamps = np.datetime64(first) + 5 * np.arange(n)
    return [f"{str(t).replace('T', ' ')}:00,{1000 + i % 5},1200,900,{1000 + i % 3},{i}" for i, t in enumerate(stamps)]


def autumn():
    """Return 180 bars without a gap over the hour of 3 November 2024 that clocks in New York show twice."""
    utc = np.datetime64("2024-11-03T00:00") + 5 * np.arange(180)
    wall = utc - np.where(utc < np.datetime64("2024-11-03T06:00"), 240, 300)
    return [f"{str(t).replace('T', ' ')}:00,{1000 + i % 5},1200,900,{1000 + i % 3},{i}" for i, t in enumerate(wall)]


def arrays(folder, options):
    units = sorted(find(folder, options), key=lambda unit: unit.key)
    table = encode.read(folder, units, options)
    return encode.encode(table, options), table


def test_the_autumn_hour_of_a_file_that_is_newest_first(tmp_path):
    """All bars are there, at the times that the file in the other order gives, in one segment."""
    whole = [
        arrays(write_bars(tmp_path / str(i), lines), NEW_YORK) for i, lines in enumerate((autumn(), autumn()[::-1]))
    ]
    for name in encode.FIELDS:
        if name != "line":
            assert whole[0][0][name].tobytes() == whole[1][0][name].tobytes(), name
    assert (np.diff(whole[1][0]["time"]) == 5 * 60 * 10**9).all()
    assert whole[1][1].bars.findings == ()
    assert whole[1][0]["line"].tolist() == list(range(180, 0, -1))


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), zone=st.sampled_from(["UTC", "America/New_York", "Europe/Berlin"]))
def test_either_order_gives_the_same_arrays(tmp_path, seed, zone):
    """Bars with gaps and bad rows over two months; the first and last row are good ones."""
    rng = np.random.default_rng(seed)
    stamps = np.datetime64("2023-10-20", "m") + 60 * np.flatnonzero(rng.random(24 * 25) < 0.97)
    lines = [f"{str(t).replace('T', ' ')}:00,100,120,95,{100 + i % 3},{i}" for i, t in enumerate(stamps)]
    for place in rng.integers(1, len(lines) - 1, 3):
        lines[place] = lines[place].replace(",95,", ",x,")
    options = {"time_zone": zone, "volume_bars": 100}
    found = [arrays(write_bars(tmp_path, one), options)[0] for one in (lines, lines[::-1])]
    for name in encode.FIELDS:
        if name != "line":
            assert found[0][name].tobytes() == found[1][name].tobytes(), name


def days(pattern, is_newest_first):
    stamps = np.arange("2023-01-02", "2023-05-02", dtype="datetime64[D]")
    lines = [f"{t.item().strftime(pattern)},10,20,5,11,{i}" for i, t in enumerate(stamps)]
    return lines[::-1] if is_newest_first else lines


@pytest.mark.parametrize("is_newest_first", [False, True])
def test_the_order_of_day_and_month_in_either_order_of_the_file(tmp_path, is_newest_first):
    """Days that exist read day first only are read so; those that exist month first only are refused with that word."""
    folder = write_bars(tmp_path / "day", days("%d/%m/%Y", is_newest_first))
    assert [unit.key for unit in find(folder, {})] == [f"NQ/2023-{month:02}" for month in range(1, 6)]
    folder = write_bars(tmp_path / "month", days("%m/%d/%Y", is_newest_first))
    assert re.search(r"\(\d+ impossible .* day first, 0 month first\).*date_order", refusal(folder))
    options = {"instruments": {"NQ": {"date_order": "month_first"}}}
    assert [unit.key for unit in find(folder, options)] == [f"NQ/2023-{month:02}" for month in range(1, 6)]


@pytest.mark.parametrize("is_newest_first", [False, True])
@pytest.mark.parametrize(("keep", "volume"), [("first", 7.0), ("last", 70.0), ("error", None), (None, None)])
def test_rows_of_one_time_with_other_values(tmp_path, keep, volume, is_newest_first):
    """The option decides; without it they are an error, wherever they are but at the end of the bars."""
    lines = five_minutes("2024-03-04T00:00", 30)
    lines[8:8] = [lines[7][: -len("7")] + "70"]
    if is_newest_first:
        lines = lines[::-1]
    folder, options = write_bars(tmp_path, lines), {"keep": keep}
    units = find(folder, options)
    if volume is None:
        with pytest.raises(
            BadUnit, match=r"1 rows have the time of another one .* 2024-03-04T00:35:00Z .*keep to first"
        ):
            read_bars(folder, units, options)
        return
    table = read_bars(folder, units, options)
    assert table.volume.tolist() == [*range(7), volume, *range(8, 30)]
    assert DIFFERENT in {found.reason for found in table.findings}


def test_the_last_bar_may_have_been_running(tmp_path):
    """Of the last bar's rows the last one counts, until bars come behind it."""
    lines = five_minutes("2024-03-04T00:00", 30)
    folder = write_bars(tmp_path, [*lines, lines[-1][:-2] + "500"])
    assert read_bars(folder, find(folder, {}), {}).volume[-1] == 500
    later = five_minutes("2024-03-04T02:30", 3)
    write_bars(tmp_path, [*lines, lines[-1][:-2] + "500", *later])
    with pytest.raises(BadUnit, match="have the time of another one"):
        read_bars(folder, find(folder, {}), {})
