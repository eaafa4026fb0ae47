"""A file of bars -> what discover needs of its rows, some MB at a time, and what is wrong with them in all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source
from stages.datasets.base.raw import read_source
from stages.datasets.market import schema
from stages.datasets.market.reading import rows, times
from stages.datasets.market.reading.header import header_of
from stages.datasets.market.reading.rows import Rows
from stages.datasets.market.schema import DAY_FIRST, MONTH_FIRST, Options

BLOCK_BYTES = 4 << 20
LINE_BYTES = 1 << 16  # a bar has about 60


@dataclass(frozen=True)
class Piece:
    """N rows that follow each other in a file.

    Attributes
    ----------
    ns, is_utc, fault
        As in `Rows`.
    line
        int32 (N,): line of the file, from 1.
    start
        int64 (N,): first byte in the file.
    edges
        float64 (N, 2), open and close, if rolls begin a segment, else (N, 0).
    """

    ns: np.ndarray
    is_utc: np.ndarray
    fault: np.ndarray
    line: np.ndarray
    start: np.ndarray
    edges: np.ndarray

    def __getitem__(self, part: slice) -> "Piece":
        """Return some rows."""
        return Piece(*(column[part] for column in vars(self).values()))


def join(*parts: Piece) -> Piece:
    """Return the rows of all parts as one piece."""
    return Piece(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts), strict=True)))


def header_line(raw_dir: Path, path: str) -> tuple[bytes, int]:
    """Return the first line of a file without its end, and how many bytes it has with it.

    Raises
    ------
    BadUnit
        When it is too long for a header.
    """
    content = read_source(raw_dir, Source(path, 0, LINE_BYTES + 1))
    head, newline, _ = content.partition(b"\n")
    _refuse_long(len(head) + len(newline), 1, f"{raw_dir / path}")
    return head, len(head) + len(newline)


class Pieces:
    """The rows of a file behind its header, read once; use it in a ``for`` loop.

    `stop` is the end of what was read so far, in bytes, and `n_rows` the number of its rows.

    Raises
    ------
    BadUnit
        When the file cannot be read, lacks a column, or has a line too long for a bar.
    ExpectedError
        At its end, when the order of day and month is not certain.
    """

    def __init__(self, raw_dir: Path, path: str, instrument: str, options: Options) -> None:
        self.where = f"{raw_dir / path}"
        self._raw_dir, self._path, self._instrument, self._options = raw_dir, path, instrument, options
        head, self.header_bytes = header_line(raw_dir, path)
        self._header = header_of(head, self.where) if head else None
        self.stop, self.n_rows = self.header_bytes, 0

    def __iter__(self) -> Iterator[Piece]:
        """Yield pieces that have a row at least."""
        if self._header is None:
            return
        order = self._options.date_order(self._instrument)
        readings = {name: _Reading() for name in (DAY_FIRST, MONTH_FIRST)} if order is None else {}
        n_lines = 2
        for offset, content in self._blocks():
            table, cells = rows.parse(content, self._header, order == MONTH_FIRST)
            for name, reading in readings.items():
                reading.add(table, cells, name == MONTH_FIRST)
            self.stop, self.n_rows = offset + len(content), self.n_rows + len(table.ns)
            if np.diff(table.start, append=len(content)).max(initial=0) > LINE_BYTES:  # or blank lines lie between
                self._refuse_long_lines(content, n_lines)
            if len(table.ns):
                yield self._piece(table, offset, n_lines)
            n_lines += content.count(b"\n")
        _refuse_uncertain(readings, self._instrument, self.where)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield whole lines, about a block at a time, with the place of the first byte."""
        start, rest, n_lines = self.header_bytes, b"", 2
        while True:
            offset = start + len(rest)
            block = read_source(self._raw_dir, Source(self._path, offset, offset + BLOCK_BYTES))
            content = rest + block
            cut = content.rfind(b"\n") + 1 if block else len(content)
            if cut:
                yield start, content[:cut]
            if not block:
                return
            n_lines += content.count(b"\n")
            start, rest = start + cut, content[cut:]
            _refuse_long(len(rest), n_lines, self.where)

    def _refuse_long_lines(self, content: bytes, n_lines: int) -> None:
        """Refuse a line of a block that is too long; `n_lines` is the number of the first one."""
        for number, line in enumerate(content.split(b"\n")):
            _refuse_long(len(line), n_lines + number, self.where)

    def _piece(self, table: Rows, offset: int, n_lines: int) -> Piece:
        """Return what stays of the rows of a block that begins at byte `offset` and line `n_lines`."""
        with_edges = self._options.split_at_rolls
        return Piece(
            ns=table.ns,
            is_utc=table.is_utc,
            fault=table.fault,
            line=table.line + np.int32(n_lines),
            start=table.start + offset,
            edges=np.stack([table.open, table.close], axis=1) if with_edges else np.empty((len(table.ns), 0)),
        )


def _refuse_long(n_bytes: int, line: int, where: str) -> None:
    if n_bytes > LINE_BYTES:
        raise BadUnit(
            f"{where}:{line}: a line of more than {LINE_BYTES:,} bytes, expected one bar a line; correct or remove "
            "the file"
        )


class Faults:
    """How many rows of a file are bad, and why."""

    def __init__(self) -> None:
        self.n_rows = self.n_bad = 0
        self._counts = dict.fromkeys(rows.REASONS, 0)
        self._lines = dict.fromkeys(rows.REASONS, 0)

    def add(self, fault: np.ndarray, line: np.ndarray) -> None:
        """Count rows; `fault` and `line` as in `Piece`."""
        self.n_rows += len(fault)
        if not fault.any():
            return
        self.n_bad += int((fault > 0).sum())
        for bit in rows.REASONS:
            found = np.flatnonzero(fault & bit)
            if len(found):
                self._lines[bit] = self._lines[bit] or int(line[found[0]])
                self._counts[bit] += len(found)

    def __str__(self) -> str:
        """Name what is wrong, with how often and the first line: ``price not above 0: 3, from line 7``."""
        return ", ".join(
            f"{why}: {self._counts[bit]}, from line {self._lines[bit]}"
            for bit, why in rows.REASONS.items()
            if self._counts[bit]
        )


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
