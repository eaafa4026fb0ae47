"""Where the sliding windows of a time series begin.

A window is `window` rows of one part that lie next to each other in the merged arrays, in one segment of one series,
and are all valid. Only the first row of each window is stored: the windows themselves are views, see
stages/processed/windows.py.

A run is a longest stretch of such rows. The grid of windows begins anew at the first row of every run, so a window
never spans a break and rows added after it never move it.

With ``ahead: h`` a window begins only where h more rows of its run follow it: what a label of the window looks at, for
example the next h prices, is then in the same segment and part. The grid stays; windows at the end of runs drop out.
"""

import logging
from collections.abc import Iterable, Mapping

import numpy as np

from stages.core import part_files
from stages.core.errors import ExpectedError
from stages.core.params import Window
from stages.core.part_files import PARTS
from stages.splitting.parts import SCALAR_CHUNK_ROWS, Merged
from stages.splitting.written_folder import WrittenFolder

logger = logging.getLogger("batchwise")

SOME = 3  # series that are named


def write_starts(
    folder: WrittenFolder, merged: Merged, windows: Mapping[str, Window], *, tells: bool = True
) -> dict[str, dict[str, int]]:
    """Write starts_<field>_<part>.npy for each field of `windows`; return their sizes and numbers, per field.

    Parameters
    ----------
    folder, merged, windows
        Where to write, and of what.
    tells
        Whether to look for windows in each part and series: that one has none is a warning then.

    Raises
    ------
    ExpectedError
        When a field is no feature of the dataset; with `tells` also when no part has a window of it.
    """
    _require_features(merged, windows)
    counts: dict[str, dict[str, int]] = {}
    is_told = not tells
    for name, wanted in windows.items():
        counts[name] = {"window": wanted.window, "step": wanted.step, "ahead": wanted.ahead}
        parts, is_first, is_valid = _flags(merged, name)
        if not is_told:
            _tell_of_absent(merged, parts)
            is_told = True
        begins, longest = list[np.ndarray](), dict[str, int]()
        for number, part in enumerate(PARTS):
            first, length = runs(parts == number, is_first, is_valid)
            rows = np.cumsum(parts == number) - 1
            n_rows = wanted.window + wanted.ahead
            found = starts(rows[first], length, n_rows, wanted.step)
            begins.append(first[length >= n_rows])
            longest[part] = int(length.max(initial=0))
            with folder.npy(part_files.window_starts(name, part), found.dtype, found.shape) as sink:
                sink.append(found)
            counts[name][part] = len(found)
        if tells:
            _tell_of_none(name, wanted, _of_filled(merged, counts[name]), longest)
            _tell_of_series(name, merged, np.concatenate(begins))
    return counts


def _require_features(merged: Merged, names: Iterable[str]) -> None:
    """Refuse windows of what is no feature."""
    features = {field.name for field in merged.of_role("feature")}
    for name in names:
        if name not in features:
            known = ", ".join(sorted(features))
            raise ExpectedError(f"params.yaml: split.windows: no feature {name!r}, expected one of: {known}")


def _of_filled(merged: Merged, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of the parts that have rows."""
    return {part: counts[part] for part, n_rows in zip(PARTS, merged.n_rows(), strict=True) if n_rows}


def _tell_of_none(name: str, wanted: Window, counts: Mapping[str, int], longest: Mapping[str, int]) -> None:
    """Warn of parts without a window, with the reason and what to change; refuse if none has one.

    `counts` are the windows of the parts that have rows, `longest` the longest stretch of each part.
    """
    without = [part for part, count in counts.items() if not count]
    if not without:
        return
    found = ", ".join(f"{part} {longest[part]}" for part in without)
    message = (
        f"no window of {name} in {', '.join(without)}: the longest stretches of valid rows without a break have "
        f"{found} rows, expected {wanted.window + wanted.ahead} or more; add data, or change split.windows.{name}, the "
        "shares of split, or what breaks stretches (of market: max_gap_minutes, volume_bars)"
    )
    if len(without) == len(counts):
        raise ExpectedError(message)
    logger.warning("%s", message)


def _tell_of_series(name: str, merged: Merged, begins: np.ndarray) -> None:
    """Warn of series without a window; `begins` are the merged rows with which runs that hold one begin."""
    for field in merged.of_role("series"):
        row, known, with_window = 0, dict[object, bool](), set[object]()
        for values, _ in merged.chunks(field.name):
            known |= dict.fromkeys(np.unique(values).tolist(), True)
            inside = begins[(begins >= row) & (begins < row + len(values))] - row
            with_window |= set(values[inside].tolist())
            row += len(values)
        without = [_text(one) for one in known if one not in with_window]
        if without:
            some = ", ".join(without[:SOME]) + (f" and {len(without) - SOME:,} more" if len(without) > SOME else "")
            logger.warning(
                "no window of %s in any part for %s: too few valid rows without a break, expected one; add data, or "
                "change split.windows.%s",
                *(name, some, name),
            )


def _tell_of_absent(merged: Merged, part_of: np.ndarray) -> None:
    """Warn of series that have no row in a part, unless most are like that: short ones, such as episodes.

    Parameters
    ----------
    merged
        The merged arrays.
    part_of
        Part of each merged row, uint8 (n,).
    """
    for field in merged.of_role("series"):
        row, there = 0, {part: set[object]() for part in PARTS}
        for values, _ in merged.chunks(field.name):
            own = part_of[row : row + len(values)]
            for number, part in enumerate(PARTS):
                there[part] |= set(np.unique(values[own == number]).tolist())
            row += len(values)
        everything = sorted(set[object]().union(*there.values()), key=str)
        throughout = set(everything).intersection(*there.values())
        if 2 * len(throughout) < len(everything):
            continue
        for part in PARTS:
            without = [_text(one) for one in everything if one not in there[part]]
            if without:
                more = f" and {len(without) - SOME:,} more" if len(without) > SOME else ""
                logger.warning(
                    "no row of %s in %s: its rows lie in other parts", ", ".join(without[:SOME]) + more, part
                )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


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
