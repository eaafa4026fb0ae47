"""Parts of random values with the fields, dtypes and shapes of the four datasets, for measuring loaders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays

CHUNK_ROWS = 10_000
COLUMNS = 1308
MASKS = {"action_type": 4, "card_reservation": 15, "card_selection": 15, "gem_take2": 5, "gem_take3": 26,
         "gems_removed": 84, "noble": 5}  # fmt: skip
BOARD = (2, 13, 13)
WINDOW, STRATEGIC = 48, 13
OBSERVATION = 36


@dataclass(frozen=True)
class Field:
    """One array: its file's role, dtype, shape of a row, and what its values are below."""

    role: str
    dtype: str
    shape: tuple[int, ...] = ()
    high: int = 2


SPLENDOR = {
    "X": Field("feature", "float32", (COLUMNS,), 8),
    **{f"label_{head}": Field("label", "int16", (), n) for head, n in MASKS.items()},
    **{f"mask_{head}": Field("mask", "uint8", (n,)) for head, n in MASKS.items()},
}
HEX = {
    "board": Field("feature", "uint8", (43,), 256),
    "player_to_move": Field("feature", "uint8"),
    "label_policy": Field("label", "int16", (), 169),
    "label_value": Field("label", "uint8"),
}
MARKET = {"strategic": Field("feature", "float32", (STRATEGIC,), 8)}
RUGS = {
    "observation": Field("feature", "float32", (OBSERVATION,), 8),
    "label_action": Field("label", "int8", (), 4),
    "reward": Field("key", "float64"),
    "terminated": Field("key", "uint8"),
    "truncated": Field("key", "uint8"),
    "player_known": Field("key", "uint8"),
    "kept": Field("key", "uint8", (), 1),
    "refused": Field("key", "uint8"),
    "tick": Field("key", "int32", (), 500),
}
NPZ = {"label": "labels_train.npz", "mask": "masks_train.npz", "key": "keys_train.npz"}


def write(folder: Path, fields: Mapping[str, Field], n_rows: int, **stats: Any) -> Path:
    """Write a part "train" of so many rows, and stats.json."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for role, name in NPZ.items():
        members = {
            field_name.partition("_")[2] if role != "key" else field_name: [_rows(rng, field, n_rows)]
            for field_name, field in fields.items()
            if field.role == role
        }
        arrays.save_npz(folder / name, members)
    for name, field in fields.items():
        if field.role == "feature":
            rows = _rows(rng, field, CHUNK_ROWS)
            with arrays.npy_sink(folder / f"{name}_train.npy", rows.dtype, (n_rows, *field.shape)) as sink:
                for start in range(0, n_rows, CHUNK_ROWS):
                    sink.append(rows[: n_rows - start])
    (folder / "stats.json").write_text(json.dumps(stats))
    return folder


def write_splendor(folder: Path, n_rows: int) -> Path:
    """Write rows of Splendor, float32."""
    return write(folder, SPLENDOR, n_rows)


def write_stored_splendor(folder: Path, n_rows: int) -> Path:
    """Write rows of Splendor as merged, int8, with a normaliser."""
    stored = {"X": {"dtype": "int8", "shape": [COLUMNS], "first": 0}}
    write(folder, {**SPLENDOR, "X": Field("feature", "int8", (COLUMNS,), 8)}, n_rows, stored=stored)
    names = np.array([f"X {i}" for i in range(COLUMNS)])
    fit = {"names": names, "mean": np.full(COLUMNS, 3.5), "scale": np.full(COLUMNS, 2.3)}
    arrays.save_npz(folder / "normalizer.npz", {name: [values] for name, values in fit.items()})
    return folder


def write_hex(folder: Path, n_rows: int) -> Path:
    """Write positions of hex, boards packed."""
    write(folder, HEX, n_rows)
    (folder / "packed.json").write_text(json.dumps({"board": list(BOARD)}))
    return folder


def write_market(folder: Path, n_rows: int) -> Path:
    """Write bars with a window from each on."""
    write(folder, MARKET, n_rows, windows={"strategic": {"window": WINDOW, "step": 1}})
    np.save(folder / "starts_strategic_train.npy", np.arange(n_rows - WINDOW + 1))
    return folder


def write_rugs(folder: Path, n_rows: int) -> Path:
    """Write steps, two of which are a transition."""
    write(folder, RUGS, n_rows, windows={"observation": {"window": 2, "step": 1}})
    np.save(folder / "starts_observation_train.npy", np.arange(n_rows - 1))
    return folder


def _rows(rng: np.random.Generator, field: Field, n_rows: int) -> np.ndarray:
    return rng.integers(0, field.high, (n_rows, *field.shape)).astype(field.dtype)
