"""Compare two versions of a dataset: units, rows, groups, settings of the split, classes, columns of features.

What stats.json and the manifests say is taken from there. The keys of rows are read if their checksums differ, and the
features of which a file differs, a bounded number of rows of all parts together (`rows`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from stages.core import part_files
from stages.core.part_files import PARTS
from stages.differences import psi
from stages.differences.counts import ColumnCounts, Columns, count
from stages.differences.places import DataVersion
from stages.differences.rows import ChosenRows, choose
from stages.differences.units import GroupChanges, UnitChanges, group_changes, read_groups, unit_changes
from stages.processed import Processed

SHIFTED: Final = 0.25  # of a mean, in spreads: moderate; twice that is large
ROWS_LARGE: Final = 0.1  # of a part's rows


@dataclass(frozen=True)
class ClassShift:
    """A label head: rows it applies to, index, and the class whose share differs most, with its shares."""

    head: str
    before: int
    after: int
    psi: float
    what: str
    shares: tuple[float, float]
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ColumnShift:
    """A column of a feature: mean and spread of both versions, raw, and its index; over all parts."""

    field: str
    name: str
    psi: float
    mean: tuple[float, float]
    spread: tuple[float, float]

    @property
    def shift(self) -> float:
        """How far the mean moved, in spreads of the first version; of one without spread, whether it did."""
        moved = abs(self.mean[1] - self.mean[0])
        if not moved or moved <= 1e-6 * max(map(abs, self.mean)):
            return 0.0
        return moved / self.spread[0] if self.spread[0] > 1e-6 * moved else float("inf")

    @property
    def size(self) -> str:
        """Small, moderate or large, by index or mean."""
        return psi.size(max(self.psi, self.shift / SHIFTED * psi.MODERATE if self.shift < 2 * SHIFTED else psi.LARGE))


@dataclass(frozen=True)
class Difference:
    """What differs between two versions of a dataset.

    Attributes
    ----------
    rows, groups
        Of both versions, by part.
    settings
        Of the split, those that differ, with both values.
    new_columns, lost_columns
        Names of columns that only one version has.
    columns
        Those of both in features of which a file differs, the largest change first.
    n_columns
        Columns of both, changed or not.
    n_read
        Rows read of each version where not all were; None where all were, or none had to be.
    """

    dataset: str
    before: str
    after: str
    units: UnitChanges
    rows: dict[str, tuple[int, int]]
    groups: dict[str, tuple[int, int]]
    moves: GroupChanges
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    classes: list[ClassShift] = field(default_factory=list)
    new_columns: list[str] = field(default_factory=list)
    lost_columns: list[str] = field(default_factory=list)
    columns: list[ColumnShift] = field(default_factory=list)
    n_columns: int = 0
    n_read: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_none(self) -> bool:
        """Whether nothing differs."""
        return not (
            self.units.are_some
            or self.settings
            or self.changed_columns()
            or self.new_columns
            or self.lost_columns
            or self.notes
            or self.moves != GroupChanges()
            or any(old != new for old, new in [*self.rows.values(), *self.groups.values()])
            or self.changed_classes()
        )

    def changed_classes(self) -> list[ClassShift]:
        """Return the heads with other classes or other rows of any."""
        return [
            shift for shift in self.classes if shift.psi or shift.before != shift.after or shift.added or shift.removed
        ]

    def changed_columns(self) -> list[ColumnShift]:
        """Return the columns with another distribution, the largest change first."""
        return [column for column in self.columns if column.psi > 0 or column.shift > 0]

    def large(self) -> list[str]:
        """Say what of it is large, a sentence each."""
        return list(_large(self))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON, with the size of each shift and what is large."""
        content = asdict(self)
        for shown, shift in zip(content["classes"], self.classes, strict=True):
            shown["size"] = psi.size(shift.psi)
        for entry, column in zip(content["columns"], self.columns, strict=True):
            entry["size"] = column.size
        plain: dict[str, Any] = _finite({**content, "is_none": self.is_none, "large": self.large()})
        return plain


