"""Which months of which instruments a raw folder of CSV files holds, and which bytes each of them needs.

One pass over each file in blocks of a few MB; of a row only its time, its place and what is wrong with it stay.

The sources of a unit are the header line, the rows before its month that its bars depend on, and its own rows (of a
file that is not sorted several ranges). Its context says what these bytes do not:

- ``own``: how many bytes come before the own rows;
- ``segment_start``: time (ns UTC) of the first bar of the segment that the first bar of these bytes belongs to, or
  null when it is that bar;
- ``bar_ns``: the commonest step between bars of the file;
- ``backward``, if any: how many own rows are earlier than the row before, and the line of the first one;
- ``too_bad``, if so: why the file as a whole is not to be used.

Rows before the month go back to the first bar of the calendar month before (an average over all past volume begins
there) and `LOOKBACK` bars at least, and no further than the segment of the first own bar. So bars that are appended
change the last month only, and an edit changes its month and the next one if that looks back so far.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.base.raw import read_source
from stages.datasets.market import schema
from stages.datasets.market.reading import rows, segments, times
from stages.datasets.market.reading.header import header_of, instrument_of
from stages.datasets.market.reading.rows import Rows
from stages.datasets.market.schema import DAY_FIRST, LOOKBACK, MONTH_FIRST, Options

logger = logging.getLogger("batchwise")

BLOCK_BYTES = 4 << 20
HEADER_BYTES = 1 << 16
LEAST_SHARE = 0.5  # of the steps that are the commonest one


@dataclass(frozen=True)
class File:
    """What stays of the N rows of a file.

    Attributes
    ----------
    time
        int64 (N,) ns UTC, filled.
    fault
        uint8 (N,), as in `Rows`.
    is_twice
        bool (N,): a time that the zone's clocks show twice.
    line
        int32 (N,): line, from 1.
    start
        int64 (N+1,): first byte of each row; at the end, that after the last one.
    edges
        float64 (N, 2), open and close, if rolls begin a segment, else (N, 0).
    """

    path: str
    header_bytes: int
    time: np.ndarray
    fault: np.ndarray
    is_twice: np.ndarray
    line: np.ndarray
    start: np.ndarray
    edges: np.ndarray


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit for each month of each instrument, keyed like ``NQ/2024-03``.

    Parameters
    ----------
    raw_dir
        The raw folder; CSV files lie in it or in folders below.
    options
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no bar, two files hold one instrument, or the order of day and month is not certain.
    BadUnit
        When a file cannot be read or lacks a column.
    """
    checked = schema.parse_options(options)
    files: dict[str, str] = {}
    for path in sorted(path.relative_to(raw_dir).as_posix() for path in raw_dir.rglob("*.csv")):
        instrument = instrument_of(path)
        if instrument in files:
            raise ExpectedError(
                f"{raw_dir}: {files[instrument]!r} and {path!r} both hold {instrument}, expected one file of an "
                "instrument; join or rename them"
            )
        files[instrument] = path
    found = [unit for instrument, path in files.items() for unit in _units(raw_dir, path, instrument, checked)]
    if not found:
        raise ExpectedError(f"{raw_dir}: no bars in {len(files)} CSV files, expected files like NQ.csv; add some")
    return found


def _units(raw_dir: Path, path: str, instrument: str, options: Options) -> list[Unit]:
    """Return the units of one file."""
    where = f"{raw_dir / path}"
    file = _scan(raw_dir, path, instrument, options)
    if file is None:
        return []
    line = segments.timeline(file.time, file.fault > 0)
    bars = line.order[line.bars]
    time = file.time[bars]
    bar_ns = _bar_length(time, options, where)
    is_jump = None
    if options.split_at_rolls:
        opened, close = file.edges[bars].T
        is_jump = segments.jumps(opened, close, options.roll_jump)
    is_start = segments.starts(time, line.n_bad, segments.max_gap(options, bar_ns), is_jump)
    months = _Months(file, line, file.time[line.order], time, segments.first_bars(is_start))
    context = {"bar_ns": bar_ns, **_too_bad(file, options)}
    return [_unit(raw_dir, instrument, month, months, context) for month in months.all()]


def _too_bad(file: File, options: Options) -> dict[str, str]:
    """Return the entry of the context that says why a file is not to be used, if it is not."""
    n_bad, n_rows = int((file.fault > 0).sum()), len(file.fault)
    if n_bad <= options.max_bad_rows * n_rows:
        return {}
    found = f"{n_bad:,} of {n_rows:,} rows are bad ({rows.reasons(file.fault, file.line)})"
    expected = f"expected at most {options.max_bad_rows:.0%}; correct the file or raise {schema.WHERE}.max_bad_rows"
    return {"too_bad": f"{found}, {expected}"}


