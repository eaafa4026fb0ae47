"""Which units a folder of bars holds, which bytes they need, and what changes them."""

import logging
import re

import numpy as np
import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.market.encode.bars import read_bars
from stages.datasets.market.find import find
from stages.datasets.market.reading import pieces as module
from stages.datasets.market.schema import LOOKBACK
from tests.helpers.market_bars import HEADER, refusal, write_bars

DAY = 46  # bars of half an hour in a session


def bars(first, last, step=30):
    """Return lines of bars from 23 h sessions on every day of `first` to `last`, a line each."""
    days = np.arange(first, last, dtype="datetime64[D]").astype("datetime64[m]")
    stamps = (days[:, None] + np.arange(0, 23 * 60, step)).ravel()
    price = 1000 + np.arange(len(stamps)) % 17
    return [f"{str(t).replace('T', ' ')}:00,{p},{p + 2},{p - 2},{p + 1},{p % 7}" for t, p in zip(stamps, price)]  # noqa: B905


def digests(folder, options=None):
    return {unit.key: unit.digest for unit in find(folder, options or {})}


def changed(before, after):
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def test_unit_is_a_month_with_the_rows_it_looks_back_to(tmp_path):
    """Sources are as many rows before as are looked back on, over months and segments, and the own rows."""
    lines = bars("2024-01-30", "2024-03-04")
    folder = write_bars(tmp_path, lines)
    units = {unit.key: unit for unit in find(folder, {"volume_bars": 999})}
    assert list(units) == ["NQ/2024-01", "NQ/2024-02", "NQ/2024-03"]
    content = (folder / "NQ.csv").read_bytes()
    pieces = [content[s.start : s.stop].decode().splitlines() for s in units["NQ/2024-03"].sources]
    n_before, n_own = 999, 3 * DAY
    assert pieces == [lines[-n_own - n_before : -n_own], lines[-n_own:]]
    start = np.datetime64("2024-01-30", "ns").astype(int)
    assert units["NQ/2024-03"].context == {
        "bar_ns": 30 * 60 * 10**9,
        "dialects": [{"layout": "csv", "separator": ",", "n_columns": 6, "time": [0], "values": [1, 2, 3, 4, 5]}],
        "own": sum(len(line) + 1 for line in pieces[0]),
        "segment_start": start,
    }
    assert units["NQ/2024-01"].context["segment_start"] is None
    assert len(units["NQ/2024-01"].sources) == 1


def test_looks_back_at_least_as_far_as_the_features(tmp_path):
    """Of a month with few bars the rows before it begin earlier than the month before."""
    options = {"max_gap_minutes": 24 * 60}
    daily = [line for line in bars("2023-11-01", "2024-03-01") if " 12:00:00" in line]
    table = read_bars(tmp_path, find(write_bars(tmp_path, daily), options), options)
    assert np.bincount(table.unit[~table.is_own]).tolist() == [0, 30, LOOKBACK, LOOKBACK]
    assert LOOKBACK > 31


def test_looks_back_over_segments(tmp_path):
    """The average of the volume takes bars of segments before, as many as there are."""
    january, february = bars("2024-01-01", "2024-01-03"), bars("2024-01-31", "2024-03-02")
    table = read_bars(tmp_path, find(write_bars(tmp_path, january + february), {}), {})
    assert np.bincount(table.unit[~table.is_own]).tolist() == [0, 3 * DAY, 1000]
    assert len(set(table.segment[(table.unit == 1) & ~table.is_own].tolist())) == 2


def test_appended_bars_change_the_last_month_only(tmp_path):
    """Old months keep their digests when bars are appended."""
    lines = bars("2024-01-01", "2024-03-20")
    before = digests(write_bars(tmp_path, lines[:-300]))
    assert changed(before, digests(write_bars(tmp_path, lines))) == ["NQ/2024-03"]


