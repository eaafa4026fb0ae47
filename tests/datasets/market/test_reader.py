"""The bars of units, against files written by hand, a plain reader in Python, and collected bad files."""

import csv
import random
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.market import encode, schema
from stages.datasets.market.encode.bars import BACKWARD, DIFFERENT, JUMP, LARGE, REPAIRED, SAME, read_bars
from stages.datasets.market.find import find
from stages.datasets.market.reading import bar_faults, rows
from stages.datasets.market.reading.dialect import FileDialect
from tests.helpers.market_bars import HEADER, refusal, write_bars
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "market"
NOT_NUMBER, PRICE, VOLUME, RANGE, TIME = (
    bar_faults.REASONS[bit]
    for bit in (bar_faults.NOT_NUMBER, bar_faults.PRICE, bar_faults.VOLUME, bar_faults.RANGE, bar_faults.TIME)
)
ALL = {"max_bad_rows": 1.0, "keep": "first"}
PLAIN = FileDialect("csv", ",", 6, (0,), (1, 2, 3, 4, 5))
MINUTE = 60 * 10**9


def read(folder, options=ALL):
    units = find(folder, options)
    return units, read_bars(folder, units, options)


def found(table):
    totals = {}
    for finding in table.findings:
        totals[finding.reason] = totals.get(finding.reason, 0) + finding.count
    return totals


def iso(time):
    return np.datetime_as_string(time.astype("datetime64[ns]"), unit="m").tolist()