def _bar_length(time: np.ndarray, options: Options, where: str) -> int:
    bar_ns, share = segments.bar_length(time)
    if share < LEAST_SHARE and options.max_gap_minutes is None:
        raise BadUnit(
            f"{where}: the commonest step between bars, {bar_ns / segments.MINUTE:g} min, is {share:.0%} of all, "
            f"expected {LEAST_SHARE:.0%} or more; set datasets.market.options.max_gap_minutes or correct the file"
        )
    return bar_ns


def _unit(raw_dir: Path, instrument: str, month: int, months: "_Months", context: Mapping[str, Any]) -> Unit:
    """Return the unit of one month."""
    file, order = months.file, months.line.order
    first, own, end = months.places(month)
    header = Source(file.path, 0, file.header_bytes)
    before, own_rows = np.sort(order[first:own]), np.sort(order[own:end])
    sources = (header, *_ranges(file, before), *_ranges(file, own_rows))
    full = {
        **context,
        **_backward(file, own_rows),
        "own": file.header_bytes + int((file.start[before + 1] - file.start[before]).sum()),
        "segment_start": months.segment_start(first),
    }
    content = b"".join(read_source(raw_dir, source) for source in sources)
    return Unit(f"{instrument}/{np.datetime64(month, 'M')}", sources, digest_of(content, full), full)


def _ranges(file: File, chosen: np.ndarray) -> list[Source]:
    """Return the byte ranges of some rows, int64 in the order of the file."""
    if not len(chosen):
        return []
    breaks = np.flatnonzero(np.diff(chosen) > 1)
    low = chosen[np.concatenate([[0], breaks + 1])]
    high = chosen[np.concatenate([breaks, [-1]])] + 1
    pairs = zip(file.start[low].tolist(), file.start[high].tolist(), strict=True)
    return [Source(file.path, start, stop) for start, stop in pairs]


def _backward(file: File, own: np.ndarray) -> dict[str, list[int]]:
    """Return the entry of the context that counts the own rows that are earlier than the row before, if any is."""
    is_back = file.time[own] < file.time[np.maximum(own - 1, 0)]
    if not is_back.any():
        return {}
    n_lines = np.diff(file.line, append=file.line[-1] + 1)[own]
    return {"backward": [int(is_back.sum()), 1 + int(n_lines[: is_back.argmax()].sum())]}


@dataclass(frozen=True)
class _Months:
    """The months of a file: which of its rows each of them has and needs.

    `row_time` is the time of each row in the order of `line`, `bar_time` that of each bar, both ns UTC; `first_bar` is
    the first bar of each bar's segment.
    """

    file: File
    line: segments.Timeline
    row_time: np.ndarray
    bar_time: np.ndarray
    first_bar: np.ndarray

    def all(self) -> list[int]:
        """Return the months that have a row, in order, months since 1970."""
        months = times.month_of(self.row_time) - times.FIRST_MONTH
        return (np.flatnonzero(np.bincount(months)) + times.FIRST_MONTH).tolist()

    def places(self, month: int) -> tuple[int, int, int]:
        """Return the places, in the order of time, of the first row that is needed, the first own one and their end."""
        own, end = (int(np.searchsorted(self.row_time, times.month_start(m))) for m in (month, month + 1))
        first_bar = int(np.searchsorted(self.line.bars, own))
        has_bar = first_bar < len(self.line.bars) and self.line.bars[first_bar] < end
        if not has_bar:
            return own, own, end
        first = min(own, int(self.line.bars[self._oldest_bar(first_bar, month)]))
        # A time that the clock shows twice is told apart by the others of its hour.
        while first and self.file.is_twice[self.line.order[first]]:
            first -= 1
        return first, own, end

    def _oldest_bar(self, bar: int, month: int) -> int:
        """Return the oldest bar that a month depends on, of which `bar` is the first."""
        segment = int(self.first_bar[bar])
        if bar == segment:
            # The bar before a segment says whether the segment begins with a roll jump.
            return max(0, bar - 1)
        month_before = int(np.searchsorted(self.bar_time, times.month_start(month - 1)))
        return max(segment, min(bar - LOOKBACK, month_before))

    def segment_start(self, place: int) -> int | None:
        """Return when the segment of the first bar from a place on begins, ns UTC; None if with that bar."""
        bar = int(np.searchsorted(self.line.bars, place))
        if bar == len(self.bar_time) or self.first_bar[bar] == bar:
            return None
        return int(self.bar_time[self.first_bar[bar]])


