"""Small processed parts with features, groups and a label that a test gives, as split would leave them."""

import json
from pathlib import Path

import numpy as np

from stages.core import arrays
from stages.core.part_files import PARTS


def write_parts(folder, features, groups, labels=None, **stats):
    """Write the parts of a dataset.

    Parameters
    ----------
    features
        By field an array of each part, (rows, ...).
    groups
        The group of each row, by part.
    labels
        Of one head, by part: class numbers of "a", "b", "c", or -1.
    stats
        More of stats.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    for part in PARTS:
        for field, parts in features.items():
            rows = np.ascontiguousarray(parts[part])
            with arrays.npy_sink(folder / f"{field}_{part}.npy", rows.dtype, rows.shape) as sink:
                sink.append(rows)
        ids = np.asarray(groups[part], np.uint64)
        keys = {"group_id": [ids], "unit": [np.zeros(len(ids), np.int32)], "units": [np.array(["u"])]}
        arrays.save_npz(folder / f"keys_{part}.npz", keys)
        arrays.save_npz(folder / f"labels_{part}.npz", {"kind": [np.asarray(labels[part], np.int16)]} if labels else {})
    classes = {"kind": {"a": 0, "b": 1, "c": 2}} if labels else {}
    (folder / "label_mappings.json").write_text(json.dumps(classes))
    (folder / "stats.json").write_text(json.dumps({"rows": {part: len(groups[part]) for part in PARTS}, **stats}))
    return folder


def grouped(rng, n_groups=(160, 20, 20), n_columns=30, rows=(5, 40)):
    """Return rows of many groups, which are most of what a row's values are, in each part, and the groups."""
    values, groups, first = {}, {}, 0
    for part, n in zip(PARTS, n_groups, strict=True):
        sizes = rng.integers(*rows, n)
        groups[part] = np.repeat(np.arange(first, first + n), sizes)
        of_group = rng.normal(0, 1, (n, n_columns))
        values[part] = (np.repeat(of_group, sizes, axis=0) + rng.normal(0, 0.3, (sizes.sum(), n_columns))).astype(
            np.float32
        )
        first += n
    return values, groups
