"""A small merged dataset of every kind of feature, split into standardised parts and into parts as merged."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from stages import split
from stages.core import arrays, bits, paths
from stages.core.files import write_text
from stages.core.merge_report import report_text
from stages.core.params import SplitParams, Window
from tests.helpers.merged_fields import write_fields

STORES = ("float32", "stored")
PARAMS = SplitParams(0.5, 0.25, 0.25, windows={"X": Window(3, 2)})
WITH_STANDARD = ("X", "grid", "wide")
FIELDS = {
    "X": {"role": "feature", "names": list("abcde"), "normalise": [True, False, True, True, True]},
    "board": {"role": "feature", "bits": [3, 5]},
    "grid": {"role": "feature", "normalise": [True] * 6},
    "label_kind": {"role": "label", "names": ["win", "draw", "loss"]},
    "left": {"role": "feature", "names": ["l", "r"]},
    "mask_kind": {"role": "mask", "names": ["win", "draw", "loss"]},
    "valid_X": {"role": "valid"},
    "valid_wide": {"role": "valid"},
    "wide": {"role": "feature", "names": ["v", "w"], "normalise": [True, True]},
}


def write_merged(dataset="toy", seed=1):
    """Write what merge writes of 60 groups: features of 1, 2 and 8 bytes, one of bits, rows that are not valid."""
    rng, folder = np.random.default_rng(seed), paths.merged_dir(dataset)
    folder.mkdir(parents=True)
    sizes = rng.integers(1, 60, 60)
    n = int(sizes.sum())
    wide = rng.normal(50, 9, (n, 2))
    is_valid = rng.random(n) < 0.9
    wide[~is_valid] = np.nan
    x = rng.integers(-128, 128, (n, 5)).astype(np.int8)
    x[:, 3] = 4  # a constant column keeps scale 1
    values = {
        "X": x,
        "board": bits.pack(rng.integers(0, 2, (n, 3, 5))),
        "grid": rng.integers(-30_000, 30_000, (n, 2, 3)).astype(np.int16),
        "label_kind": rng.integers(-1, 3, n).astype(np.int16),
        "left": rng.integers(-5, 5, (n, 2)).astype(np.int8),
        "mask_kind": np.ones((n, 3), np.uint8),
        "valid_X": (rng.random(n) < 0.8).astype(np.uint8),
        "valid_wide": is_valid.astype(np.uint8),
        "wide": wide,
    }
    entries = []
    for name, array in values.items():
        np.save(folder / f"{name}.npy", array)
        known = {"doc": name, "names": None, "normalise": None, "bits": None} | FIELDS[name]
        entries.append(known | {"name": name, "dtype": array.dtype.name, "shape": list(array.shape[1:])})
    write_fields(folder, entries)
    groups = {
        "group_id": [rng.integers(0, 2**63, len(sizes)).astype(np.uint64)],
        "group_offsets": [np.append(0, np.cumsum(sizes)).astype(np.int64)],
        "source": [np.zeros(len(sizes), np.int32)],
        "row_in_unit": [np.append(0, np.cumsum(sizes)[:-1]).astype(np.int64)],
        "units": [np.array(["u"])],
    }
    arrays.save_npz(folder / "groups.npz", groups)
    report = {"duplicates": {"groups": 0, "rows": 0}, "bad_units": {"count": 0}, "units": 1, "batches": 1}
    report["by_batch"] = {"b": {"units": 1, "groups": len(sizes), "rows": n}}
    write_text(paths.report(dataset), report_text(report))


def split_both(dataset="toy", params=PARAMS):
    """Split what is merged in the working directory into each form; return the folders by the form."""
    folders = {}
    for store in STORES:
        split.split(dataset, replace(params, store=store))
        folders[store] = Path(store).absolute() / dataset
        folders[store].parent.mkdir(exist_ok=True)
        paths.processed_dir(dataset).rename(folders[store])
    return folders
