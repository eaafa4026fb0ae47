"""Whether val and test are like train: each column of the features and each label, and what is more than chance.

In: data/processed/<dataset>/, of which a bounded number of rows is read (`rows`). Nothing is written. What differs by
more than chance is decided over whole groups and over all columns and labels together (`chance`); how much it differs
is told by the stability index (`psi`). Where a part has too few groups nothing is decided, and that is said.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from stages.core.part_files import PARTS
from stages.differences import chance, psi
from stages.differences.counts import ColumnCounts, Columns, count
from stages.differences.rows import ChosenRows, choose, member
from stages.processed import Processed

MOST_CLUSTERS: Final = 400
TRAIN: Final = PARTS[0]


@dataclass(frozen=True)
class Drifted:
    """A column or a label of a part beside that of train.

    Attributes
    ----------
    kind
        ``feature`` or ``label``.
    psi
        The stability index.
    chance
        How often chance gives a difference of this size in any column or label; None where there is no telling.
    train, part
        Of a column mean and spread in raw units; of a label the share of the class that differs most.
    what
        That class; empty for a column.
    """

    kind: str
    name: str
    psi: float
    chance: float | None
    train: tuple[float, ...]
    part: tuple[float, ...]
    what: str = ""

    @property
    def is_drift(self) -> bool:
        """Whether it is more than chance."""
        return self.chance is not None and self.chance <= chance.LEVEL

    @property
    def size(self) -> str:
        """Small, moderate or large."""
        return psi.size(self.psi)


@dataclass(frozen=True)
class PartDrift:
    """What differs in a part from train.

    Attributes
    ----------
    n_rows, n_groups
        Rows looked at and their groups, in train and in the part.
    n_all
        Rows that train and the part have.
    found
        All columns and labels, the largest index first.
    """

    part: str
    n_rows: tuple[int, int]
    n_all: tuple[int, int]
    n_groups: tuple[int, int]
    can_tell: bool
    found: list[Drifted] = field(default_factory=list)

    def drifted(self) -> list[Drifted]:
        """Return what is more than chance, the largest first."""
        return [one for one in self.found if one.is_drift]

    def largest(self, n: int) -> list[Drifted]:
        """Return the largest indices, whether they are more than chance or not."""
        return sorted(self.found, key=lambda one: -one.psi)[:n]


@dataclass(frozen=True)
class _Part:
    """Rows of a part, the cluster of each, and what was counted of the features, by name."""

    chosen: ChosenRows
    cluster: np.ndarray
    n_groups: int
    features: dict[str, ColumnCounts]

    @property
    def n_clusters(self) -> int:
        return int(self.cluster.max(initial=-1)) + 1


def read_drift(data: Processed) -> list[PartDrift]:
    """Return what differs in each part that has rows from train; nothing without a row of train.

    Raises
    ------
    DamagedFile
        When an array is missing or not complete.
    """
    features = [Columns.of(data, name) for name in data.features(TRAIN)]
    chosen = choose(data, sum(len(columns.names) for columns in features))
    if not chosen[0].n_all:
        return []
    cuts = {columns.field: columns.cuts(chosen[0]) for columns in features}
    groups = [_groups(data, rows) for rows in chosen]
    each = chance.groups_each((len(np.unique(ids)) for ids in groups), MOST_CLUSTERS)
    parts = [_counted(rows, features, cuts, ids, each) for rows, ids in zip(chosen, groups, strict=True)]
    return [_compared(data, features, parts[0], part) for part in parts[1:] if part.chosen.n_all]


def _groups(data: Processed, chosen: ChosenRows) -> np.ndarray:
    groups = member(data, chosen, "key", "group_id")
    return np.empty(0, np.uint64) if groups is None else groups


def _counted(
    chosen: ChosenRows, features: list[Columns], cuts: Mapping[str, np.ndarray], groups: np.ndarray, n_groups_each: int
) -> _Part:
    """Deal the groups of a part's rows into clusters, and count their values."""
    cluster, n_groups = chance.clusters(groups, n_groups_each)
    counts = {columns.field: count(columns, chosen, cuts[columns.field], cluster) for columns in features}
    return _Part(chosen, cluster, n_groups, counts)