@pytest.mark.parametrize(
    ("bar", "expected"), [("2024-03-20 10:00", ["NQ/2024-03", "NQ/2024-04"]), ("2024-03-02 10:00", ["NQ/2024-03"])]
)
def test_an_edit_reaches_the_next_month_through_its_look_back_only(tmp_path, bar, expected):
    """An edited bar of March changes March, and April if it is among the last 1,000 before."""
    lines = bars("2024-02-20", "2024-05-05")
    before = digests(write_bars(tmp_path, lines))
    place = next(i for i, line in enumerate(lines) if line.startswith(bar))
    lines[place] = lines[place][:-1] + "9"
    assert changed(before, digests(write_bars(tmp_path, lines))) == expected


@pytest.mark.parametrize("size", [1, 61, 1000])
def test_block_size_does_not_matter(tmp_path, monkeypatch, size):
    """A file cut anywhere gives the same units, bad cells, blank lines and a missing last newline included."""
    lines = bars("2024-01-30", "2024-02-03", 120)
    lines[5] += ",surplus"
    lines[9] = lines[9].replace(",", ",x", 1)
    lines[12:12] = ["", "\r", '"2024-01-30 00:00:00",1,1,1,1,1']
    folder = write_bars(tmp_path, lines, end="\r\n")
    (folder / "NQ.csv").write_bytes((folder / "NQ.csv").read_bytes().rstrip())
    expected = find(folder, {})
    monkeypatch.setattr(module, "BLOCK_BYTES", size)
    assert find(folder, {}) == expected


def test_instrument_is_the_first_word_and_unique(tmp_path):
    """Two files of one instrument are an error that names both."""
    write_bars(tmp_path / "a", bars("2024-01-01", "2024-01-02"), "@CL - 30 min - ETH.csv")
    assert [unit.key for unit in find(tmp_path, {})] == ["CL/2024-01"]
    write_bars(tmp_path / "b", bars("2024-01-01", "2024-01-02"), "CL.csv")
    with pytest.raises(ExpectedError, match=r"'a/@CL - 30 min - ETH.csv' and 'b/CL.csv' both hold CL"):
        find(tmp_path, {})


def test_backward_steps_tell_day_from_month_in_any_block(tmp_path, monkeypatch):
    """One step back when read month first is enough, also between two blocks."""
    rows = [f"{day}/{month}/2024 {hour}:00,5,6,4,5,1" for month in (1, 2) for day in (1, 2, 3) for hour in range(24)]
    expected = find(write_bars(tmp_path, rows), {})
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    assert find(tmp_path, {}) == expected
    assert [unit.key for unit in expected] == ["NQ/2024-01", "NQ/2024-02"]


def test_uncertain_dates_are_refused_until_the_order_is_set(tmp_path):
    """Slash dates that read as well month first need the option; clear ones do not."""
    rows = [f"{day}/{month}/2024 {hour}:00,5,6,4,5,1" for month in (1, 2) for day in (1, 2) for hour in range(24)]
    rows = [row for row in rows if row.startswith("1/")]
    folder = write_bars(tmp_path, rows)
    assert re.search(r"NQ.csv: dates like .*\(0 impossible.* 0 month first\).*NQ.date_order", refusal(folder))
    keys = {
        order: [unit.key for unit in find(folder, {"instruments": {"NQ": {"date_order": order}}})]
        for order in ("day_first", "month_first")
    }
    assert keys == {"day_first": ["NQ/2024-01", "NQ/2024-02"], "month_first": ["NQ/2024-01"]}
    write_bars(tmp_path, [*rows[:24], "13/1/2024 1:00,5,6,4,5,1"])
    assert len(find(folder, {})) == 1
    write_bars(tmp_path, [*rows[:24], "1/13/2024 1:00,5,6,4,5,1"])
    assert re.search(r"\(1 impossible.* 0 month first\)", refusal(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap": 3}, "unknown key 'max_gap'.*did you mean 'max_gap_minutes'"),
        ({"max_gap_minutes": 0}, "max_gap_minutes: 0, expected null or more than 0"),
        ({"split_at_rolls": 1}, "split_at_rolls: 1, expected bool"),
        ({"roll_jump": 4}, "roll_jump: 4, expected a share"),
        ({"max_bad_rows": -0.1}, "max_bad_rows: -0.1, expected a share"),
        ({"time_zone": "Mars"}, "options.time_zone: 'Mars', expected a time zone"),
        ({"instruments": {"NQ": {"time_zone": "../x"}}}, "instruments.NQ.time_zone: '../x', expected a time zone"),
        ({"instruments": {"NQ": {"date_order": "dmy"}}}, "NQ.date_order: 'dmy', expected day_first or month_first"),
        ({"instruments": {"NQ": {"zone": "UTC"}}}, "instruments.NQ: unknown key 'zone'"),
        ({"instruments": {"NQ": 3}}, "instruments.NQ: 3, expected a section"),
    ],
)
def test_options_are_checked(tmp_path, options, message):
    """A wrong option is an error that names its key."""
    with pytest.raises(ExpectedError, match=message):
        find(tmp_path, options)


