"""Which part, train, val or test, each group of a merged dataset is in, and its rows with their parts.

A group's part is a function of (seed, group id) alone: a 64-bit hash of both, as a fraction of 2**64, is below the
share of train, below train + val, or not. So a group is never in two parts and never changes part when data are added.

Rows of a time series are assigned by their time instead, if the params say so: see stages/splitting/time_parts.py. A
group that crosses a boundary is then taken as several, one for each part, and one for the rows that are in none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, merged_files, part_files
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField, Role, read_fields
from stages.core.hashing import mix, seeded
from stages.core.params import SplitParams
from stages.core.part_files import PARTS
from stages.splitting.time_parts import assign_by_time

FEATURE_CHUNK_ROWS = 1024  # most rows that moments sum exactly
SCALAR_CHUNK_ROWS = 1 << 16
TIME_ROLES: tuple[Role, ...] = ("time", "series", "lookback")  # without them nothing can be split by time


@dataclass(frozen=True)
class Merged:
    """A merged dataset: its folder, fields and group table, and the part of each group: 0, 1, 2, or 3 for none.

    `rule` is what stats.json says of the split.
    """

    folder: Path
    fields: list[NamedField]
    group_id: np.ndarray
    offsets: np.ndarray
    source: np.ndarray
    row_in_unit: np.ndarray
    units: np.ndarray
    part: np.ndarray
    rule: dict[str, Any]

    def of_role(self, role: Role) -> list[NamedField]:
        """Return the fields of one role, by name."""
        return [field for field in self.fields if field.role == role]

    def n_rows(self) -> list[int]:
        """Return the rows of each part."""
        sizes = np.diff(self.offsets)
        return [int(sizes[self.part == part].sum()) for part in range(len(PARTS))]

    def stored(self, name: str, chunk_rows: int) -> Iterator[np.ndarray]:
        """Yield a field's rows in merged order; its checksum is compared behind the last chunk.

        What was made of the chunks must not outlive a failure.

        Raises
        ------
        DamagedFile
            When the file is missing, not complete or not what merge wrote.
        """
        crc = next(field.crc for field in self.fields if field.name == name)
        return arrays.npy_chunks(self.folder / merged_files.array(name), chunk_rows, crc)

    def chunks(self, name: str, chunk_rows: int = SCALAR_CHUNK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a field's rows in order, each chunk with the part of each of its rows, uint8."""
        start = 0
        for rows in self.stored(name, chunk_rows):
            groups, sizes = self._groups(start, start + len(rows))
            yield rows, np.repeat(self.part[groups], sizes)
            start += len(rows)

    def derived(self, name: str, chunk_rows: int = SCALAR_CHUNK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a key that the group table gives, as `chunks` does a field: group_id, unit or row_in_unit."""
        columns = {"group_id": self.group_id, "unit": self.source, "row_in_unit": self.row_in_unit - self.offsets[:-1]}
        n_rows = int(self.offsets[-1])
        for start in range(0, n_rows, chunk_rows):
            stop = min(start + chunk_rows, n_rows)
            groups, sizes = self._groups(start, stop)
            rows = np.repeat(columns[name][groups], sizes)
            if name == "row_in_unit":
                rows += np.arange(start, stop)
            yield rows, np.repeat(self.part[groups], sizes)

    def derived_dtype(self, name: str) -> np.dtype:
        """Return the dtype of what `derived` gives."""
        return {"group_id": self.group_id, "unit": self.source, "row_in_unit": self.row_in_unit}[name].dtype

    def places(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the group of some rows, int64, and the row within the group, int64; there may be fewer rows."""
        stop = min(stop, int(self.offsets[-1]))
        groups, sizes = self._groups(start, stop)
        group = np.repeat(np.arange(groups.start, groups.stop), sizes)
        return group, np.arange(start, stop) - self.offsets[group]

    def _groups(self, start: int, stop: int) -> tuple[slice, np.ndarray]:
        """Return the groups that the rows are in, and how many of the rows each has."""
        first, last = np.searchsorted(self.offsets, (start, stop - 1), side="right") - 1
        return slice(first, last + 1), np.diff(np.clip(self.offsets[first : last + 2], start, stop))

    def feature_chunks(self, name: str, chunk_rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Yield a feature's rows in order with their parts, and whether each is valid; None where all are."""
        valid = part_files.valid(name)
        if all(field.name != valid for field in self.fields):
            for rows, parts in self.chunks(name, chunk_rows):
                yield rows, parts, None
            return
        flags = self.chunks(valid, chunk_rows)
        for (rows, parts), (is_valid, _) in zip(self.chunks(name, chunk_rows), flags, strict=True):
            yield rows, parts, is_valid.astype(bool)


def assign(group_id: np.ndarray, params: SplitParams) -> np.ndarray:
    """Return the part of each group: 0 train, 1 val, 2 test.

    Parameters
    ----------
    group_id
        uint64 (G,).
    params
        Shares and seed.

    Returns
    -------
    ndarray
        uint8 (G,).
    """
    fraction = mix(seeded(group_id, params.seed)) / 2.0**64
    return np.digitize(fraction, [params.train, params.train + params.val]).astype(np.uint8)


def open_merged(folder: Path, params: SplitParams) -> Merged:
    """Open the merged arrays in a folder and assign their groups to parts.

    Raises
    ------
    DamagedFile
        When a file is missing or not what merge writes.
    """
    fields = read_fields(folder)
    table = arrays.read_npz(folder / merged_files.GROUPS)
    missing = {"group_id", "group_offsets", "source", "row_in_unit", "units"} - set(table)
    if missing:
        where = folder / merged_files.GROUPS
        raise arrays.DamagedFile(f"{where}: no {sorted(missing)[0]}, expected the groups; remove it, `dvc repro`")
    merged = Merged(
        folder=folder,
        fields=fields,
        group_id=table["group_id"],
        offsets=table["group_offsets"],
        source=table["source"],
        row_in_unit=table["row_in_unit"],
        units=table["units"],
        part=assign(table["group_id"], params),
        rule=params.described(),
    )
    return _by_time(merged, params) if params.by == "time" else merged


def _by_time(merged: Merged, params: SplitParams) -> Merged:
    """Assign rows by their time; groups become the stretches of one group and one part."""
    names = {role: merged.of_role(role) for role in TIME_ROLES}
    missing = [role for role, found in names.items() if not found]
    if missing:
        raise ExpectedError(f"{merged.folder}: no field of role {missing[0]!r}, expected a time series; set by: group")
    fields: dict[str, str] = {role: found[0].name for role, found in names.items()}
    rows = assign_by_time(lambda role: merged.stored(fields[role], SCALAR_CHUNK_ROWS), params)
    changes = np.flatnonzero(np.diff(rows.part)) + 1
    starts = np.union1d(merged.offsets[:-1], changes).astype(np.int64)
    group = np.searchsorted(merged.offsets, starts, side="right") - 1
    return replace(
        merged,
        group_id=merged.group_id[group],
        offsets=np.append(starts, merged.offsets[-1]),
        source=merged.source[group],
        row_in_unit=merged.row_in_unit[group] + starts - merged.offsets[group],
        part=rows.part[starts],
        rule=merged.rule | rows.described(),
    )