DIALECTS = {
    "iso": (HEADER, "2024-01-08 01:00:00,10,12,9,11.25,3\n2024-01-08 01:30,11.25,12,9,10,0\n"),
    "excel": (f"{HEADER}\r", "13/01/2024 01:00:00,10,12,9,11.25,3\r\n13/1/2024 1:30,11.25,12,9,10,0\r\n"),
    "two columns": ("Date,Time," + HEADER[10:], "2024-01-08,01:00,10,12,9,11.25,3\n2024-01-08,01:30,11.25,12,9,10,0"),
    "index": (
        ",open,high,low,close,volume,x",
        "2024-01-08T01:00Z,10,12,9,11.25,3,\n2024-01-08T01:30Z,11.25,12,9,10,0,é\n",
    ),
    "quoted": (
        '"Time","Open","High","Llow","Close","Volume"',
        '"2024-01-08 01:00","10","12","9","11.25","3"\n\n2024-01-08 01:30,11.25,12,9,10,0\n',
    ),
    "order": (
        "\ufeffvolume,close,low,high,open,time",
        "3,11.25,9,12,10,2024-01-08 01:00\n0, 10 ,9.0,+12,1.125e1,2024-01-08 01:30",
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(tmp_path, dialect):
    """Each dialect of the files gives the same two bars."""
    header, body = DIALECTS[dialect]
    (tmp_path / "NQ.csv").write_bytes(f"{header}\n{body}".encode())
    units, table = read(tmp_path)
    values = np.stack([getattr(table, name) for name in schema.VALUES], axis=1)
    assert values.tolist() == [[10, 12, 9, 11.25, 3], [11.25, 12, 9, 10, 0]]
    assert [time[-5:] for time in iso(table.time)] == ["01:00", "01:30"]
    assert table.segment.tolist() == [table.time[0]] * 2
    assert [unit.key for unit in units] == ["NQ/2024-01"]
    assert table.findings == ()


def test_faults_are_named_with_count_and_line(tmp_path):
    """Every kind of bad row is left out, named with its first line in the unit's own rows, and breaks the segment."""
    good = "2024-01-08 {:02}:{:02}:00,11,12,9,11,3"
    lines = [good.format(i // 2, i % 2 * 30) for i in range(40)]
    lines[3] = lines[3].replace(",11,12", ",13,12")
    lines[5] = lines[5].replace(",9,", ",-9,").replace(",3", ",-3")
    lines[7] = lines[7].replace(",9,11,", ",9,eleven,")
    lines[9] = "0,11,12,9,11,3"
    lines[11] += ",4"
    lines[13] = lines[13].replace(",9,", ",inf,")
    lines[15] = ""
    lines[20:20] = [lines[18], lines[19].replace(",9,11,", ",9,10,")]
    table = read(write_bars(tmp_path, lines))[1]
    assert {f.reason: (f.count, f.line) for f in table.findings} == {
        bar_faults.REASONS[bar_faults.CELLS]: (1, 12),
        TIME: (1, 10),
        NOT_NUMBER: (2, 8),
        PRICE: (1, 6),
        VOLUME: (1, 6),
        RANGE: (1, 4),
        SAME: (1, 21),
        DIFFERENT: (1, 22),
        BACKWARD: (1, 21),
    }
    starts = np.flatnonzero(np.diff(table.segment, prepend=-1))
    assert [time[-5:] for time in iso(table.time[starts])] == [f"0{hour}:00" for hour in (0, 2, 3, 4, 5, 6, 7)]
    assert table.line.tolist() == [i + 1 + 2 * (i > 19) for i in range(40) if i not in (3, 5, 7, 9, 11, 13, 15)]


def test_unit_that_changed_since_it_was_found(tmp_path):
    """Bytes that are not those that were listed are an error that says so."""
    units = find(write_bars(tmp_path, ["2024-01-08 01:00,1,1,1,1,1"]), {})
    write_bars(tmp_path, ["2024-01-08 01:00,1,1,1,1,2"])
    with pytest.raises(ExpectedError, match=r"NQ.csv: changed since discover listed it"):
        read_bars(tmp_path, units, {})


def oracle(text, max_gap_ns, roll_jump):
    """Return bars, segments and roll jumps of a whole ISO file in plain Python: (time, o, h, l, c, v, segment)."""
    last, table = None, []
    for place, line in enumerate(csv.reader(text.splitlines()[1:])):
        try:
            last = int(datetime.fromisoformat(line[0]).replace(tzinfo=UTC).timestamp()) * 10**9
            o, h, lo, c, v = values = [float(cell) for cell in line[1:]]
            is_good = min(values[:4]) > 0 and v >= 0 and lo <= min(o, c) and h >= max(o, c) and h < float("inf")
        except ValueError:
            is_good, values = False, []
        table.append((last, place, is_good, values))
    result, jumps, is_broken = [], 0, True
    first = next(row[0] for row in table if row[0])
    for time, _, is_good, values in sorted((row[0] or first, *row[1:]) for row in table):
        if is_good and result and result[-1][0] == time:
            continue
        if not is_good:
            is_broken = True
            continue
        if result:
            is_jump = abs(values[0] / result[-1][4] - 1) >= abs(roll_jump)
            jumps += is_jump
            is_broken |= time - result[-1][0] > max_gap_ns or (is_jump and roll_jump > 0)
        result.append((time, *values, time if is_broken else result[-1][-1]))
        is_broken = False
    return result, jumps


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.02, 0.2]))
def test_units_together_hold_the_bars_of_the_file(tmp_path, seed, is_shuffled, split_at_rolls, share):
    """Own bars of all units, with their segments, are those of a plain reader of the whole file, sorted or shuffled."""
    rng = random.Random(seed)
    lines, price = [], 100.0
    for hour in range(24 * 45):
        if rng.random() < 0.005:
            price *= rng.choice([0.9, 1.1])
        stamp = datetime.fromtimestamp(1_706_500_000 // 3600 * 3600 + hour * 3600, UTC).strftime("%Y-%m-%d %H:%M")
        line = f"{stamp},{price:.2f},{price * 1.02:.2f},{price * 0.98:.2f},{price * 1.01:.2f},{hour % 5}"
        if rng.random() < share:
            line = rng.choice([f"0,{line[17:]}", line[:-1] + "-1", line[:16] + ",1,2,3,4,5", line[:17] + ",1,1,1,1"])
        lines += [] if rng.random() < 0.004 * (hour % 7) else [line] * (1 + (rng.random() < 0.01))
    if is_shuffled:
        lines = [line for k in rng.sample(range(9), 9) for line in lines[k * 130 : (k + 1) * 130]]
        lines[:0] = ["0,1,1,1,1,1"] * (share > 0)
    text = "\n".join([HEADER, *lines])
    (tmp_path / "NQ.csv").write_text(text)
    options = {**ALL, "split_at_rolls": split_at_rolls}
    units, table = read(tmp_path, options)
    expected, jumps = oracle(text, 3 * 60 * MINUTE, 0.04 if split_at_rolls else -0.04)
    names = ("time", *schema.VALUES, "segment")
    own = [getattr(table, name)[table.is_own].tolist() for name in names]
    assert list(zip(*own, strict=True)) == expected
    assert found(table).get(JUMP, 0) == jumps
    for index, unit in enumerate(units):
        alone = read_bars(tmp_path, [unit], options)
        assert alone.time.tolist() == table.time[table.unit == index].tolist()
        assert (np.diff(alone.time) > 0).all()


CELLS = [b"1", b" 2.5", b"", b"nan", b"-inf", b"1_0", b"0x1", b"1e3", b"5.", b".5", b"N/A", b"\xff", b"+7"]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(CELLS), min_size=5, max_size=40))
def test_rows_do_not_depend_on_how_a_file_is_cut(cells):
    """A piece with odd cells, read in halves and cell by cell, says the same as its lines one by one.

    A line with a time and no price is no row, wherever it stands.
    """
    lines = [b"2024-01-08 01:00," + b",".join(cells[i : i + 5]) + b"\n" for i in range(0, len(cells), 5)]
    piece = [*lines, *[b"2024-01-08 01:00,1,1,1,1,1\n"] * rows.FEW_ROWS, *lines]
    whole = rows.parse(b"".join(piece), PLAIN)[0]
    parsed = {line: rows.parse(line, PLAIN)[0] for line in set(piece)}
    alone = [parsed[line] for line in piece]
    starts = np.cumsum([0, *map(len, piece)])[:-1].tolist()
    assert whole.fault.tolist() == [int(fault) for row in alone for fault in row.fault]
    assert whole.start.tolist() == [start for start, row in zip(starts, alone, strict=True) if len(row.fault)]
    is_number = whole.fault & (bar_faults.NOT_NUMBER | bar_faults.CELLS) == 0
    assert whole.close[is_number].tolist() == np.concatenate([row.close for row in alone])[is_number].tolist()