def test_folder_without_bars(tmp_path, caplog):
    """An empty file is a warning; a folder with nothing else is an error."""
    (tmp_path / "ES.csv").write_bytes(b"")
    write_bars(tmp_path, [])
    with caplog.at_level(logging.WARNING), pytest.raises(ExpectedError, match="no bars in 2 CSV files"):
        find(tmp_path, {})
    assert [record.getMessage().split("/")[-1] for record in caplog.records] == [
        "ES.csv: no rows, expected one a bar; fill or remove the file",
        "NQ.csv: no rows, expected one a bar; fill or remove the file",
    ]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER.replace("Close", "Cl"), [], "NQ.csv:1: column 'close' is missing in"),
        (HEADER + ",low", [], "column 'low' is twice or more in"),
        (HEADER.replace("Timestamp", "when"), [], "no column of times"),
        (HEADER, ["0,1,1,1,1,1"], "time not readable: 1, from line 2"),
        (
            HEADER,
            [f"2024-01-01 00:{i * i:02},1,1,1,1,1" for i in range(1, 6)],
            "step between bars.*set .*max_gap_minutes",
        ),
    ],
)
def test_unusable_files(tmp_path, header, rows, message):
    """A file that cannot be used is a bad unit that says why."""
    assert re.search(message, refusal(write_bars(tmp_path, rows, header=header)))


def test_too_many_bad_rows_make_every_unit_bad(tmp_path):
    """The share is that of the file; its months are then bad units, with reason and line, until the limit is raised."""
    lines = bars("2024-01-30", "2024-02-03", 120)
    lines[3:9] = [line.replace(",", ",-", 1) for line in lines[3:9]]
    folder = write_bars(tmp_path, lines)
    units = find(folder, {})
    for unit in units:
        with pytest.raises(BadUnit, match=r"NQ.csv: 6 of 48 rows are bad \(price not above 0: 6, from line 5"):
            read_bars(folder, [unit], {})
    options = {"max_bad_rows": 0.125}
    assert read_bars(folder, find(folder, options), options).is_own.sum() == 42


@pytest.mark.parametrize("tail", ["\n", ""])
def test_the_last_line_may_lack_its_end_also_in_a_file_out_of_order(tmp_path, tail):
    """There it is among the rows before a month, in front of rows that come earlier in the file."""
    lines = bars("2024-01-30", "2024-02-03")
    later = len(bars("2024-01-30", "2024-02-01"))
    folder = write_bars(tmp_path, [*lines[later:], *lines[:later]])
    path = folder / "NQ.csv"
    path.write_bytes(path.read_bytes().removesuffix(b"\n") + tail.encode())
    table = read_bars(folder, find(folder, {}), {})
    own = table.time[table.is_own]
    assert len(own) == len(lines)
    assert (np.diff(own) > 0).all()
    content = path.read_text().splitlines()
    stamps = [str(t.astype("datetime64[ns]").astype("datetime64[s]")).replace("T", " ") for t in own]
    assert sorted(line.split(",")[0] for line in content[1:]) == stamps