def _compared(data: Processed, features: list[Columns], train: _Part, part: _Part) -> PartDrift:
    is_second = np.repeat([False, True], [train.n_clusters, part.n_clusters])
    deals = chance.Deals(is_second)
    each = [*_columns(features, train, part, deals), *_labels(data, train, part, deals)]
    chances = deals.chance(np.array([distance for _, distance in each])).tolist()
    can_tell = not chance.too_few(train.n_clusters, part.n_clusters)
    told = [replace(one, chance=own if can_tell else None) for (one, _), own in zip(each, chances, strict=True)]
    return PartDrift(
        part.chosen.part,
        (len(train.chosen.numbers), len(part.chosen.numbers)),
        (train.chosen.n_all, part.chosen.n_all),
        (train.n_groups, part.n_groups),
        can_tell,
        sorted(told, key=lambda one: (not one.is_drift, -one.psi)),
    )


def _columns(
    features: list[Columns], train: _Part, part: _Part, deals: chance.Deals
) -> Iterator[tuple[Drifted, float]]:
    """Yield each column, with its greatest distance of the mean and of the rows above each cut."""
    times = Counter(name for columns in features for name in columns.names)
    for columns in features:
        before, after = train.features[columns.field], part.features[columns.field]
        distance = _column_distances(before, after, deals).tolist()
        index = psi.index(before.in_bins(), after.in_bins()).tolist()
        moments = np.stack([before.mean, before.spread, after.mean, after.spread], axis=1).tolist()
        for name, far, drift, own in zip(columns.names, distance, index, moments, strict=True):
            shown = name if times[name] == 1 else f"{columns.field} {name}"
            yield Drifted("feature", shown, drift, None, tuple(own[:2]), tuple(own[2:])), far


def _column_distances(before: ColumnCounts, after: ColumnCounts, deals: chance.Deals) -> np.ndarray:
    n_rows = np.concatenate([before.n_rows, after.n_rows])
    quantities = [
        np.concatenate([before.total, after.total]),
        *np.concatenate([before.above, after.above], axis=1).astype(np.float64),
    ]
    return np.max([deals.add(values, n_rows) for values in quantities], axis=0)


def _labels(data: Processed, train: _Part, part: _Part, deals: chance.Deals) -> Iterator[tuple[Drifted, float]]:
    """Yield each label, with its greatest distance of the share of a class."""
    for head, classes in data.label_mappings().items():
        sides = [_class_counts(data, side, head, len(classes)) for side in (train, part)]
        if classes:
            yield _label(head, list(classes), sides, deals)


def _class_counts(data: Processed, side: _Part, head: str, n_classes: int) -> np.ndarray:
    """Return the rows of each cluster and class, int64 (clusters, classes); -1 is of no class."""
    values = member(data, side.chosen, "label", head)
    if values is None:
        return np.zeros((side.n_clusters, n_classes), np.int64)
    applies = values >= 0
    place = side.cluster[applies] * n_classes + values[applies]
    return np.bincount(place, minlength=side.n_clusters * n_classes).reshape(side.n_clusters, n_classes)


def _label(head: str, names: list[str], sides: list[np.ndarray], deals: chance.Deals) -> tuple[Drifted, float]:
    counts = np.concatenate(sides).astype(np.float64)
    distance = deals.add(counts, counts.sum(axis=1))
    n_before, n_after = (side.sum(axis=0) for side in sides)
    before, after = (counts / max(1, counts.sum()) for counts in (n_before, n_after))
    most = int(np.argmax(np.abs(after - before)))
    index = float(psi.index(n_before[:, None], n_after[:, None])[0])
    shares = (float(before[most]),), (float(after[most]),)
    return Drifted("label", head, index, None, *shares, names[most]), float(distance.max(initial=0))
