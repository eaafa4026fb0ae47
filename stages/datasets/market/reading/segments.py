"""Rows in the order of a file -> bars in the order of time, and where a segment begins.

A segment is a stretch of bars without a hole. A new one begins where two bars are further apart than `max_gap`, after
a bad row (a bar is missing there), and at a roll jump if that is asked for. Its identity is the time of its first bar.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.market.schema import Options

MINUTE = 60_000_000_000
MANY_STEPS = 1 << 16  # different ones that wait before they are joined
USUAL_GAP_BARS = 3  # a day's break of 60 min between 30-min bars is a step of 90 min


@dataclass(frozen=True)
class Timeline:
    """Rows sorted by time, those of one time as in the file.

    Attributes
    ----------
    order
        int64 (N,): row of the file at each place.
    bars
        int64 (B,): places of the bars: the good rows, of those of one time the first.
    repeated
        int64: places of the good rows that are left out since their time is there already.
    n_bad
        int64 (B,): bad rows before each bar.
    """

    order: np.ndarray
    bars: np.ndarray
    repeated: np.ndarray
    n_bad: np.ndarray


def fill(time: np.ndarray, is_time: np.ndarray) -> np.ndarray:
    """Give each row without a time that of the row before it, and those before the first time that one."""
    if is_time.all() or not is_time.any():
        return time
    last = np.maximum.accumulate(np.where(is_time, np.arange(len(time)), -1))
    return time[np.where(last < 0, is_time.argmax(), last)]


def timeline(time: np.ndarray, is_bad: np.ndarray) -> Timeline:
    """Sort rows by time and choose the bars among them.

    Parameters
    ----------
    time
        int64 (N,) ns UTC, filled.
    is_bad
        bool (N,).
    """
    if not is_bad.any() and bool((time[1:] > time[:-1]).all()):  # as a clean file has it
        row = np.arange(len(time))
        return Timeline(row, row, row[:0], np.zeros(len(time), np.int64))
    is_sorted = bool((time[1:] >= time[:-1]).all())
    order = np.arange(len(time)) if is_sorted else np.argsort(time, kind="stable")
    is_bad = is_bad if is_sorted else is_bad[order]
    good = np.flatnonzero(~is_bad)
    kept = time[good] if is_sorted else time[order[good]]
    is_first = np.ones(len(good), bool)
    is_first[1:] = kept[1:] != kept[:-1]
    bars = good[is_first]
    n_bad = np.cumsum(is_bad)[bars] if is_bad.any() else np.zeros(len(bars), np.int64)
    return Timeline(order, bars, good[~is_first], n_bad)


def jumps(opened: np.ndarray, close: np.ndarray, least: float) -> np.ndarray:
    """Say for each bar whether it opens at least the share `least` off the close before it, bool (B,)."""
    is_jump = np.zeros(len(opened), bool)
    before = np.where(close[:-1] == 0, np.nan, close[:-1])
    is_jump[1:] = np.abs(opened[1:] / before - 1) >= least
    return is_jump


def bar_length(time: np.ndarray) -> tuple[int, float]:
    """Return the commonest step between bars in ns and its share of all steps; 0 and 1 for fewer than two bars."""
    steps = Steps()
    steps.add(np.diff(time))
    return steps.commonest()


def bar_length_of(steps: np.ndarray) -> int:
    """Return the commonest of some steps between bars in ns, int64, the shortest of several; 0 for none."""
    counted = Steps()
    counted.add(steps[steps > 0])
    return counted.commonest()[0]


class Steps:
    """Counts steps between bars; each different one stays, with its number."""

    def __init__(self) -> None:
        self._parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        self._n_joined = self._n_waiting = 0

    def add(self, steps: np.ndarray) -> None:
        """Count steps, int64."""
        self._parts.append(np.unique(steps, return_counts=True))
        self._n_waiting += len(self._parts[-1][0])
        if self._n_waiting > self._n_joined + MANY_STEPS:
            self._join()

    def commonest(self) -> tuple[int, float]:
        """Return the commonest step, the shortest of several, and its share of all; 0 and 1 for none."""
        self._join()
        steps, counts = self._parts[0]
        if not len(steps):
            return 0, 1.0
        return int(steps[counts.argmax()]), float(counts.max() / counts.sum())

    def _join(self) -> None:
        steps, counts = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        order = np.argsort(steps, kind="stable")
        steps, counts = steps[order], counts[order]
        first = np.flatnonzero(np.concatenate([[True], steps[1:] != steps[:-1]])[: len(steps)])
        counts = np.add.reduceat(counts, first) if len(first) else counts
        self._parts, self._n_joined, self._n_waiting = [(steps[first], counts)], len(first), 0


def max_gap(options: Options, bar_ns: int) -> int:
    """Return the longest step in ns between two bars of a segment."""
    return USUAL_GAP_BARS * bar_ns if options.max_gap_minutes is None else round(options.max_gap_minutes * MINUTE)


def starts(
    time: np.ndarray, n_bad: np.ndarray, gap: int, is_jump: np.ndarray | None, is_behind_gap: np.ndarray | None = None
) -> np.ndarray:
    """Say which bars begin a segment, bool (B,).

    Parameters
    ----------
    time, n_bad
        Of the bars, as in `Timeline`.
    gap
        The longest step in ns.
    is_jump
        Where the price jumps, bool (B,); None where jumps do not count.
    is_behind_gap
        Which bars come behind a gap, bool (B,); None for what `gap` says.
    """
    is_start = np.ones(len(time), bool)
    is_start[1:] = ((np.diff(time) > gap) if is_behind_gap is None else is_behind_gap[1:]) | (np.diff(n_bad) > 0)
    if is_jump is not None:
        is_start |= is_jump
    return is_start


def first_bars(is_start: np.ndarray) -> np.ndarray:
    """Return the first bar of the segment of each bar, int64 (B,)."""
    return np.maximum.accumulate(np.where(is_start, np.arange(len(is_start)), 0))
