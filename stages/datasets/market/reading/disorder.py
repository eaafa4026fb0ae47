"""The rows of an instrument in any order -> its months, as `months` gives them.

Rows of a file that is newest first are taken from its end to its beginning, so that what follows sees the bars as a
file in the order of time has them. Of each row stay its time, its place and what is wrong with it: some 100 bytes at
the peak, 130 where rolls begin a segment.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stages.datasets.market.reading import bar_faults, rows, segments, times
from stages.datasets.market.reading.dialect import FileDialect
from stages.datasets.market.reading.months import Month, Span
from stages.datasets.market.reading.pieces import Faults, Part, Piece, Pieces, join
from stages.datasets.market.schema import Options

LEAST_DOWN = 0.9  # of the steps of a file between different times that fall, if it is newest first


@dataclass(frozen=True)
class FileRows:
    """What stays of the N rows of an instrument, the oldest first as far as each file is sorted.

    Attributes
    ----------
    time
        int64 (N,) ns UTC, filled.
    fault
        uint16 (N,), as in `Rows`.
    is_twice
        bool (N,): a time that the zone's clocks show twice.
    start, stop
        int64 (N,): first byte of each row, and that of the next one in its file.
    n_lines
        int32 (N,): lines from a row to the next one in its file.
    edges
        float64 (N, 2), open and close, if rolls begin a segment, else (N, 0).
    """

    time: np.ndarray
    fault: np.ndarray
    is_twice: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    n_lines: np.ndarray
    edges: np.ndarray


def gather(pieces: Pieces) -> tuple[FileRows, list[FileDialect], Faults]:
    """Return what stays of all rows of an instrument, how each file is read, its order included, and what is wrong."""
    held: dict[int, list[Piece]] = {}
    for piece in pieces:
        held.setdefault(pieces.part, []).append(piece)
    found, faults, dialects = list[FileRows](), Faults(), [part.dialect for part in pieces.parts]
    for index in sorted(held):
        part, rows_of_part = pieces.parts[index], join(*held.pop(index))
        is_newest = _is_newest_first(rows_of_part)
        dialects[index] = replace(part.dialect, is_newest_first=is_newest)
        found.append(_of_part(rows_of_part, part, is_newest, faults))
    whole = FileRows(*(np.concatenate(columns) for columns in zip(*(vars(one).values() for one in found), strict=True)))
    return replace(whole, time=segments.fill(whole.time, whole.fault & bar_faults.NO_TIME == 0)), dialects, faults


def _is_newest_first(piece: Piece) -> bool:
    steps = np.diff(piece.ns[piece.fault & bar_faults.TIME == 0])
    n_down, n_up = int((steps < 0).sum()), int((steps > 0).sum())
    return n_down > 0 and n_down >= LEAST_DOWN * (n_down + n_up)


def _of_part(piece: Piece, part: Part, is_newest: bool, faults: Faults) -> FileRows:
    """Return what stays of the rows of one file, the oldest first."""
    stop = np.append(piece.start[1:], part.base + part.size)
    n_lines = np.diff(piece.line, append=piece.line[-1:] + 1)
    order = slice(None, None, -1 if is_newest else 1)
    time, fault, is_twice = rows.utc(piece.ns[order], piece.is_utc[order], piece.fault[order], part.dialect.zone)
    faults.add(fault[order], piece.line)
    places = {"start": piece.start[order], "stop": stop[order], "n_lines": n_lines[order], "edges": piece.edges[order]}
    return FileRows(time=time, fault=fault, is_twice=is_twice, **places)


def months_of(
    file: FileRows, options: Options, bar_ns: int, starts_of: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[list[Month], np.ndarray]:
    """Return the months of an instrument, and the times of its bars in order, int64 ns UTC.

    Parameters
    ----------
    file
        What `gather` returned.
    options
        Of the dataset.
    bar_ns
        The length of a bar.
    starts_of
        Says of the times of all bars which begin a segment by a gap; None counts `max_gap`.
    """
    line = segments.timeline(file.time, file.fault > 0)
    bars = line.order[line.bars]
    time = file.time[bars]
    is_jump = None
    if options.split_at_rolls:
        opened, close = file.edges[bars].T
        is_jump = segments.jumps(opened, close, options.roll_jump)
    del bars
    gap = segments.max_gap(options, bar_ns)
    is_start = segments.starts(time, line.n_bad, gap, is_jump, starts_of(time) if starts_of else None)
    halo = options.halo(bar_ns)
    months = _Months(file, line, file.time[line.order], time, segments.first_bars(is_start), halo)
    found = [_month(months, number) for number in months.all()]
    if starts_of:
        behind = time[starts_of(time)]
        found = [replace(month, breaks=_within(behind, months, month.number)) for month in found]
    if _is_last_twice(file, time):
        number = int(times.month_of(time[-1:])[0])
        found = [replace(month, is_unfinished=month.number == number) for month in found]
    return found, time


def _is_last_twice(file: FileRows, time: np.ndarray) -> bool:
    """Say whether several good rows have the time of the last bar: one that was not finished when it was written."""
    return len(time) > 0 and int((file.time[file.fault == 0] == time[-1]).sum()) > 1


def _within(behind: np.ndarray, months: "_Months", number: int) -> tuple[int, ...]:
    """Return those of some times that lie among the rows which a month needs."""
    first, _, end = months.places(number)
    low, high = months.row_time[[first, end - 1]]
    return tuple(behind[(behind >= low) & (behind <= high)].tolist())


def _month(months: "_Months", number: int) -> Month:
    first, own, end = months.places(number)
    before, own_rows = (np.sort(months.line.order[part]) for part in (slice(first, own), slice(own, end)))
    file = months.file
    spans = _spans(file, before), _spans(file, own_rows)
    return Month(number, *spans, months.segment_start(first), _backward(file, own_rows))


def _spans(file: FileRows, chosen: np.ndarray) -> tuple[Span, ...]:
    """Return the byte ranges of some rows, int64, in the order of the files."""
    if not len(chosen):
        return ()
    chosen = chosen[np.argsort(file.start[chosen], kind="stable")]
    start, stop = file.start[chosen], file.stop[chosen]
    is_break = start[1:] != stop[:-1]
    low = start[np.concatenate([[True], is_break])]
    high = stop[np.concatenate([is_break, [True]])]
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _backward(file: FileRows, own: np.ndarray) -> tuple[int, int] | None:
    """Return how many own rows are earlier than the row before, and the line of the first one."""
    is_back = file.time[own] < file.time[np.maximum(own - 1, 0)]
    if not is_back.any():
        return None
    is_before = file.start[own] < file.start[own[is_back.argmax()]]
    return int(is_back.sum()), 1 + int(file.n_lines[own][is_before].sum())


@dataclass(frozen=True)
class _Months:
    """The months of a file: which of its rows each of them has and needs.

    `row_time` is the time of each row in the order of `line`, `bar_time` that of each bar, both ns UTC; `first_bar` is
    the first bar of each bar's segment, and `halo` the number of bars
    that a month looks back on.
    """

    file: FileRows
    line: segments.Timeline
    row_time: np.ndarray
    bar_time: np.ndarray
    first_bar: np.ndarray
    halo: int

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
        first = min(own, int(self.line.bars[max(0, first_bar - self.halo)]))
        # A time that the clock shows twice is told apart by the others of its hour.
        while first and self.file.is_twice[self.line.order[first]]:
            first -= 1
        return first, own, end

    def segment_start(self, place: int) -> int | None:
        """Return when the segment of the first bar from a place on begins, ns UTC; None if with that bar."""
        bar = int(np.searchsorted(self.line.bars, place))
        if bar == len(self.bar_time) or self.first_bar[bar] == bar:
            return None
        return int(self.bar_time[self.first_bar[bar]])
