"""Ray Data on this machine: ``python tests/bench/peer_ray.py RAW OUT``.

`read_csv` and `map_batches` make features, labels and parts, held in Ray's object store; a second pass sums what the
standardisation needs, a third one standardises, and the rows of each part come back as batches. Ray's start and end
count, as they do for whoever runs such a program.
"""

import sys
from pathlib import Path

import numpy as np
import peer_columns
import pyarrow as pa
import ray
from peer_columns import PARTS
from peer_pyarrow import CONVERT, games

BATCH_ROWS = 8_192


def encode(table: pa.Table) -> dict[str, np.ndarray]:
    """Return features, labels, keys and part of some rows."""
    rows = games(table)
    return {
        "X": peer_columns.features(rows.state),
        "keys": peer_columns.keys(rows),
        "part": peer_columns.part_of(rows.game),
        **peer_columns.heads(rows.moves, rows.actions),
    }


def sums(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the number of train rows of a batch, and the sums of their features and of these squared: one row."""
    train = batch["X"][batch["part"] == 0].astype(np.float64)
    return {"n": np.array([len(train)]), "first": train.sum(0)[None], "second": (train * train).sum(0)[None]}


def run(raw_dir: Path, out_dir: Path) -> None:
    """Make all parts."""
    files = [str(file) for file in peer_columns.raw_files(raw_dir)]
    table = ray.data.read_csv(files, convert_options=CONVERT)
    encoded = table.map_batches(encode, batch_format="pyarrow", batch_size=BATCH_ROWS).materialize()
    found = encoded.map_batches(sums, batch_format="numpy", batch_size=BATCH_ROWS).take_batch(len(files))
    n_rows, first, second = (found[name].sum(0) for name in ("n", "first", "second"))
    mean, scale = peer_columns.used(first / n_rows, np.sqrt(second / n_rows - (first / n_rows) ** 2))

    def standardise(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**batch, "X": (batch["X"] - mean) / scale}

    pieces = list(encoded.map_batches(standardise, batch_format="numpy").iter_batches(batch_size=BATCH_ROWS))
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    part = joined.pop("part")
    for index, name in enumerate(PARTS):
        rows = np.flatnonzero(part == index)
        peer_columns.save(out_dir, name, {array: values[rows] for array, values in joined.items()})


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    Path(sys.argv[2]).mkdir(parents=True)
    run(Path(sys.argv[1]), Path(sys.argv[2]))
    ray.shutdown()
