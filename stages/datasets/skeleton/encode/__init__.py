"""CSV files -> typed arrays; see `stages.datasets.base` for the interface.

One row is one line of a file, and a file is a group: its rows stay together in train, val or test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.base import BadUnit, Field, Unit, group_id
from stages.datasets.base.raw import read_unit
from stages.datasets.skeleton.schema import COLUMNS, FEATURES, parse_options

CHUNK_UNITS = 32  # files that are read and encoded at once

FIELDS = {
    "X": Field("float32", (len(FEATURES),), "feature", "what was measured", FEATURES, (True,) * len(FEATURES)),
    "label_alarm": Field("int16", (), "label", "whether there was an alarm", ("no", "yes")),
    "row_in_file": Field("int32", (), "key", "line of the file, from 0, the header not counted"),
}


@dataclass(frozen=True)
class Table:
    """The numbers of some files.

    Attributes
    ----------
    keys
        Of the files, G of them.
    values
        float64 (N, columns), the rows of all files, one file after the other.
    offsets
        int64 (G+1,): the rows of file g are ``offsets[g]:offsets[g + 1]``.
    """

    keys: Sequence[str]
    values: np.ndarray
    offsets: np.ndarray


def read(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Table:
    """Read and check some files.

    Raises
    ------
    BadUnit
        With file, line, found and expected, for the first file that is not as `schema` says.
    """
    separator = parse_options(options).separator
    pieces = [_read_file(read_unit(raw_dir, unit), str(raw_dir / unit.key), separator) for unit in units]
    offsets = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    values = np.concatenate([np.empty((0, len(COLUMNS))), *pieces])
    return Table([unit.key for unit in units], values, offsets)


def _read_file(content: bytes, where: str, separator: str) -> np.ndarray:
    """Return the numbers of one file, float64 (rows, columns)."""
    header, *lines = content.decode("utf-8", "replace").splitlines() or [""]
    expected = separator.join(COLUMNS)
    if header != expected:
        raise BadUnit(f"{where}:1: {header[:80]!r}, expected {expected!r}; correct the header")
    if not lines:
        raise BadUnit(f"{where}:2: no rows after the header, expected some; correct or remove the file")
    return np.array([_numbers(line, f"{where}:{i}", separator) for i, line in enumerate(lines, 2)])


def _numbers(line: str, where: str, separator: str) -> list[float]:
    """Return the numbers of one line."""
    cells = line.split(separator)
    if len(cells) != len(COLUMNS):
        raise BadUnit(f"{where}: {len(cells)} columns, expected {len(COLUMNS)}; correct the line")
    for name, cell in zip(COLUMNS, cells, strict=True):
        if not _is_number(cell):
            raise BadUnit(f"{where}: {name} is {cell[:40]!r}, expected a number; correct the line")
    if cells[-1] not in ("0", "1"):
        raise BadUnit(f"{where}: alarm is {cells[-1]!r}, expected 0 or 1; correct the line")
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def encode(table: Table, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return every field of `FIELDS` with N rows, and the group arrays."""
    sizes = np.diff(table.offsets)
    return {
        "X": table.values[:, : len(FEATURES)].astype(np.float32),
        "label_alarm": table.values[:, -1].astype(np.int16),
        "row_in_file": (np.arange(len(table.values)) - np.repeat(table.offsets[:-1], sizes)).astype(np.int32),
        "group_id": np.array([group_id(f"skeleton {key}") for key in table.keys], np.uint64),
        "group_offsets": table.offsets,
        "source": np.arange(len(table.keys), dtype=np.int32),
    }


def line(row: int) -> int:
    """Return the line of the file that row `row` of it came from."""
    return row + 2
