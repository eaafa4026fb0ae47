"""Rows in the order of time, piece by piece -> the months of a file: which bytes each of them has and needs.

What stays of the rows before is some numbers for each month and each different step between bars, and as many of the
last bars as a month looks back on. What a month needs stands in `stages.datasets.market.find`.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from stages.datasets.market.reading import bar_faults, rows, segments, times
from stages.datasets.market.reading.pieces import Faults, Piece, join
from stages.datasets.market.schema import Options

NONE = np.iinfo(np.int64).min
STOP_MONTH = times.FIRST_MONTH + len(times.MONTHS) - 1
Span = tuple[int, int]


class OutOfOrder(Exception):
    """The rows of a file are not in the order of time, or have a time beyond the years that are read."""


@dataclass(frozen=True)
class Month:
    """A month of a file.

    Attributes
    ----------
    number
        Months since 1970.
    before, own
        First and last byte of the rows that it looks back on, and of its own ones, in as many pieces as they lie in.
    segment_start
        When the segment of the first bar of these rows begins, ns UTC; None if with that bar.
    backward
        How many own rows are earlier than the row before, and the line, from 1, of the first one; None if none is.
    is_unfinished
        Whether the last bar of the instrument is in this month and has several rows.
    breaks
        Times, ns UTC, of the bars among these rows that come behind a gap; None where the length of the step tells.
    """

    number: int
    before: tuple[Span, ...]
    own: tuple[Span, ...]
    segment_start: int | None
    backward: tuple[int, int] | None = None
    is_unfinished: bool = False
    breaks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class _Bars:
    """B bars of a batch of rows, and for each of them the place from which its bytes are to be read.

    That place is the bar's row, or, where the clocks show its time twice, the last row before that they show once.

    Attributes
    ----------
    time
        int64 (B,) ns UTC.
    segment
        int64 (B,): first bar of the segment among these, -1 if before.
    place
        int64 (B,): first byte of the place.
    segment_start
        int64 (B,): when the segment of the first bar from the place on begins, ns UTC; `NONE` if with that bar.
    """

    time: np.ndarray
    segment: np.ndarray
    place: np.ndarray
    segment_start: np.ndarray


@dataclass
class _Open:
    """A month that is being read: where its rows begin and, once there is one, its first bar and what that needs."""

    number: int
    own: int
    place_of_own: int
    first_bar: int = -1
    needs: tuple[int, int] = (
        0,
        NONE,
    )  # place and segment_start, as in `_Bars`, of the oldest bar that it looks back on

    def done(self, stop: int, is_unfinished: bool = False) -> Month:
        """Return the month, which ends at byte `stop`."""
        place, segment_start = self.needs if self.first_bar >= 0 else (self.own, NONE)
        before = ((place, self.own),) if place < self.own else ()
        since = None if segment_start == NONE else segment_start
        return Month(self.number, before, ((self.own, stop),), since, is_unfinished=is_unfinished)


@dataclass
class _Last:
    """What the next rows need of those before: times in ns UTC; bars are counted from the file's first one."""

    time: int | None = None
    n_bad: int = 0
    n_bars: int = 0
    bar_time: int = NONE
    bar_n_bad: int = 0
    bar_close: float = np.nan
    n_of_bar: int = 0  # rows of the last bar
    segment_start: int = NONE  # when its segment began
    marks: np.ndarray = field(default_factory=lambda: np.empty((2, 0), np.int64))  # of the last bars


