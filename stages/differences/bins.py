"""Where the values of a column are cut into bins: about ten of equal rows, or one for each value where those are few.

A cut lies halfway between two values that occur, never on one: what float32 and the inverse of a standardisation leave
of a value, which differ between two versions of a dataset, falls on the same side.
"""

from typing import Final

import numpy as np

N_BINS: Final = 10
BLUR: Final = 2e-6  # values nearer than this, of their own size and that of the mean, are one
ASIDE: Final = 1e-3  # how far from a constant its two cuts lie
TARGETS: Final = np.arange(1, N_BINS) / N_BINS


def cuts(sample: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the cuts of each column.

    Parameters
    ----------
    sample
        float64 (rows, columns): values in the units of the raw data; those that are not finite are left out.
    mean
        float64 (columns,): what a standardisation has taken off, 0 where there was none.

    Returns
    -------
    numpy.ndarray
        float64 (cuts, columns), ascending; columns with fewer cuts end in infinity.
    """
    ordered = np.sort(sample, axis=0)  # NaN comes last
    found = [_of_column(values[np.isfinite(values)], about) for values, about in zip(ordered.T, mean, strict=True)]
    result = np.full((max(map(len, found), default=0), len(found)), np.inf)
    for column, own in enumerate(found):
        result[: len(own), column] = own
    return result


def _of_column(values: np.ndarray, mean: float) -> np.ndarray:
    """Return the cuts of one column, of its values in ascending order."""
    if not len(values):
        return values
    blur = BLUR * (np.abs(values[1:]) + abs(mean))
    last = np.flatnonzero(np.diff(values) > blur)  # of each value but the greatest, where it occurs last
    if not len(last):
        aside = ASIDE * max(1.0, abs(values[0]))
        return np.array([values[0] - aside, values[-1] + aside])
    between = (values[last] + values[last + 1]) / 2
    if len(between) < N_BINS:
        return between
    share = (last + 1) / len(values)
    after = np.searchsorted(share, TARGETS).clip(1, len(share) - 1)
    is_nearer_before = TARGETS - share[after - 1] < share[after] - TARGETS
    return between[np.unique(after - is_nearer_before)]
