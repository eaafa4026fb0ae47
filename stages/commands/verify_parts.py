"""Check what split wrote for one part: rows, groups, order, values and masks.

Each fault is one line with the file; the command that repairs it is stages/commands/verify.py's to add.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from stages.core import arrays, bits, checksum, merged_files
from stages.core.part_files import NORMALIZER, PARTS, REFUSED, UNIT_TABLE
from stages.processed import Processed
from stages.splitting.parts import FEATURE_CHUNK_ROWS
from stages.splitting.shuffle import first_out_of_order


def file_faults(data: Processed) -> Iterator[str]:
    """Yield the files that are not what split wrote."""
    for name, crc in data.crcs().items():
        path = data.folder / name
        if not path.is_file():
            yield f"{path}: not found, expected one of the files of stats.json"
        elif checksum.of_file(path) != crc:
            yield f"{path}: checksum does not match stats.json, expected what split wrote"


def time_faults(data: Processed, boundaries: Mapping[str, str]) -> Iterator[str]:
    """Yield what lies on the wrong side of a boundary in time."""
    val, test = (np.datetime64(boundaries[part].removesuffix("Z"), "ns").astype(np.int64) for part in PARTS[1:])
    limits = {"train": (None, val), "val": (val, test), "test": (test, None)}
    for part, (low, high) in limits.items():
        path, time = data.members_path("key", part), data.keys(part, ["time"])["time"]
        if not len(time):
            continue  # split has warned of a part without rows
        if (low is not None and time.min() < low) or (high is not None and time.max() > high):
            yield f"{path}: a row lies beyond the boundaries {boundaries['val']} and {boundaries['test']}"


def order_faults(data: Processed, part: str, table: Mapping[str, np.ndarray], seed: int) -> Iterator[str]:
    """Yield what is wrong with the order of shuffled rows; in order, none is there twice.

    Parameters
    ----------
    data, part
        The processed arrays, and the part.
    table
        The merged group table, groups.npz.
    seed
        Of the split.
    """
    path = data.members_path("key", part)
    group_id, row_in_unit = data.keys(part, ["group_id", "row_in_unit"]).values()
    by_id = np.argsort(table["group_id"])
    group = by_id[np.minimum(np.searchsorted(table["group_id"][by_id], group_id), len(by_id) - 1)]
    row = row_in_unit - table["row_in_unit"][group]
    is_known = (table["group_id"][group] == group_id) & (row >= 0) & (row < np.diff(table["group_offsets"])[group])
    if not is_known.all():
        row = int(np.flatnonzero(~is_known)[0])
        yield f"{path}: row {row} is of no merged group, expected one of {merged_files.GROUPS}"
    elif (wrong := first_out_of_order(group_id, row, seed)) is not None:
        yield f"{path}: row {wrong} does not come after the one before it, expected the order of their hashes"


def part_faults(data: Processed, part: str, n_rows: int, groups: dict[int, str] | None) -> Iterator[str]:
    """Yield what is wrong with one part.

    Parameters
    ----------
    data, part, n_rows
        The processed arrays, the part, and how many rows it must have.
    groups
        The part of each group seen so far; those of this part are added. None where groups may be in several parts.
    """
    path, keys = data.members_path("key", part), data.keys(part)
    yield from _row_faults(path, {name: rows for name, rows in keys.items() if name != UNIT_TABLE}, n_rows)
    for group in np.unique(keys["group_id"]).tolist() if groups is not None else ():
        if groups is not None and groups.setdefault(group, part) != part:
            yield f"{path}: group {group:016x} is in {groups[group]} and {part}, expected one part"
    features, shapes = data.features(part), data.packed_shapes()
    if not features:
        yield f"{data.folder}: no arrays *_{part}.npy, expected the features"
    for name, path in features.items():
        yield from _standard_faults(data, name, path)
        yield from _feature_faults(path, n_rows, shapes.get(name))
    labels, masks = data.labels(part), data.masks(part)
    masks_path = data.members_path("mask", part)
    wrong = [*_row_faults(data.members_path("label", part), labels, n_rows), *_row_faults(masks_path, masks, n_rows)]
    wrong = wrong or [*_mask_faults(masks_path, masks, labels)]
    yield from wrong or _refusal_faults(masks_path, masks, labels, keys.get(REFUSED))


def _row_faults(path: Path, members: Mapping[str, np.ndarray], n_rows: int) -> Iterator[str]:
    for name, rows in members.items():
        if len(rows) != n_rows:
            yield f"{path}: {name} has {len(rows):,} rows, expected {n_rows:,} as in stats.json"


def _standard_faults(data: Processed, name: str, path: Path) -> Iterator[str]:
    """Yield what keeps a reader from standardising a feature that is stored as it was merged."""
    standard = data.standard(name, arrays.npy_header(path))
    if standard and not (np.isfinite([standard.mean, standard.scale]).all() and (standard.scale > 0).all()):
        yield f"{data.folder / NORMALIZER}: {name} cannot be standardised, expected finite means and scales above 0"


def _feature_faults(path: Path, n_rows: int, shape: tuple[int, ...] | None) -> Iterator[str]:
    """Yield what is wrong with a feature; `shape` is that of its unpacked rows, None where they are not packed."""
    header = arrays.npy_header(path)
    found = header.shape[0]
    if found != n_rows:
        yield f"{path}: {found:,} rows, expected {n_rows:,} as in stats.json"
    n_bits = math.prod(shape or ())
    packed = (np.dtype(np.uint8), (bits.n_bytes(shape or ()),))
    if shape and (header.dtype, header.shape[1:]) != packed:
        yield f"{path}: rows are {header.dtype}{header.shape[1:]}, expected {packed[0]}{packed[1]} for bits {shape}"
        return
    start = 0
    for rows in arrays.npy_chunks(path, FEATURE_CHUNK_ROWS):
        if shape and (is_set := (rows[:, -1] & (2 ** (-n_bits % 8) - 1)) != 0).any():
            yield f"{path}: row {start + int(np.flatnonzero(is_set)[0])} has bits behind its {n_bits} cells"
            return
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            is_finite = np.isfinite(rows.reshape(len(rows), -1)).all(1)
            yield f"{path}: row {start + int(np.flatnonzero(~is_finite)[0])} is not finite"
            return
        start += len(rows)


def _mask_faults(path: Path, masks: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> Iterator[str]:
    for head, mask in masks.items():
        label = labels.get(head, np.empty(0, np.int16))
        if mask.size and mask.max() > 1:
            yield f"{path}: {head} has a value {mask.max()}, expected 0 or 1"
        elif len(label) and not (label.min() >= -1 and label.max() < mask.shape[1]):
            yield f"{path}: {head} has labels {label.min()}..{label.max()}, expected -1..{mask.shape[1] - 1}"


def _refusal_faults(
    path: Path, masks: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], refused: np.ndarray | None
) -> Iterator[str]:
    """Yield the masks that refuse their label in rows that `refused` (N,), if there is that key, does not mark."""
    is_marked = np.zeros(0, bool) if refused is None else refused != 0
    is_illegal_anywhere = np.zeros_like(is_marked)
    for head, mask in masks.items():
        rows = np.flatnonzero(labels.get(head, np.empty(0, np.int16)) >= 0)
        illegal = rows[mask[rows, labels[head][rows]] == 0] if len(rows) else rows
        if refused is not None:
            is_illegal_anywhere[illegal] = True
            illegal = illegal[~is_marked[illegal]]
        if len(illegal):
            yield f"{path}: {head} of row {illegal[0]} refuses its label ({len(illegal):,} such rows)"
    wrong = np.flatnonzero(is_marked & ~is_illegal_anywhere)
    if len(wrong):
        expected = f"a label that a mask forbids ({len(wrong):,} such rows)"
        yield f"{path}: row {wrong[0]} is marked as refused, expected {expected}"