class Flow:
    """Takes the pieces of a file in their order; `months` are its months when all are there.

    Parameters
    ----------
    options
        Of the dataset.
    zone
        Of the times that name none.
    bar_ns
        The commonest step between bars; None takes that of the first rows, see `is_sure`.
    """

    def __init__(self, options: Options, zone: str, bar_ns: int | None = None) -> None:
        self._options, self._zone, self._bar_ns, self._halo = options, zone, bar_ns, options.halo(0)
        self.steps, self.faults = segments.Steps(), Faults()
        self.months = list[Month]()
        self._held: Piece | None = None
        self._first_start: int | None = None
        self._open: list[_Open] = []
        self._last = _Last()

    def add(self, piece: Piece) -> None:
        """Take the next rows.

        Raises
        ------
        OutOfOrder
            When they are earlier than those before.
        """
        held = piece if self._held is None else join(self._held, piece)
        cut = self._take(held, is_last=False)
        self._held = held[cut:] if cut < len(held.ns) else None

    def end(self, stop: int) -> None:
        """Take what is left; the file ends at byte `stop`."""
        if self._held is not None:
            self._take(self._held, is_last=True)
        is_unfinished = self._last.n_of_bar > 1
        for month in self._open[-1:]:
            # The last bar may lie in a month before, behind which are bad rows only.
            has_last = self._last.n_bars > 0 and int(times.month_of(np.array([self._last.bar_time]))[0]) == month.number
            self.months.append(month.done(stop, is_unfinished and has_last))
            if is_unfinished and not has_last:
                number = int(times.month_of(np.array([self._last.bar_time]))[0])
                self.months = [replace(one, is_unfinished=one.number == number) for one in self.months]

    @property
    def has_time(self) -> bool:
        """Whether some row had a time."""
        return self._last.time is not None

    def is_sure(self) -> bool:
        """Say whether segments were told with the step that is the commonest of all."""
        return self._options.max_gap_minutes is not None or self._bar_ns in (None, self.steps.commonest()[0])

    def _take(self, piece: Piece, is_last: bool) -> int:
        """Take the first rows of a piece; return how many. The others wait for more, to tell which hour they mean."""
        time, fault, is_twice = rows.utc(piece.ns, piece.is_utc, piece.fault, self._zone)
        is_time = fault & bar_faults.NO_TIME == 0
        cut = len(time) if is_last or self._zone == "UTC" else _last_sure(is_time & ~piece.is_utc, is_twice)
        self._first_start = int(piece.start[0]) if self._first_start is None else self._first_start
        if cut:
            time, fault, is_twice, is_time = time[:cut], fault[:cut], is_twice[:cut], is_time[:cut]
            self.faults.add(fault, piece.line[:cut])
            self._rows(piece[:cut], self._filled(time, is_time), fault > 0, is_twice)
        return cut

    def _filled(self, time: np.ndarray, is_time: np.ndarray) -> np.ndarray | None:
        """Give rows without a time that of the row before; None if there was no time yet."""
        if self._last.time is None:
            return segments.fill(time, is_time) if is_time.any() else None
        if is_time.all():
            return time
        first = np.concatenate([[self._last.time], time])
        return segments.fill(first, np.concatenate([[True], is_time]))[1:]

    def _rows(self, piece: Piece, time: np.ndarray | None, is_bad: np.ndarray, is_twice: np.ndarray) -> None:
        last = self._last
        if time is not None:
            _refuse_disorder(time, last.time)
            place = _places(is_twice)
            bars = self._bars(piece, time, is_bad, place)
            self._months(piece, time, bars, place)
            self._remember(bars)
            last.time = int(time[-1])
        last.n_bad += int(is_bad.sum())

    def _bars(self, piece: Piece, time: np.ndarray, is_bad: np.ndarray, place: np.ndarray) -> _Bars:
        """Return the bars among some rows: of the good ones of one time the first."""
        last = self._last
        good = np.flatnonzero(~is_bad)
        row = good[np.diff(time[good], prepend=last.bar_time) != 0]
        bar_time = time[row]
        n_bad = last.n_bad + np.cumsum(is_bad)[row] if is_bad.any() else np.full(len(row), last.n_bad)
        is_start = self._starts(bar_time, n_bad, piece.edges[row])
        segment = np.maximum.accumulate(np.where(is_start, np.arange(len(row)), -1))
        since = np.where(segment >= 0, bar_time[segment], last.segment_start) if len(row) else bar_time
        begins = np.where(is_start, NONE, since)
        # The first bar from the place of each on is that bar, or, of times shown twice, one before.
        first = np.searchsorted(row, place[row])
        if len(good):
            newest = int(time[good[-1]])
            n_of_bar = len(good) - int(np.searchsorted(time[good], newest))
            last.n_of_bar = n_of_bar + (last.n_of_bar if newest == last.bar_time else 0)
        if len(row):
            last.bar_time, last.bar_n_bad = int(bar_time[-1]), int(n_bad[-1])
        return _Bars(bar_time, segment, piece.start[place[row]], begins[first])

    def _starts(self, time: np.ndarray, n_bad: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Say which bars begin a segment, bool (B,), and count the steps between bars."""
        if not len(time):
            return np.empty(0, bool)
        # The bar before goes in front, so that the first one has a step as well.
        last = self._last
        new = min(last.n_bars, 1)
        time = np.concatenate([[last.bar_time], time])[1 - new :]
        n_bad = np.concatenate([[last.bar_n_bad], n_bad])[1 - new :]
        self.steps.add(np.diff(time))
        if self._bar_ns is None and len(time) > 1:
            self._bar_ns = self.steps.commonest()[0]
        is_jump = None
        if self._options.split_at_rolls:
            opened, close = np.concatenate([[[np.nan, last.bar_close]], edges])[1 - new :].T
            is_jump = segments.jumps(opened, close, self._options.roll_jump)
            last.bar_close = float(close[-1])
        gap = segments.max_gap(self._options, self._bar_ns or 0)
        return segments.starts(time, n_bad, gap, is_jump)[new:]

    def _months(self, piece: Piece, time: np.ndarray, bars: _Bars, place: np.ndarray) -> None:
        """Note the months that begin among some rows, and what they need."""
        first_month, last_month = times.month_of(time[[0, -1]]).tolist()
        for number in range(first_month, last_month + 1):
            first, stop = np.searchsorted(time, [times.month_start(number), times.month_start(number + 1)])
            if first == stop:
                continue
            if not self._open or self._open[-1].number != number:
                self._begin(number, int(piece.start[first]), int(piece.start[place[first]]))
            month, bar = self._open[-1], int(np.searchsorted(bars.time, times.month_start(number)))
            if month.first_bar < 0 and bar < len(bars.time) and bars.time[bar] < times.month_start(number + 1):
                month.first_bar = self._last.n_bars + bar
                month.needs = self._needs(month, bars)

    def _begin(self, number: int, start: int, place: int) -> None:
        """Begin a month with the row at byte `start`; the one before it ends there."""
        if not self._open and self._first_start is not None:  # rows before the first time are of its month
            start = place = self._first_start
        self.months += [month.done(start) for month in self._open[-1:]]
        self._open = [*self._open[-1:], _Open(number, start, place)]

    def _needs(self, month: _Open, bars: _Bars) -> tuple[int, int]:
        """Return the mark of the oldest bar that a month looks back on."""
        if month.first_bar == 0:
            return month.place_of_own, NONE
        last, oldest = self._last, max(0, month.first_bar - self._halo)
        if oldest >= last.n_bars:
            return _mark(bars, oldest - last.n_bars)
        place, segment_start = last.marks[:, oldest - last.n_bars].tolist()
        return place, segment_start

    def _remember(self, bars: _Bars) -> None:
        """Keep what the next rows need of these bars."""
        last = self._last
        if not len(bars.time):
            return
        segment = int(bars.segment[-1])
        if segment >= 0:
            last.segment_start = int(bars.time[segment])
        marks = np.stack([bars.place[-self._halo :], bars.segment_start[-self._halo :]])
        last.marks = np.concatenate([last.marks, marks], axis=1)[:, -self._halo :]
        last.n_bars += len(bars.time)


def _last_sure(is_sure: np.ndarray, is_twice: np.ndarray) -> int:
    """Return how many rows may be taken; those after begin with a row that the clocks show once.

    That of an hour which they show twice is told by all rows of that hour, so they wait for a row behind it.
    """
    if not is_twice.any():
        return len(is_twice) - 1
    sure = np.flatnonzero(is_sure & ~is_twice)
    return int(sure[-1]) if len(sure) else 0


def _refuse_disorder(time: np.ndarray, last: int | None) -> None:
    is_sorted = (last is None or time[0] >= last) and bool((time[1:] >= time[:-1]).all())
    if not is_sorted or time[0] < times.month_start(times.FIRST_MONTH) or time[-1] >= times.month_start(STOP_MONTH):
        raise OutOfOrder


def _places(is_twice: np.ndarray) -> np.ndarray:
    """Return for each row the last one up to it that the clocks show once, or else the first one, int64 (N,)."""
    return np.maximum.accumulate(np.where(is_twice, 0, np.arange(len(is_twice))))


def _mark(bars: _Bars, bar: int) -> tuple[int, int]:
    return int(bars.place[bar]), int(bars.segment_start[bar])