def test_rows_before_a_month_may_begin_in_an_hour_shown_twice(tmp_path):
    """Of a segment that begins in the second pass of that hour the next month reads the same times."""
    utc = np.arange("2024-10-25T04", "2024-11-02T05", 30, dtype="datetime64[m]")
    end = np.datetime64("2024-10-27T01:00")
    wall = utc + np.where(utc < end, 120, 60)
    lines = [f"{str(time).replace('T', ' ')},1,1,1,1,1" for time in wall]
    bad = int(np.flatnonzero(utc == end - 30)[0])
    lines[bad] = lines[bad].replace(",1,1,1", ",-1,1,1")
    table = read(write_bars(tmp_path, lines), {**ALL, "time_zone": "Europe/Berlin"})[1]
    segment = np.datetime64(end, "ns").astype(np.int64)
    assert set(table.segment[table.month == 658].tolist()) == {segment}
    before = table.time[(table.unit == 1) & ~table.is_own]
    assert set(before.tolist()) <= set(table.time[table.unit == 0].tolist())
    assert segment in before


BAD_INPUT = {
    "clean_iso": (200, {}),
    "excel_mixed_dayfirst_crlf": (200, {}),
    "typo_header_llow": (200, {}),
    "date_time_two_columns": (200, {}),
    "lowercase_unnamed_index_tz": (200, {}),
    "zero_timestamps": (133, {TIME: 67}),
    "duplicate_rows": (200, {SAME: 10, BACKWARD: 1}),
    "unsorted_blocks": (200, {BACKWARD: 1}),
    "gap_one_bar": (199, {}),
    "gap_session_90min": (198, {}),
    "gap_weekend": (200, {}),
    "nan_inf_text": (188, {NOT_NUMBER: 12}),
    "negative_zero_price": (189, {PRICE: 11, VOLUME: 11, RANGE: 11}),
    "high_below_low": (191, {RANGE: 9}),
    "flat_zero_volume_run": (200, {}),
    "roll_jump_4_5pct": (200, {JUMP: 1}),
    "exactly_47_rows": (47, {}),
    "exactly_48_rows": (48, {}),
    "blank_lines": (200, {}),
    "dst_israel_spring_gap": (100, {}),
    "extreme_nan_values": (47, {NOT_NUMBER: 49, rows.NO_ROWS[rows.NO_BAR]: 4, JUMP: 3}),
    "extreme_infinity_values": (87, {NOT_NUMBER: 13, JUMP: 12}),
    "extreme_zero_negative": (79, {PRICE: 17, VOLUME: 3, RANGE: 18, JUMP: 5}),
    "extreme_extreme_volatility": (100, {}),
    "extreme_corrupted_timestamps": (92, {SAME: 2, DIFFERENT: 8, BACKWARD: 8, JUMP: 9}),
}
SEGMENTS = {
    "gap_weekend": 2,
    "gap_session_90min": 1,
    "gap_one_bar": 1,
    "dst_israel_spring_gap": 1,
    "roll_jump_4_5pct": 1,
}
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference files are not there")


