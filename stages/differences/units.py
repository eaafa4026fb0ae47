"""The units of two versions by name, and the groups by id: added, removed, changed, and moved to another part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from stages.core import arrays
from stages.core.part_files import PARTS
from stages.processed import Processed

CHUNK_ROWS: Final = 1 << 18


@dataclass(frozen=True)
class UnitChanges:
    """Units by name; `changed` is None where one version does not say their digests."""

    before: int
    after: int
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] | None = field(default_factory=list)

    @property
    def are_some(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.removed or self.changed)


def unit_changes(before: Mapping[str, str], after: Mapping[str, str]) -> UnitChanges:
    """Compare the digests of units by their keys; an empty text is a digest that is not known.

    Examples
    --------
    >>> unit_changes({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    UnitChanges(before=2, after=2, added=['c'], removed=['a'], changed=['b'])
    """
    both = before.keys() & after.keys()
    known = all(before.values()) and all(after.values())
    return UnitChanges(
        len(before),
        len(after),
        sorted(after.keys() - before.keys()),
        sorted(before.keys() - after.keys()),
        sorted(key for key in both if before[key] != after[key]) if known else None,
    )


@dataclass(frozen=True)
class GroupChanges:
    """Groups of both versions.

    Attributes
    ----------
    added, removed
        Groups that only one version has in any part.
    resized
        Groups of both with another number of rows.
    moved
        Groups of both that are in other parts: how many by ``train -> val``. Must be none unless the rule of the split
        changed.
    examples
        Ids of the first of them, as `make trace` shows them.
    """

    added: int = 0
    removed: int = 0
    resized: int = 0
    moved: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def n_moved(self) -> int:
        """Groups that are in other parts than before."""
        return sum(self.moved.values())


EXAMPLES: Final = 5


@dataclass(frozen=True)
class GroupSizes:
    """The groups of a dataset: ids, uint64 (n,), ascending, and rows in each part, int64 (n, parts)."""

    ids: np.ndarray
    rows: np.ndarray


def read_groups(data: Processed) -> GroupSizes:
    """Return the groups of all parts; a piece of their keys is in memory at once.

    Raises
    ------
    DamagedFile
        When the keys of a part are missing or not complete.
    """
    found = [_groups_of(data, part) for part in PARTS]
    ids = np.unique(np.concatenate([own for own, _ in found]))
    rows = np.zeros((len(ids), len(PARTS)), np.int64)
    for i, (own, n_rows) in enumerate(found):
        rows[np.searchsorted(ids, own), i] = n_rows
    return GroupSizes(ids, rows)


def _groups_of(data: Processed, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and rows of the groups of one part."""
    path = data.members_path("key", part)
    header = arrays.npz_headers(path)["group_id"]
    ids, rows = np.empty(0, np.uint64), np.empty(0, np.int64)
    for values in arrays.member_chunks(path, header, CHUNK_ROWS):
        new, n_new = np.unique(values, return_counts=True)
        ids, place = np.unique(np.concatenate([ids, new]), return_inverse=True)
        rows = np.bincount(place, np.concatenate([rows, n_new]), len(ids)).astype(np.int64)
    return ids, rows


def group_changes(before: GroupSizes, after: GroupSizes) -> GroupChanges:
    """Compare the groups of two versions."""
    both, first, second = np.intersect1d(before.ids, after.ids, assume_unique=True, return_indices=True)
    old, new = before.rows[first], after.rows[second]
    is_moved = ((old > 0) != (new > 0)).any(axis=1)
    kinds, counts = np.unique(np.concatenate([old > 0, new > 0], axis=1)[is_moved], axis=0, return_counts=True)
    n = len(PARTS)
    moved = {
        f"{_parts(kind[:n])} -> {_parts(kind[n:])}": count
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
    }
    return GroupChanges(
        len(after.ids) - len(both),
        len(before.ids) - len(both),
        int((old.sum(axis=1) != new.sum(axis=1)).sum()),
        moved,
        [f"{group:016x}" for group in both[is_moved][:EXAMPLES].tolist()],
    )


def _parts(flags: Sequence[bool]) -> str:
    return "+".join(part for part, is_in in zip(PARTS, flags, strict=True) if is_in)
