"""Which part each row of a time series is in: earlier rows train, later ones val, the last ones test.

The two boundaries are moments, the same for all series. So that no raw row can be reached from two parts, rows near a
boundary are in no part:

- purged: rows at or after it whose features look back over it (`lookback` rows, which the dataset gives for each row),
  and the last `horizon` rows before it, whose labels look ahead over it;
- embargoed: `embargo` rows more, after those.

Without fixed boundaries they are the moments before which the shares of train, and of train and val, of all rows lie.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from stages.core.params import SplitParams
from stages.core.part_files import LEFT_OUT, PARTS

DROPPED = 3
BINS = 1 << 16

Chunks = Callable[[str], Iterator[np.ndarray]]


@dataclass(frozen=True)
class TimeParts:
    """The part of each row, uint8 (N,), 3 for none; the boundaries, ns; and rows left out at each, by reason."""

    part: np.ndarray
    boundaries: tuple[int, int]
    left_out: dict[str, dict[str, int]]

    def described(self) -> dict[str, object]:
        """Return what stats.json says of it."""
        times = [np.datetime_as_string(np.datetime64(time, "ns"), unit="s") + "Z" for time in self.boundaries]
        return {"boundaries": dict(zip(("val", "test"), times, strict=True)), **self.left_out}


def assign_by_time(chunks: Chunks, params: SplitParams) -> TimeParts:
    """Assign rows to parts.

    Parameters
    ----------
    chunks
        Gives the rows of ``time`` (int64 ns), ``series`` and ``lookback`` (int32), by these names, a chunk at a time.
        Time rises within a series.
    params
        Shares or boundaries, horizon and embargo.
    """
    boundaries = _fixed(params) if params.boundaries else _quantiles(chunks, params)
    walk = _Walk(boundaries, params)
    rows = zip(chunks("time"), chunks("series"), chunks("lookback"), strict=True)
    parts = [walk.step(time, series, lookback) for time, series, lookback in rows]
    part = np.concatenate(parts)
    for first, start in walk.crossings:
        ahead = part[max(start, first - params.horizon) : first]
        walk.n_left_out["looked_ahead"][walk.names[first]] += int((ahead != DROPPED).sum())
        ahead[:] = DROPPED
    return TimeParts(part, boundaries, walk.n_left_out)


def _fixed(params: SplitParams) -> tuple[int, int]:
    times = [datetime.fromisoformat(str(time)) for time in params.boundaries or ()]
    utc = [time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC) for time in times]
    first, second = (int(np.datetime64(time.replace(tzinfo=None), "ns").astype(np.int64)) for time in utc)
    return first, second


def _quantiles(chunks: Chunks, params: SplitParams) -> tuple[int, int]:
    """Return the moments before which the shares lie, by histograms of ever narrower bins, in constant memory."""
    low, high, n_rows = 0, 0, 0
    for time in chunks("time"):
        low = min(low, int(time.min())) if n_rows else int(time.min())
        high = max(high, int(time.max())) if n_rows else int(time.max())
        n_rows += len(time)
    wanted = [round(n_rows * params.train), round(n_rows * (params.train + params.val))]
    first, second = (_rank(chunks, rank, low, high + 1) for rank in wanted)
    return first, second


def _rank(chunks: Chunks, rank: int, low: int, high: int) -> int:
    """Return a moment before which `rank` rows lie, as nearly as equal times allow; low <= all times < high."""
    n_before = 0
    while high - low > 1:
        width = -(-(high - low) // BINS)
        counts = np.zeros(BINS, np.int64)
        for time in chunks("time"):
            inside = time[(time >= low) & (time < high)]
            counts += np.bincount((inside - low) // width, minlength=BINS)
        ends = n_before + np.cumsum(counts)
        chosen = int(np.searchsorted(ends, rank, side="right"))
        if chosen == BINS:
            return high
        n_before = int(ends[chosen] - counts[chosen])
        low, high = low + chosen * width, min(high, low + (chosen + 1) * width)
    return low


class _Walk:
    """The walk over all rows in order; it keeps where the present series and part began."""

    def __init__(self, boundaries: tuple[int, int], params: SplitParams) -> None:
        self._boundaries, self._params = np.array(boundaries), params
        self._n_rows = 0
        self._last: tuple[np.ndarray, int] | None = None  # series and part of the row before
        self._series_start = 0
        self._part_start = 0
        self._purged_stop = 0  # the row after the last one that was purged, at the earliest where the part began
        self._is_crossed = False  # the present part did not begin with the series
        self.crossings: list[tuple[int, int]] = []
        self.names: dict[int, str] = {}
        self.n_left_out = {reason: {"val": 0, "test": 0} for reason in LEFT_OUT}

    def step(self, time: np.ndarray, series: np.ndarray, lookback: np.ndarray) -> np.ndarray:
        """Return the part of each row of the next chunk, uint8, before the rows ahead of a boundary are left out."""
        part = np.searchsorted(self._boundaries, time, side="right").astype(np.uint8)
        # Where a series or a part begins; what the first row follows is in the chunk before.
        is_new = np.append(True, series[1:] != series[:-1])
        is_new[0] = self._last is None or bool(series[0] != self._last[0])
        is_next = np.append(True, part[1:] != part[:-1])
        is_next[0] = self._last is None or int(part[0]) != self._last[1]
        # Between two such rows lies a stretch of one series and one part.
        cuts = np.flatnonzero(is_new | is_next).tolist()
        result = part.copy()
        for low, high in zip([0, *cuts], [*cuts, len(part)], strict=True):
            if low < high:
                row, name = self._n_rows + low, PARTS[part[low]]
                self._begin(row, name, bool(is_new[low]), bool(is_next[low]))
                result[low:high][self._is_left_out(row, name, lookback[low:high])] = DROPPED
        self._last = series[-1], int(part[-1])
        self._n_rows += len(part)
        return result

    def _begin(self, row: int, name: str, is_new: bool, is_next: bool) -> None:
        """Note that a stretch begins at `row`: of a new series, behind a boundary, or neither, with a chunk."""
        if is_new:
            self._series_start = row
            self._is_crossed = False
        elif is_next:
            self._is_crossed = True
            self.crossings.append((row, self._series_start))
            self.names[row] = name
        if is_new or is_next:
            self._part_start = row
            self._purged_stop = row

    def _is_left_out(self, row: int, name: str, lookback: np.ndarray) -> np.ndarray:
        """Say which rows of a stretch that begins at `row` come too soon behind a boundary; count them."""
        if not self._is_crossed:
            return np.zeros(len(lookback), bool)
        rows = np.arange(row, row + len(lookback))
        # Purged: the features look back over the boundary.
        is_purged = rows - lookback < self._part_start
        if is_purged.any():
            self._purged_stop = int(rows[is_purged][-1]) + 1
        # Embargoed: so many rows more.
        is_embargoed = ~is_purged & (rows < self._purged_stop + self._params.embargo)
        self.n_left_out["purged"][name] += int(is_purged.sum())
        self.n_left_out["embargoed"][name] += int(is_embargoed.sum())
        return is_purged | is_embargoed
