"""Where the sliding windows of a time series begin.

A window is `window` rows of one part that lie next to each other in the merged arrays, in one segment of one series,
and are all valid; see stages/windows.py. Only the first row of each window is stored: the windows themselves are views.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays
from stages.errors import ExpectedError
from stages.parts import PARTS, SCALAR_CHUNK_ROWS, Merged
from stages.windows import runs, starts


def write_starts(folder: Path, merged: Merged, windows: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Write starts_<field>_<part>.npy for each field of `windows`; return their sizes and numbers, per field.

    Raises
    ------
    ExpectedError
        When a field is no feature of the dataset.
    """
    features = {field["name"] for field in merged.of_role("feature")}
    counts: dict[str, dict[str, int]] = {}
    for name, entry in windows.items():
        if name not in features:
            known = ", ".join(sorted(features))
            raise ExpectedError(f"params.yaml: split.windows: no feature {name!r}, expected one of: {known}")
        counts[name] = {"window": entry["window"], "step": entry["step"]}
        parts, is_first, is_valid = _flags(merged, name)
        for number, part in enumerate(PARTS):
            first, length = runs(parts == number, is_first, is_valid)
            rows = np.cumsum(parts == number) - 1
            found = starts(rows[first], length, entry["window"], entry["step"])
            with arrays.npy_sink(folder / f"starts_{name}_{part}.npy", found.dtype, found.shape) as sink:
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
        for values, _ in merged.chunks(field["name"]):
            stop = row + len(values)
            is_first[row + 1 : stop] |= values[1:] != values[:-1]
            is_first[row] |= before is None or bool(values[0] != before)
            row, before = stop, values[-1]
    return parts, is_first, is_valid