def _scan(raw_dir: Path, path: str, instrument: str, options: Options) -> File | None:
    """Read a file once; None, with a warning, if it has no row."""
    where = f"{raw_dir / path}"
    head, newline, _ = read_source(raw_dir, Source(path, 0, HEADER_BYTES)).partition(b"\n")
    header_bytes = len(head) + len(newline)
    columns = _columns(raw_dir, Source(path, header_bytes), instrument, options, head) if head else {}
    if not head or not len(columns["ns"]):
        logger.warning("%s: no rows, expected one a bar; fill or remove the file", where)
        return None
    time, fault, is_twice = rows.utc(columns["ns"], columns["is_utc"], columns["fault"], options.zone(instrument))
    is_time = fault & rows.NO_TIME == 0
    if not is_time.any():
        raise BadUnit(f"{where}: {rows.reasons(fault, columns['line'])}, expected times; correct the file")
    rest = [columns[name] for name in ("line", "start", "edges")]
    return File(path, header_bytes, segments.fill(time, is_time), fault, is_twice, *rest)


def _columns(raw_dir: Path, body: Source, instrument: str, options: Options, head: bytes) -> dict[str, np.ndarray]:
    """Return what stays of the rows of a file, read in blocks; `head` is its first line, `body` the rest."""
    where, order = f"{raw_dir / body.path}", options.date_order(instrument)
    header = header_of(head, where)
    readings = {name: _Reading() for name in (DAY_FIRST, MONTH_FIRST)} if order is None else {}
    n_lines, size = 2, body.start
    parts = [_slim(rows.parse(b"", header)[0], size, n_lines, options.split_at_rolls)]
    for offset, content in _pieces(raw_dir, body):
        table, cells = rows.parse(content, header, order == MONTH_FIRST)
        for name, reading in readings.items():
            reading.add(table, cells, name == MONTH_FIRST)
        parts.append(_slim(table, offset, n_lines, options.split_at_rolls))
        n_lines, size = n_lines + content.count(b"\n"), offset + len(content)
    _refuse_uncertain(readings, instrument, where)
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    return columns | {"start": np.append(columns["start"], size)}


def _pieces(raw_dir: Path, body: Source) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a file from a byte on, about a block at a time, with the place of their first."""
    start, rest = body.start, b""
    while True:
        block = read_source(raw_dir, Source(body.path, start + len(rest), start + len(rest) + BLOCK_BYTES))
        content = rest + block
        cut = content.rfind(b"\n") + 1 if block else len(content)
        if cut:
            yield start, content[:cut]
        if not block:
            return
        start, rest = start + cut, content[cut:]


def _slim(table: Rows, offset: int, n_lines: int, with_edges: bool) -> dict[str, np.ndarray]:
    """Return what stays of the rows of a piece that begins at byte `offset` and line `n_lines`."""
    return {
        "ns": table.ns,
        "is_utc": table.is_utc,
        "fault": table.fault,
        "line": table.line + np.int32(n_lines),
        "start": table.start + offset,
        "edges": np.stack([table.open, table.close], axis=1) if with_edges else np.empty((len(table.ns), 0)),
    }


class _Reading:
    """How many dates with slashes are impossible, or step back, when read day first or month first."""

    def __init__(self) -> None:
        self.n_wrong, self.has_dates, self._last = 0, False, np.empty(0, np.int64)

    def add(self, table: Rows, cells: pa.Array, is_month_first: bool) -> None:
        """Count a piece; `table` is read day first."""
        if not table.is_slash.any():
            return
        self.has_dates = True
        ns, is_time = table.ns, table.fault & rows.TIME == 0
        if is_month_first:
            stamps = times.parse(cells, is_month_first=True)
            ns, is_time = stamps.ns, stamps.is_time
        readable = np.concatenate([self._last, ns[table.is_slash & is_time]])
        self.n_wrong += int((table.is_slash & ~is_time).sum()) + int((np.diff(readable) < 0).sum())
        self._last = readable[-1:]


def _refuse_uncertain(readings: Mapping[str, _Reading], instrument: str, where: str) -> None:
    """Refuse dates with slashes unless there are clearly fewer faults when the day is read first."""
    if not readings:
        return
    day_first, month_first = readings[DAY_FIRST], readings[MONTH_FIRST]
    if (day_first.has_dates or month_first.has_dates) and day_first.n_wrong >= month_first.n_wrong:
        raise ExpectedError(
            f"{where}: dates like 8/1/2024 do not say whether the day comes first ({day_first.n_wrong} impossible or "
            f"backward steps read day first, {month_first.n_wrong} month first), expected fewer day first; set "
            f"{schema.WHERE}.instruments.{instrument}.date_order to {DAY_FIRST} or {MONTH_FIRST}"
        )
