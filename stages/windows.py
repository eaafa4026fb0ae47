"""Sliding windows over rows: which there are, and how to look through one without copying.

A window is `window` rows that follow one another without a break and are all valid. What is stored is the row it begins
with; the rows themselves stay where they are (48 rows every 36 would take 1.33 times the memory, every row 48 times).

A run is a longest stretch of such rows. The grid of windows begins anew at the first row of every run, so a window
never spans a break and rows added after it never move it.
"""

import numpy as np


def runs(is_chosen: np.ndarray, is_first: np.ndarray, is_valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row and the number of rows of each run, int64 (r,) each.

    Parameters
    ----------
    is_chosen
        bool (n,): whether a row belongs to the part.
    is_first
        bool (n,): whether a segment or a series begins with a row.
    is_valid
        bool (n,): whether a row may be in a window.
    """
    is_in = np.concatenate([[False], is_chosen & is_valid, [False]])
    begins = is_in[1:-1] & (~is_in[:-2] | is_first)
    ends = is_in[1:-1] & (~is_in[2:] | np.append(is_first[1:], True))
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    return first, last - first + 1


def starts(first: np.ndarray, length: np.ndarray, window: int, step: int) -> np.ndarray:
    """Return the first row of every window in runs.

    Parameters
    ----------
    first, length
        First row and number of rows of each run, int64 (r,).
    window
        Rows of a window, at least 1.
    step
        Rows from one window of a run to the next, at least 1.

    Returns
    -------
    ndarray
        int64 (k,), rising. A run of m rows has ``(m - window) // step + 1`` windows, none if m < window.

    Examples
    --------
    >>> starts(np.array([0, 5]), np.array([5, 4]), window=3, step=2)
    array([0, 2, 5])
    """
    n_windows = np.maximum(0, (length - window) // step + 1)
    place = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    return np.repeat(first, n_windows) + step * place


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
