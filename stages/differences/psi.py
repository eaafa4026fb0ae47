"""The population stability index of two distributions over the same bins, and what of it is large.

It is the sum over the bins of (q - p) ln(q / p), p and q the shares of a bin: 0 for equal ones, and for two normal
distributions of one spread about the square of the distance of their means in spreads. Below 0.1 it is usually called
small, from 0.25 on large [1]_.

References
----------
.. [1] N. Siddiqi, Credit Risk Scorecards, 2006.
"""

from typing import Final

import numpy as np

MODERATE: Final = 0.1
LARGE: Final = 0.25
SMOOTHING: Final = 0.5  # rows that each bin is given, so that an empty one has a logarithm


def index(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the index of each column.

    Parameters
    ----------
    before, after
        (bins, columns): rows in each bin; a bin that is empty in both counts nothing.

    Returns
    -------
    numpy.ndarray
        float64 (columns,); 0 where one side has no rows.

    Examples
    --------
    >>> index(np.array([[50], [50]]), np.array([[50], [50]])).tolist()
    [0.0]
    >>> index(np.array([[500], [500]]), np.array([[900], [100]])).round(2).tolist()
    [0.87]
    """
    is_used = (before + after) > 0
    p, q = (_shares(counts, is_used) for counts in (before, after))
    ratio = np.divide(q, p, out=np.ones_like(p), where=is_used)
    total = ((q - p) * np.log(ratio)).sum(axis=0)
    return np.where((before.sum(axis=0) > 0) & (after.sum(axis=0) > 0), np.maximum(total, 0.0), 0.0)


def _shares(counts: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    smooth = np.where(is_used, counts + SMOOTHING, 0.0)
    return smooth / np.maximum(smooth.sum(axis=0), 1.0)


def size(value: float) -> str:
    """Return what an index is called: small, moderate or large.

    Examples
    --------
    >>> size(0.02), size(0.1), size(0.3)
    ('small', 'moderate', 'large')
    """
    if value >= LARGE:
        return "large"
    return "moderate" if value >= MODERATE else "small"
