"""Months of a file in order, found while it streams, against those found with all rows at hand; and their bounds."""

import numpy as np
import pytest

from stages.datasets.market import find as module
from stages.datasets.market.find import find
from stages.datasets.market.reading import pieces
from stages.datasets.market.reading.months import Flow, OutOfOrder
from stages.datasets.market.reading.recognise import LINE_BYTES
from stages.datasets.market.reading.segments import Steps
from tests.helpers.market_bars import HEADER, refusal, write_bars
from tests.helpers.peaks import peak_of_find_mb

STARTS = ("2020-10-24T20:00", "2021-10-30T20:00", "2023-12-31T12:00", "2020-03-26T00:00")
ZONES = ("UTC", "Asia/Jerusalem", "America/New_York")


def random_lines(rng):
    """Return lines of bars in the order of time, with gaps, repeated and bad rows, on a clock that may be set back."""
    n, step = int(rng.integers(1, 400)), int(rng.choice([5, 60, 1440]))
    steps = np.where(rng.random(n) < 0.8, step, rng.integers(0, 3 * step + 2, n))
    if rng.random() < 0.3:  # a file that begins with longer bars
        steps[: n // 4] *= 2
    stamps = np.datetime64(str(rng.choice(STARTS)), "m") + np.cumsum(steps)
    lines = []
    for i, stamp in enumerate(stamps.astype(str)):
        price = 100 + i % 7 + (20 if rng.random() < 0.02 else 0)
        cells = [f"{stamp.replace('T', ' ')}:00", price, price + 2, price - 2, price + 1, i % 5]
        if rng.random() < 0.05:
            cells[rng.integers(0, 6)] = "x"
        lines.append(",".join(map(str, cells)))
    return ["never,1,2,1,1,1"] * int(rng.choice([0, 0, 3])) + lines


def random_options(rng):
    gaps = (None, None, 90.0, 1e6)
    return {
        "time_zone": str(rng.choice(ZONES)),
        "split_at_rolls": bool(rng.random() < 0.5),
        "max_gap_minutes": gaps[rng.integers(0, len(gaps))],
    }


def found(folder, options):
    return find(folder, options)


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(12, 60))])
def test_streamed_months_are_those_of_all_rows_together(tmp_path, monkeypatch, seed):
    """Same units, digests and contexts, however the file is cut into blocks."""
    rng = np.random.default_rng(seed)
    folder, options = write_bars(tmp_path, random_lines(rng)), random_options(rng)
    monkeypatch.setattr(pieces, "BLOCK_BYTES", int(rng.choice([50, 300, 5000])))
    streamed = found(folder, options)

    def refuse(flow, piece):
        raise OutOfOrder

    monkeypatch.setattr(Flow, "add", refuse)
    assert streamed == found(folder, options)


def test_a_file_in_order_needs_no_row_of_it_in_memory(tmp_path, monkeypatch):
    """Also on a clock that is set back, which shows an hour twice."""
    monkeypatch.setattr(module, "_out_of_order", lambda *_: pytest.fail("took all rows together"))
    # 01:00 to 01:55 of 25 October 2020 are twice there, in the order of the file.
    hours = ["00", "01", "01", "02", "03"]
    lines = [f"2020-10-25 {hour}:{minute:02}:00,5,6,4,5,1" for hour in hours for minute in range(0, 60, 5)]
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 100)
    (unit,) = find(write_bars(tmp_path, lines), {"time_zone": "Asia/Jerusalem"})
    assert unit.context["bar_ns"] == 5 * 60 * 10**9
    assert "backward" not in unit.context


def test_a_bar_length_that_the_first_rows_do_not_show(tmp_path, monkeypatch):
    """The commonest step is that of the whole file: segments that the first rows' step would give are told anew."""
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 200)
    stamps = np.datetime64("2024-01-01", "m") + np.cumsum([240] * 20 + [30] * 300)
    lines = [f"{stamp.replace('T', ' ')}:00,5,6,4,5,1" for stamp in stamps.astype(str)]
    assert find(write_bars(tmp_path, lines), {})[0].context["bar_ns"] == 30 * 60 * 10**9


def test_steps_are_counted_in_any_pieces():
    """The commonest one and its share, the shortest of several."""
    steps = np.random.default_rng(1).integers(0, 50, 5000)
    whole, parts = Steps(), Steps()
    whole.add(steps)
    for part in np.array_split(steps, 90):
        parts.add(part)
    values, counts = np.unique(steps, return_counts=True)
    assert whole.commonest() == parts.commonest() == (values[counts.argmax()], counts.max() / 5000)
    assert Steps().commonest() == (0, 1.0)


@pytest.mark.parametrize("block", [1000, 1 << 22])
@pytest.mark.parametrize(("place", "line"), [(None, 1), (0, 2), (2, 4)])
def test_a_line_too_long_is_named(tmp_path, monkeypatch, block, place, line):
    """A header or a row of more than 64 KB is refused with file and line, not read to its end."""
    rows = [f"2024-01-01 0{hour}:00:00,5,6,4,5,1" for hour in range(5)]
    long = "x" * (LINE_BYTES + 1)
    header = HEADER if place is not None else f"{HEADER},{long}"
    if place is not None:
        rows[place] += long
    monkeypatch.setattr(pieces, "BLOCK_BYTES", block)
    reason = refusal(write_bars(tmp_path, rows, header=header))
    assert f"NQ.csv:{line}: a line of more than 65,536 bytes, expected one bar a line" in reason


def test_blank_lines_are_no_long_row(tmp_path):
    """Many of them between two rows are skipped as one is."""
    rows = [f"2024-01-01 0{hour}:00:00,5,6,4,5,1" for hour in range(5)]
    assert len(find(write_bars(tmp_path, [*rows[:2], *[""] * (LINE_BYTES + 1), *rows[2:]]), {})) == 1


def write_minutes(folder, n_bars):
    """Write bars of one minute, 23 h a day."""
    row = np.arange(n_bars)
    stamps = np.datetime64("1990-01-01", "m") + row // 1380 * 1440 + row % 1380
    price = 1000 + row % 17
    columns = zip(stamps.astype(str), price, price + 2, price - 2, price + 1, row % 7, strict=True)
    return write_bars(folder, [",".join(map(str, cells)) for cells in columns])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_bars(tmp_path):
    """Four times the bars take at most a quarter more."""
    small, large = (peak_of_find_mb("market", write_minutes(tmp_path / str(n), n)) for n in (250_000, 1_000_000))
    assert large <= 1.25 * small
