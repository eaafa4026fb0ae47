"""The files of an instrument -> what discover needs of their rows, some MB at a time, and what is wrong with them.

Files of one instrument are looked at as one text: a place in it is the sum of the sizes of the files before and the
place in the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.core.errors import BadUnit
from stages.core.units import Source
from stages.datasets.base.raw import read_source
from stages.datasets.market import schema
from stages.datasets.market.reading import bar_faults, rows
from stages.datasets.market.reading.dialect import FileDialect
from stages.datasets.market.reading.recognise import LINE_BYTES
from stages.datasets.market.reading.rows import NoRows, Rows
from stages.datasets.market.schema import DAY_FIRST, MONTH_FIRST, Options

BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Part:
    """A file of an instrument: its path, how it is read, where it begins in the text of all, and its size in bytes.

    `again` are the first bytes of the lines among its bars that are its header once more.
    """

    path: str
    dialect: FileDialect
    base: int
    size: int
    again: tuple[int, ...] = ()


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


class Pieces:
    """The rows of the files of an instrument behind their headers, read once; use it in a ``for`` loop.

    `stop` is the end of what was read so far, in bytes, `n_rows` the number of its rows, and `part` the index of the
    file that the last piece came from. `on_wall` are the files with a time that names no offset, `with_slashes` those
    with a date like 8/1/2024, by their paths.

    Raises
    ------
    BadUnit
        When a file cannot be read, has a line too long for a bar, or, at its end, does not say the order of day and
        month.
    """

    def __init__(self, raw_dir: Path, parts: Sequence[Part], instrument: str, options: Options) -> None:
        others = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
        self.where = f"{raw_dir / parts[0].path}{others}"
        self.parts = parts
        self.n_rows, self.part, self.stop = 0, 0, 0
        self.on_wall, self.with_slashes = set[str](), set[str]()
        self._again, self._left = dict[str, list[int]](), dict[int, tuple[int, str]]()
        self._raw_dir, self._instrument, self._options = raw_dir, instrument, options

    def __iter__(self) -> Iterator[Piece]:
        """Yield pieces that have a row at least."""
        for index, part in enumerate(self.parts):
            self.part = index
            yield from self._of_part(part, f"{self._raw_dir / part.path}")
            self.stop = part.base + part.size

    def _of_part(self, part: Part, where: str) -> Iterator[Piece]:
        dialect = part.dialect
        order = MONTH_FIRST if dialect.is_month_first else DAY_FIRST
        readings = {} if dialect.is_order_known else {name: _Reading() for name in (DAY_FIRST, MONTH_FIRST)}
        for offset, n_lines, content in self._blocks(part, where):
            table, cells, no_rows = rows.parse(content, dialect, order == MONTH_FIRST)
            self._note_no_rows(part.path, no_rows, offset, n_lines)
            for name, reading in readings.items():
                reading.add(table, cells, dialect, name == MONTH_FIRST)
            self.stop, self.n_rows = part.base + offset + len(content), self.n_rows + len(table.ns)
            if np.diff(table.start, append=len(content)).max(initial=0) > LINE_BYTES:  # or blank lines lie between
                self._refuse_long_lines(content, n_lines, where)
            self._note_times(part.path, table)
            if len(table.ns):
                yield self._piece(table, part.base + offset, n_lines)
        _refuse_uncertain(readings, self._instrument, where)

    def parts_read(self) -> list[Part]:
        """Return the files, with the places of further headers."""
        return [replace(part, again=tuple(self._again.get(part.path, ()))) for part in self.parts]

    def left_out(self) -> str:
        """Name the lines that are no rows, by reason: how many, and where the first one is; empty for none."""
        found = ((rows.NO_ROWS[why], *one) for why, one in sorted(self._left.items()))
        return ", ".join(f"{reason}: {count:,}, from {where}" for reason, count, where in found)

    def _note_no_rows(self, path: str, no_rows: NoRows, offset: int, n_lines: int) -> None:
        """Note the lines of a block that are no rows; it begins at byte `offset` and line `n_lines`."""
        if not len(no_rows.why):
            return
        headers = no_rows.start[no_rows.why == rows.HEADER] + offset
        self._again.setdefault(path, []).extend(headers.tolist())
        for why in np.unique(no_rows.why).tolist():
            lines = no_rows.line[no_rows.why == why]
            count, where = self._left.get(why, (0, f"{path}:{n_lines + int(lines[0])}"))
            self._left[why] = count + len(lines), where

    def _note_times(self, path: str, table: Rows) -> None:
        if path not in self.on_wall and (~table.is_utc & (table.fault & bar_faults.TIME == 0)).any():
            self.on_wall.add(path)
        if table.is_slash.any():
            self.with_slashes.add(path)

    def _blocks(self, part: Part, where: str) -> Iterator[tuple[int, int, bytes]]:
        """Yield the first byte in the file, the first line, from 1, and whole lines, about a block at a time."""
        start, rest = part.dialect.header_bytes, b""
        n_lines = 1 + rows.n_lines(read_source(self._raw_dir, Source(part.path, 0, start)))
        while True:
            offset = start + len(rest)
            block = read_source(self._raw_dir, Source(part.path, offset, min(offset + BLOCK_BYTES, part.size)))
            content = rest + block
            cut = content.rfind(b"\n") + 1 if block else len(content)
            lines, rest = content[:cut], content[cut:]
            if lines:
                yield start, n_lines, lines
            if not block:
                return
            start, n_lines = start + cut, n_lines + rows.n_lines(lines)
            _refuse_long(len(rest), n_lines, where)

    def _refuse_long_lines(self, content: bytes, n_lines: int, where: str) -> None:
        """Refuse a line of a block that is too long; `n_lines` is the number of the first one."""
        for number, line in enumerate(content.split(b"\n")):
            _refuse_long(len(line), n_lines + number, where)

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
        self.n_rows = self.n_bad = self.n_without_volume = 0
        self._counts = dict.fromkeys(bar_faults.REASONS, 0)
        self._lines = dict.fromkeys(bar_faults.REASONS, 0)

    def add(self, fault: np.ndarray, line: np.ndarray) -> None:
        """Count rows; `fault` and `line` as in `Piece`."""
        self.n_rows += len(fault)
        if not fault.any():
            return
        self.n_bad += int((fault > 0).sum())
        self.n_without_volume += int((fault == bar_faults.VOLUME).sum()) + int(
            (fault == (bar_faults.NOT_NUMBER | bar_faults.NO_VOLUME)).sum()
        )
        for bit in bar_faults.REASONS:
            found = np.flatnonzero(fault & bit)
            if len(found):
                self._lines[bit] = self._lines[bit] or int(line[found[0]])
                self._counts[bit] += len(found)

    def __str__(self) -> str:
        """Name what is wrong, with how often and the first line: ``price not above 0: 3, from line 7``."""
        return ", ".join(
            f"{why}: {self._counts[bit]}, from line {self._lines[bit]}"
            for bit, why in bar_faults.REASONS.items()
            if self._counts[bit]
        )


class _Reading:
    """How many dates with slashes are impossible, rise, or fall, when read day first or month first."""

    def __init__(self) -> None:
        self.n_impossible = self.n_up = self.n_down = 0
        self.has_dates, self._last = False, np.empty(0, np.int64)

    @property
    def n_wrong(self) -> int:
        """How many are impossible or step against the order that most of them have, oldest or newest first."""
        return self.n_impossible + min(self.n_up, self.n_down)

    def add(self, table: Rows, cells: pa.Array, dialect: FileDialect, is_month_first: bool) -> None:
        """Count a piece; `table` is read day first."""
        if not table.is_slash.any():
            return
        self.has_dates = True
        ns, is_time = table.ns, table.fault & bar_faults.TIME == 0
        if is_month_first:
            stamps = rows.stamps_of(cells, dialect, is_month_first=True)
            ns, is_time = stamps.ns, stamps.is_time
        steps = np.diff(np.concatenate([self._last, ns[table.is_slash & is_time]]))
        self.n_impossible += int((table.is_slash & ~is_time).sum())
        self.n_up, self.n_down = self.n_up + int((steps > 0).sum()), self.n_down + int((steps < 0).sum())
        self._last = ns[table.is_slash & is_time][-1:] if (table.is_slash & is_time).any() else self._last


def _refuse_uncertain(readings: Mapping[str, _Reading], instrument: str, where: str) -> None:
    """Refuse dates with slashes unless there are clearly fewer faults when the day is read first."""
    if not readings:
        return
    day_first, month_first = readings[DAY_FIRST], readings[MONTH_FIRST]
    if (day_first.has_dates or month_first.has_dates) and day_first.n_wrong >= month_first.n_wrong:
        raise BadUnit(
            f"{where}: dates like 8/1/2024 do not say whether the day comes first ({day_first.n_wrong} impossible or "
            f"backward steps read day first, {month_first.n_wrong} month first), expected fewer day first; set "
            f"{schema.WHERE}.instruments.{instrument}.date_order to {DAY_FIRST} or {MONTH_FIRST}"
        )