@needs_reference
@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(tmp_path, name):
    """Each collected file gives the bars and the findings that are written down for it."""
    (tmp_path / "NQ.csv").write_bytes((REFERENCE / f"bad-input/{name}.csv").read_bytes())
    options = {**ALL, "time_zone": "Asia/Jerusalem" if name.startswith("dst") else "UTC"}
    table = read(tmp_path, options)[1]
    assert (int(table.is_own.sum()), found(table)) == BAD_INPUT[name]
    assert len(set(table.segment.tolist())) == SEGMENTS.get(name, len(set(table.segment.tolist())))
    assert all(np.isfinite(getattr(table, column)).all() for column in schema.VALUES)


@needs_reference
@pytest.mark.parametrize(
    ("name", "message"),
    [("header_only", "no bars"), ("empty", "no bars")],
)
def test_bad_input_without_bars(tmp_path, name, message):
    """A collected file without bars is an error that says why."""
    (tmp_path / "NQ.csv").write_bytes((REFERENCE / f"bad-input/{name}.csv").read_bytes())
    with pytest.raises(ExpectedError, match=message):
        find(tmp_path, {})


@needs_reference
def test_a_collected_file_without_a_column(tmp_path):
    """The column is named."""
    (tmp_path / "NQ.csv").write_bytes((REFERENCE / "bad-input/missing_column_close.csv").read_bytes())
    assert "NQ.csv:1: column 'close' is missing" in refusal(tmp_path)


@needs_reference
def test_a_bad_file_is_a_bad_unit(tmp_path):
    """A third of a file without times is more than the tenth that may be bad."""
    (tmp_path / "NQ.csv").write_bytes((REFERENCE / "bad-input/zero_timestamps.csv").read_bytes())
    with pytest.raises(BadUnit, match=r"67 of 200 rows are bad \(time not readable: 67, from line 2\)"):
        read_bars(tmp_path, find(tmp_path, {}), {})


