"""Standardised values of a feature: the one place that makes them, so that they are the same bits wherever it is done.

split does it when it writes float32 (``store: float32``), a reader when the values lie as they were merged
(``store: stored``). Both are these three operations in float32, each rounded by IEEE 754: the value as float32, less
the mean, divided by the scale. A division is not replaced by a multiplication, which would round twice.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

CHUNK_BYTES = 1 << 18  # what three passes go over while it is in the cache of a core

DTYPE = np.dtype(np.float32)


@dataclass(frozen=True)
class Standard:
    """What is subtracted from and divides each column of a feature: float32, of the shape of a row."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, mean: np.ndarray, scale: np.ndarray) -> Self:
        """Return that of a fit in float64, as split computes it and normalizer.npz keeps it."""
        return cls(mean.astype(DTYPE), scale.astype(DTYPE))

    def is_as(self, other: Self) -> bool:
        """Return whether another one makes the same values."""
        return np.array_equal(self.mean, other.mean) and np.array_equal(self.scale, other.scale)

    def apply(self, rows: np.ndarray, is_valid: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
        """Return rows standardised.

        Parameters
        ----------
        rows
            (n, ..., *row): of any number type, as merged; axes between the first one and those of a row stay.
        is_valid
            bool (n, ...): where it is False the row becomes 0. None is all.
        out
            float32 of the shape of `rows`, to be filled and returned; None makes one.
        """
        out = np.empty(rows.shape, DTYPE) if out is None else out
        step = max(1, CHUNK_BYTES // max(1, out[:1].nbytes))
        for start in range(0, len(rows), step):
            ready = out[start : start + step]
            ready[...] = rows[start : start + step]
            ready -= self.mean
            ready /= self.scale
        if is_valid is not None:
            out[~is_valid] = 0
        return out