def _finite(value: Any) -> Any:
    """Return plain JSON, in which a number that is not finite is null."""
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _large(found: Difference) -> Iterator[str]:
    if found.moves.n_moved:
        why = " (the settings of the split differ)" if found.settings else ", expected none"
        yield f"{found.moves.n_moved:,} groups changed part{why}"
    for part, (old, new) in found.rows.items():
        if abs(new - old) > ROWS_LARGE * max(1, old):
            yield f"rows of {part}: {old:,} -> {new:,}"
    for shift in found.classes:
        if psi.size(shift.psi) == "large":
            yield f"label {shift.head}: PSI {shift.psi:.2f}"
    n_large = [column for column in found.columns if column.size == "large"]
    if n_large:
        names = ", ".join(column.name for column in n_large[:3]) + (", ..." if len(n_large) > 3 else "")
        yield f"{len(n_large):,} of {found.n_columns:,} columns: {names}"
    if found.lost_columns:
        yield f"{len(found.lost_columns):,} columns are gone"


def compare(before: DataVersion, after: DataVersion, dataset: str, other: str = "") -> Difference:
    """Compare a dataset of two versions; `other` is its name in the second one, if that is another.

    Raises
    ------
    ExpectedError
        When a file that is needed is missing or damaged.
    """
    names = dataset, other or dataset
    versions = before, after
    datas = [version.processed(name) for version, name in zip(versions, names, strict=True)]
    old, new = (data.stats() for data in datas)
    changed = _changed_files(old, new)
    for version, name in zip(versions, names, strict=True):
        version.get(name, _to_be_read(changed))
    has_keys = any(name in changed for name in _keys())
    moves = group_changes(*map(read_groups, datas)) if has_keys else GroupChanges()
    found = _columns(datas, changed)
    units = unit_changes(*(version.units(name) for version, name in zip(versions, names, strict=True)))
    return Difference(
        dataset,
        before.name,
        after.name,
        units,
        _of_parts(old, new, "rows"),
        _of_parts(old, new, "groups"),
        moves,
        _settings(old["split"], new["split"]),
        list(_class_shifts(old["labels"], new["labels"])),
        found.new,
        found.lost,
        found.in_order(),
        max(0, int(new["input_dim"]) - len(found.new)),
        found.n_read,
        found.notes,
    )


