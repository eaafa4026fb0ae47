"""Where the sliding windows of a time series begin.

A window is `window` rows of one part that lie next to each other in the merged arrays, in one segment of one series,
and are all valid. Only the first row of each window is stored: the windows themselves are views, see
stages/processed/windows.py.

A run is a longest stretch of such rows. The grid of windows begins anew at the first row of every run, so a window
never spans a break and rows added after it never move it.

With ``ahead: h`` a window begins only where h more rows of its run follow it: what a label of the window looks at, for
example the next h prices, is then in the same segment and part. The grid stays; windows at the end of runs drop out.
"""

from collections.abc import Mapping

import numpy as np

from stages.core import part_files
from stages.core.errors import ExpectedError
from stages.core.params import Window
from stages.core.part_files import PARTS
from stages.splitting.parts import SCALAR_CHUNK_ROWS, Merged
from stages.splitting.written_folder import WrittenFolder


def write_starts(folder: WrittenFolder, merged: Merged, windows: Mapping[str, Window]) -> dict[str, dict[str, int]]:
    """Write starts_<field>_<part>.npy for each field of `windows`; return their sizes and numbers, per field.

    Raises
    ------
    ExpectedError
        When a field is no feature of the dataset.
    """
    features = {field.name for field in merged.of_role("feature")}
    counts: dict[str, dict[str, int]] = {}
    for name, wanted in windows.items():
        if name not in features:
            known = ", ".join(sorted(features))
            raise ExpectedError(f"params.yaml: split.windows: no feature {name!r}, expected one of: {known}")
        counts[name] = {"window": wanted.window, "step": wanted.step, "ahead": wanted.ahead}
        parts, is_first, is_valid = _flags(merged, name)
        for number, part in enumerate(PARTS):
            first, length = runs(parts == number, is_first, is_valid)
            rows = np.cumsum(parts == number) - 1
            found = starts(rows[first], length, wanted.window + wanted.ahead, wanted.step)
            with folder.npy(part_files.window_starts(name, part), found.dtype, found.shape) as sink:
                sink.append(found)
            counts[name][part] = len(found)
    return counts


def _flags(merged: Merged, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each merged row its part, whether a segment or series begins with it, and whether it is valid."""
    n_rows = int(merged.offsets[-1])
    parts, is_valid, is_first = np.empty(n_rows, np.uint8), np.ones(n_rows, bool), np.zeros(n_rows, bool)
    row = 0
    for _, part, valid in merged.feature_chunks(name, SCALAR_CHUNK_ROWS):
        stop = row + len(part)
        parts[row:stop] = part
        if valid is not None:
            is_valid[row:stop] = valid
        row = stop
    for field in [*merged.of_role("segment"), *merged.of_role("series")]:
        row, before = 0, None
        for values, _ in merged.chunks(field.name):
            stop = row + len(values)
            is_first[row + 1 : stop] |= values[1:] != values[:-1]
            is_first[row] |= before is None or bool(values[0] != before)
            row, before = stop, values[-1]
    return parts, is_first, is_valid


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
        Rows of a window, with those that must follow it, at least 1.
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
