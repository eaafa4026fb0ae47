"""Mean and population standard deviation of columns, in one pass and float64.

For whole numbers of one byte the sums are exact: a chunk of at most 1,024 rows is summed in float32 (1024 x 128**2 is
2**24, the last whole number float32 counts to), the chunks in int64. For other types each chunk's mean and sum of
squared deviations are joined by the formula of Chan, Golub and LeVeque (1979), which does not cancel.
"""

from collections.abc import Sequence

import numpy as np

EXACT_ROWS = 1024


class Moments:
    """The running moments of columns.

    Parameters
    ----------
    shape
        Shape of a row.
    dtype
        Of the rows.
    chunk_rows
        Most rows that `add` is given at once; they must not exceed 1,024 for one-byte integers.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype, chunk_rows: int) -> None:
        self._is_exact = dtype == np.int8 and chunk_rows <= EXACT_ROWS
        kind = np.int64 if self._is_exact else np.float64
        self._n_rows = 0
        self._first, self._second = np.zeros(shape, kind), np.zeros(shape, kind)
        self._origin = np.zeros(shape)
        self._buffer = np.empty((chunk_rows, *shape), np.float32 if self._is_exact else np.float64)

    def add(self, rows: np.ndarray) -> None:
        """Take some more rows into account."""
        if not len(rows):
            return
        values = self._buffer[: len(rows)]
        values[...] = rows
        if self._is_exact:
            self._first += values.sum(0).astype(np.int64)
            values *= values
            self._second += values.sum(0).astype(np.int64)
        else:
            if not self._n_rows:
                self._origin = values[0].copy()
            values -= self._origin
            self._join(values)
        self._n_rows += len(rows)

    def _join(self, values: np.ndarray) -> None:
        n_old, n_new = self._n_rows, len(values)
        mean = values.mean(0)
        values -= mean
        values *= values
        difference = mean - self._first
        self._first += difference * (n_new / (n_old + n_new))
        self._second += values.sum(0) + difference**2 * (n_old * n_new / (n_old + n_new))

    def mean(self) -> np.ndarray:
        """Return the mean of each column."""
        return self._first / self._n_rows if self._is_exact else self._first + self._origin

    def std(self) -> np.ndarray:
        """Return the population standard deviation of each column; exactly 0 for a constant one of whole numbers."""
        n_rows = self._n_rows
        if self._is_exact:
            first, second = self._first.astype(object), self._second.astype(object)
            return np.sqrt(np.asarray((n_rows * second - first * first) / n_rows**2, np.float64))
        return np.sqrt(self._second / n_rows)