def _of_parts(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> dict[str, tuple[int, int]]:
    return {part: (int(old[name].get(part, 0)), int(new[name].get(part, 0))) for part in PARTS}


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings of a split that differ; what it only counted is none."""
    names = [name for name in {**old, **new} if name not in part_files.LEFT_OUT]
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _changed_files(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the files of the parts whose checksums differ or are in one version only."""
    before, after = (stats.get("files", {}) for stats in (old, new))
    return sorted(name for name in {**before, **after} if not before.get(name) or before.get(name) != after.get(name))


def _features_of(names: list[str]) -> set[str]:
    """Return the features that some files are of."""
    return {field for name in names for part in PARTS if (field := part_files.feature_of(name, part))}


def _keys() -> list[str]:
    return [part_files.members("key", part) for part in PARTS]


def _to_be_read(changed: list[str]) -> list[str]:
    """Return the files that are read where some files differ: keys, and features of which a part differs."""
    fields = _features_of(changed)
    keys = _keys() if fields or any(name in changed for name in _keys()) else []
    return [*keys, *(part_files.feature(field, part) for field in sorted(fields) for part in PARTS)]


# Classes.


def _class_shifts(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ClassShift]:
    """Yield each head of both versions, all parts together, by the counts of stats.json."""
    for head in {**old, **new}:
        before, after = _classes(old.get(head, {})), _classes(new.get(head, {}))
        names = list({**before, **after})
        counts = np.array([[side.get(name, 0) for name in names] for side in (before, after)])
        totals = counts.sum(axis=1, keepdims=True)
        shares = counts / np.maximum(totals, 1)
        most = int(np.abs(shares[1] - shares[0]).argmax()) if names else 0
        is_same = np.array_equal(counts[0], counts[1])
        yield ClassShift(
            head,
            int(totals[0, 0]),
            int(totals[1, 0]),
            0.0 if is_same else float(psi.index(counts[0][:, None], counts[1][:, None])[0]),
            names[most] if names else "",
            (float(shares[0, most]), float(shares[1, most])) if names else (0.0, 0.0),
            [name for name in after if name not in before],
            [name for name in before if name not in after],
        )


def _classes(parts: Mapping[str, Any]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in parts.values():
        for name, count_of in counts["classes"].items():
            total[name] = total.get(name, 0) + count_of
    return total


# Columns.


@dataclass
class _ColumnChanges:
    """What differs in the columns of all features: shifts, names that one version has, rows read if not all."""

    shifts: list[ColumnShift] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    n_read: tuple[int, int] | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, before: Columns, after: Columns) -> None:
        """Compare a feature of both versions."""
        found, n_read = _shifts(before, after)
        self.shifts += found
        self.new += _others(after.names, before.names)
        self.lost += _others(before.names, after.names)
        self.n_read = n_read or self.n_read

    def in_order(self) -> list[ColumnShift]:
        """Return the shifts, the largest first."""
        return sorted(self.shifts, key=lambda one: (-max(one.psi, min(one.shift, 10.0) ** 2), one.name))


def _others(names: list[str], known: list[str]) -> list[str]:
    have = set(known)
    return [name for name in names if name not in have]


def _columns(datas: list[Processed], changed: list[str]) -> _ColumnChanges:
    """Compare the features of which a file differs."""
    result = _ColumnChanges()
    before, after = (_features_of(list(data.stats().get("files", {}))) for data in datas)
    for name in sorted({*before, *after} & _features_of(changed)):
        sides = [Columns.of(data, name) if _is_here(data, name) else None for data in datas]
        if name not in before or name not in after:
            one = sides[0] or sides[1]
            (result.lost if name in before else result.new).extend(one.names if one else [name])
        elif sides[0] and sides[1]:
            result.add(sides[0], sides[1])
        else:
            where = "its values are neither in DVC's cache nor on a remote"
            result.notes.append(f"{name} differs; {where}: not compared")
    return result


def _is_here(data: Processed, field_name: str) -> bool:
    return all(data.feature_path(field_name, part).is_file() for part in PARTS)


def _shifts(before: Columns, after: Columns) -> tuple[list[ColumnShift], tuple[int, int] | None]:
    """Compare the columns that both versions of a feature have; return the rows read too, None where they are all."""
    first, second = _common(before.names, after.names)
    if not len(first):
        return [], None
    chosen, chosen_after = (choose(side.data, len(side.names)) for side in (before, after))
    cuts = before.cuts(next((rows for rows in chosen if rows.n_all), chosen[0]))
    cuts_after = np.full((len(cuts), len(after.names)), np.inf)
    cuts_after[:, second] = cuts[:, first]
    old = _all_parts([count(before, rows, cuts) for rows in chosen])
    new = _all_parts([count(after, rows, cuts_after) for rows in chosen_after])
    index = psi.index(old.in_bins()[:, first], new.in_bins()[:, second])
    table = np.stack([index, old.mean[first], new.mean[second], old.spread[first], new.spread[second]], axis=1)
    shifts = [_shift(before.field, before.names[i], *row) for i, row in zip(first, table.tolist(), strict=True)]
    are_all = all(rows.are_all for rows in [*chosen, *chosen_after])
    return shifts, None if are_all else (_n_rows(chosen), _n_rows(chosen_after))


def _shift(field_name: str, name: str, *values: float) -> ColumnShift:
    index, mean, mean_after, spread, spread_after = values
    return ColumnShift(field_name, name, index, (mean, mean_after), (spread, spread_after))


def _common(before: list[str], after: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the names that both have, in each, int64."""
    place = {name: i for i, name in enumerate(after)}
    first = [i for i, name in enumerate(before) if name in place]
    return np.array(first, np.int64), np.array([place[before[i]] for i in first], np.int64)


def _n_rows(chosen: list[ChosenRows]) -> int:
    return sum(len(rows.numbers) for rows in chosen)


def _all_parts(counts: list[ColumnCounts]) -> ColumnCounts:
    """Return the counts of all parts together, of each of which the same share of rows was read."""
    n_rows = np.array([part.n_rows.sum() for part in counts])
    weight = (n_rows / max(1, n_rows.sum()))[:, None]
    means, spreads = (np.stack(values) for values in zip(*((part.mean, part.spread) for part in counts), strict=True))
    mean = (weight * means).sum(axis=0)
    variance = (weight * (spreads**2 + (means - mean) ** 2)).sum(axis=0)
    return ColumnCounts(
        n_rows.sum(keepdims=True),
        np.sum([part.above for part in counts], axis=0),
        np.sum([part.total for part in counts], axis=0),
        mean,
        np.sqrt(variance),
    )
