"""The rows of a file in any order -> its months, as `months` gives them.

Of each row stay its time, its place and what is wrong with it: some 80 bytes at the peak, 110 where rolls begin a
segment.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.market.reading import rows, segments, times
from stages.datasets.market.reading.months import Month, Span
from stages.datasets.market.reading.pieces import Pieces
from stages.datasets.market.schema import LOOKBACK, Options


@dataclass(frozen=True)
class FileRows:
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

    time: np.ndarray
    fault: np.ndarray
    is_twice: np.ndarray
    line: np.ndarray
    start: np.ndarray
    edges: np.ndarray


def gather(pieces: Pieces, zone: str) -> FileRows:
    """Return what stays of all rows of a file, one at least."""
    parts = [vars(piece).copy() for piece in pieces]
    columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    columns["start"] = np.append(columns["start"], pieces.stop)
    time, fault, is_twice = rows.utc(columns.pop("ns"), columns.pop("is_utc"), columns.pop("fault"), zone)
    time = segments.fill(time, fault & rows.NO_TIME == 0)
    return FileRows(time=time, fault=fault, is_twice=is_twice, **columns)


def months_of(file: FileRows, options: Options) -> tuple[list[Month], np.ndarray]:
    """Return the months of a file, and the times of its bars in order, int64 ns UTC."""
    line = segments.timeline(file.time, file.fault > 0)
    bars = line.order[line.bars]
    time = file.time[bars]
    is_jump = None
    if options.split_at_rolls:
        opened, close = file.edges[bars].T
        is_jump = segments.jumps(opened, close, options.roll_jump)
    del bars
    is_start = segments.starts(time, line.n_bad, segments.max_gap(options, segments.bar_length(time)[0]), is_jump)
    months = _Months(file, line, file.time[line.order], time, segments.first_bars(is_start))
    return [_month(months, number) for number in months.all()], time


def _month(months: "_Months", number: int) -> Month:
    first, own, end = months.places(number)
    before, own_rows = (np.sort(months.line.order[part]) for part in (slice(first, own), slice(own, end)))
    file = months.file
    spans = _spans(file, before), _spans(file, own_rows)
    return Month(number, *spans, months.segment_start(first), _backward(file, own_rows))


def _spans(file: FileRows, chosen: np.ndarray) -> tuple[Span, ...]:
    """Return the byte ranges of some rows, int64 in the order of the file."""
    if not len(chosen):
        return ()
    breaks = np.flatnonzero(np.diff(chosen) > 1)
    low = chosen[np.concatenate([[0], breaks + 1])]
    high = chosen[np.concatenate([breaks, [-1]])] + 1
    return tuple(zip(file.start[low].tolist(), file.start[high].tolist(), strict=True))


def _backward(file: FileRows, own: np.ndarray) -> tuple[int, int] | None:
    """Return how many own rows are earlier than the row before, and the line of the first one."""
    is_back = file.time[own] < file.time[np.maximum(own - 1, 0)]
    if not is_back.any():
        return None
    n_lines = np.diff(file.line, append=file.line[-1] + 1)[own]
    return int(is_back.sum()), 1 + int(n_lines[: is_back.argmax()].sum())


@dataclass(frozen=True)
class _Months:
    """The months of a file: which of its rows each of them has and needs.

    `row_time` is the time of each row in the order of `line`, `bar_time` that of each bar, both ns UTC; `first_bar` is
    the first bar of each bar's segment.
    """

    file: FileRows
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
