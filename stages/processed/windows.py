"""Sliding windows over rows: how to look through one without copying.

A window is `window` rows that follow one another without a break and are all valid. What is stored is the row it begins
with; the rows themselves stay where they are (48 rows every 36 would take 1.33 times the memory, every row 48 times).
Where windows begin, split decides: see stages/splitting/window_starts.py.
"""

import numpy as np


def view(features: np.ndarray, window: int) -> np.ndarray:
    """Return a read-only view of every stretch of `window` rows; the one at index i begins with row i.

    Parameters
    ----------
    features
        (n, ...), in memory or a memory map.
    window
        Rows of a window, at least 1.

    Returns
    -------
    ndarray
        (n - window + 1, window, ...) on the memory of `features`; (0, window, ...) if n < window. Its slices, such as
        every 36th window, and its single windows are views as well.
    """
    if len(features) < window:
        return np.empty((0, window, *features.shape[1:]), features.dtype)
    stretches = np.lib.stride_tricks.sliding_window_view(features, window, axis=0)
    return np.moveaxis(stretches, -1, 1)


def gather(features: np.ndarray, first: np.ndarray, window: int) -> np.ndarray:
    """Return a copy of the windows that begin with the rows `first` (k,): (k, window, ...), as a trainer takes them."""
    return view(features, window)[first]
