"""The last value seen: what a number was at a row, from the rows of its episode up to it."""

from dataclasses import dataclass

import numpy as np

from stages.datasets.rugs.encode.events import Events


@dataclass(frozen=True)
class Carry:
    """Looks back from some rows, `at`, int64 (N,); `begin`, int64 (N,), is the first row of the episode of each."""

    at: np.ndarray
    begin: np.ndarray

    def last(self, is_seen: np.ndarray) -> np.ndarray:
        """Return the last row up to each that is marked in `is_seen`, bool (R,); -1 for none. int64 (N,)."""
        rows = np.arange(len(is_seen))
        last = np.maximum.accumulate(np.where(is_seen, rows, -1))[self.at]
        return np.where(last >= self.begin, last, -1)

    def value(self, values: np.ndarray, is_seen: np.ndarray, default: float | np.ndarray = 0.0) -> np.ndarray:
        """Return the last value that is there, of marked rows.

        Parameters
        ----------
        values
            float64 (R,); NaN is not there.
        is_seen
            bool (R,).
        default
            What holds before any, a number or float64 (N,).

        Returns
        -------
        numpy.ndarray
            float64 (N,).
        """
        last = self.last(is_seen & ~np.isnan(values))
        return np.where(last >= 0, values[last], default)


def carry_at(events: Events, rows: np.ndarray) -> Carry:
    """Return what looks back from rows of the table, int64 (N,)."""
    return Carry(rows, events.offsets[events.episode[rows]])
