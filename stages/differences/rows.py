"""Which rows of the parts are looked at, and what their keys and labels are: bounded, whatever their size.

All rows, if they are few; else one of each of as many stretches of equal length, by a seed that never changes, so that
every group has its share and no period of the data meets one of the sample.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.core import arrays, part_files
from stages.core.part_files import PARTS, MemberRole
from stages.processed import Processed

MOST_VALUES: Final = 1 << 24  # of all features and parts together
MOST_ROWS: Final = 1 << 20
MEMBER_ROWS: Final = 1 << 18  # of a key or a label, in memory at once


@dataclass(frozen=True)
class ChosenRows:
    """Rows of a part: their numbers, int64 (k,), ascending, and how many the part has."""

    part: str
    numbers: np.ndarray
    n_all: int

    @property
    def are_all(self) -> bool:
        """Whether no row is left out."""
        return len(self.numbers) == self.n_all


def choose(data: Processed, n_columns: int) -> list[ChosenRows]:
    """Return the rows to look at of each part, of features with so many columns.

    The share is the same in all parts: else a group would be few rows in one and many in another, and the parts
    together would not be what the dataset is.
    """
    sizes = [arrays.npz_headers(data.members_path("key", part))["group_id"].shape[0] for part in PARTS]
    most = min(MOST_ROWS, max(1, MOST_VALUES // max(1, n_columns)))
    share = min(1.0, most / max(1, sum(sizes)))
    return [_stretched(part, n_all, math.ceil(n_all * share)) for part, n_all in zip(PARTS, sizes, strict=True)]


def _stretched(part: str, n_all: int, n_rows: int) -> ChosenRows:
    """Return one row of each of some stretches of equal length."""
    if n_rows == n_all:
        return ChosenRows(part, np.arange(n_all), n_all)
    ends = np.linspace(0, n_all, n_rows + 1).astype(np.int64)
    return ChosenRows(part, np.random.default_rng(0).integers(ends[:-1], ends[1:]), n_all)


def member(data: Processed, chosen: ChosenRows, role: MemberRole, name: str) -> np.ndarray | None:
    """Return a key or a label of the chosen rows, (k,); None where the part has none of that name."""
    path = data.members_path(role, chosen.part)
    header = arrays.npz_headers(path).get(name) if path.is_file() else None
    if header is None:
        return None
    pieces, start = [np.empty(0, header.dtype)], 0
    for values in arrays.member_chunks(path, header, MEMBER_ROWS):
        low, high = np.searchsorted(chosen.numbers, (start, start + len(values)))
        pieces.append(values[chosen.numbers[low:high] - start])
        start += len(values)
    return np.concatenate(pieces)


def is_valid(data: Processed, chosen: ChosenRows, field: str) -> np.ndarray | None:
    """Return which of the chosen rows are valid in a feature, bool (k,); None where all are."""
    flags = member(data, chosen, "key", part_files.valid(field))
    return None if flags is None else flags.astype(bool)
