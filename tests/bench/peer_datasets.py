"""Hugging Face datasets: ``python tests/bench/peer_datasets.py RAW OUT``.

`load_dataset` reads the games into Arrow files, `map` makes features, labels and parts, both with a process for each
core, and the columns of each part become arrays. All cached files lie in OUT and are removed. Numbers are float32 in
the first step: its CSV reader is pandas', which knows no whole number that is empty, and without types the files of two
processes do not fit each other. A file costs it some 80 ms of CPU, with types or without.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import peer_columns
from datasets import Features, Value, load_dataset
from peer_columns import KEYS, MOVE, NAMES, PARTS, STATE

from stages.datasets.splendor import schema

CODES = {name: code for code, name in enumerate(schema.ACTION_TYPES)}
BATCH_ROWS = 5_000
CORES = os.cpu_count()
TYPES = {name: Value("float32") for name in NAMES} | {"game_id": Value("int32"), "action_type": Value("string")}


def matrix(batch: dict[str, np.ndarray], names: tuple[str, ...], fill: int) -> np.ndarray:
    """Return columns of a batch side by side, int8 (N, len(names)), with a number where one is empty."""
    return np.nan_to_num(np.stack([batch[name] for name in names], axis=1), nan=fill).astype(np.int8)


def encode(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return features, labels, keys and part of some rows."""
    actions = np.array([CODES[action] for action in batch["action_type"].tolist()], np.int8)
    return {
        "X": peer_columns.features(matrix(batch, STATE, 0)),
        "keys": np.stack([batch[name] for name in KEYS], axis=1).astype(np.int32),
        "part": peer_columns.part_of(batch["game_id"]),
        **peer_columns.heads(matrix(batch, MOVE, -1), actions),
    }


def run(raw_dir: Path, out_dir: Path) -> None:
    """Make all parts."""
    files = [str(file) for file in peer_columns.raw_files(raw_dir)]
    cache = str(out_dir / "cache")
    table = load_dataset(
        "csv", data_files=files, split="train", features=Features(TYPES), cache_dir=cache, num_proc=CORES
    )
    encoded = table.with_format("numpy").map(
        encode, batched=True, batch_size=BATCH_ROWS, num_proc=CORES, remove_columns=table.column_names
    )
    part = encoded["part"][:]
    mean = scale = np.empty(0)
    for index, name in enumerate(PARTS):  # train is the first
        arrays = encoded.select(np.flatnonzero(part == index)).remove_columns("part")[:]
        if name == "train":
            mean, scale = peer_columns.moments(arrays["X"])
        arrays["X"] = (arrays["X"] - mean) / scale
        peer_columns.save(out_dir, name, arrays)
    shutil.rmtree(cache)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