@needs_reference
def test_real_bars(tmp_path):
    """The first 5,000 bars of a real file have the times and values of the reference arrays."""
    (tmp_path / "NQ.csv").write_bytes((REFERENCE / "nq30_first_12000.csv").read_bytes())
    reference = np.load(REFERENCE / "nq30_0_5000.npz")
    table = read(tmp_path)[1]
    wall = table.time[table.is_own].astype("datetime64[ns]").astype("datetime64[s]")
    n = len(reference["timestamp"])
    assert (wall[:n] == reference["timestamp"]).all()
    values = np.stack([getattr(table, name)[table.is_own][:n] for name in schema.VALUES], axis=1)
    assert (values == reference["ohlcv"]).all()
    assert (~table.is_own).sum() > 0
    zoned = read(tmp_path, {"instruments": {"NQ": {"time_zone": "Asia/Jerusalem"}}})[1]
    utc = zoned.time[zoned.is_own].astype("datetime64[ns]")
    first = utc[np.searchsorted(utc, np.datetime64("2021-03-26T00:00")) - 1 :][:3]
    assert len(utc) == len(wall)
    assert first.astype("datetime64[m]").astype(str).tolist() == [
        "2021-03-25T23:30",
        "2021-03-26T00:00",
        "2021-03-26T00:30",
    ]


ODD = [
    b"4.5",
    b'"4.5"',
    b'"4,830"',
    b'"1,234,567.5"',
    b"1e40",
    b"x",
    b"",
    b'"a,b"',
    b'"4,83"',
    b'"1 234"',
    b'"un"quoted',
    b"7 ",
]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(ODD), min_size=4, max_size=6), min_size=1, max_size=12), st.integers(0, 300))
def test_a_bad_number_does_not_lose_its_neighbours(rows_of_cells, n_plain):
    """Mixed quoting, separators and bad cells: each row says what it says alone, whatever stands beside it."""
    lines = [b"2024-01-08 01:00," + b",".join(cells) + b"\n" for cells in rows_of_cells]
    piece = [*lines, *[b"2024-01-08 01:00,1,1,1,1,1\n"] * n_plain, *lines[::-1]]
    whole = rows.parse(b"".join(piece), PLAIN)[0]
    parsed = {line: rows.parse(line, PLAIN)[0] for line in set(piece)}
    assert whole.fault.tolist() == [int(parsed[line].fault[0]) for line in piece]
    for name in schema.VALUES:
        alone = np.array([getattr(parsed[line], name)[0] for line in piece])
        is_read = whole.fault & bar_faults.CELLS == 0
        np.testing.assert_array_equal(getattr(whole, name)[is_read], alone[is_read])


def test_a_rounding_is_moved_and_counted(tmp_path):
    """A close one unit in the last place above the high is that high; two hundredths above it is a fault."""
    lines = [f"2024-01-08 {i // 60:02}:{i % 60:02},100.0,{100.0 + i},90.0,{100.0 + i},3" for i in range(40)]
    lines[4] = "2024-01-08 00:04,100.0,104.0,100.00000000000001,104.00000000000001,3"
    lines[9] = "2024-01-08 00:09,100.0,109.0,90.0,109.02,3"
    table = read(write_bars(tmp_path, lines))[1]
    assert found(table)[REPAIRED] == 1
    assert found(table)[RANGE] == 1
    assert (table.high[4], table.low[4]) == (104.00000000000001, 100.0)


@pytest.mark.parametrize("cell", ["1e40", "1e16", "1e-16", "1e308"])
def test_numbers_that_features_cannot_hold_are_bad_rows(tmp_path, cell):
    """Their features would be infinite in float32, and then all of a column through the normaliser."""
    lines = [f"2024-01-08 {i // 60:02}:{i % 60:02},100,120,90,101,3" for i in range(120)]
    lines[70] = f"2024-01-08 01:10,{cell},{cell},{cell},{cell},3"
    folder = write_bars(tmp_path, lines)
    units, table = read(folder)
    assert found(table) == {bar_faults.REASONS[bar_faults.BEYOND]: 1}
    arrays = encode.encode(encode.read(folder, units, ALL), ALL)
    assert np.isfinite(arrays["strategic"]).all()


def test_a_volume_beyond_what_is_exact_is_told(tmp_path):
    lines = [f"2024-01-08 00:{i:02},100,120,90,101,{2**53 - 5 + i}" for i in range(10)]
    assert found(read(write_bars(tmp_path, lines))[1]) == {LARGE: 5}
