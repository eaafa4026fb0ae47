"""CPU milliseconds a game of each step of process, in this process: warm, without start-up.

Run as ``python tests/bench/figures.py RAW GAMES REPEATS``; prints JSON with the medians over the repeats.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from stages.core.arrays import save_npz
from stages.datasets.splendor import encode
from stages.datasets.splendor.find import find

STEPS = ("read", "encode", "save")


def step_ms(raw_dir: Path, n_games: int, repeats: int) -> dict[str, float]:
    """Return ms CPU a game of reading (digest check and full validation), encoding and saving one batch.

    Parameters
    ----------
    raw_dir
        Folder with games.
    n_games
        Games in the batch.
    repeats
        Batches measured, after one that is not.
    """
    units = find(raw_dir, {})[:n_games]
    chunks = [units[i : i + encode.CHUNK_UNITS] for i in range(0, len(units), encode.CHUNK_UNITS)]
    runs = [_run(raw_dir, chunks) for _ in range(repeats + 1)][1:]
    return {step: 1000 * statistics.median(run[step] for run in runs) / len(units) for step in STEPS}


def _run(raw_dir: Path, chunks: list[Any]) -> dict[str, float]:
    spent = dict.fromkeys(STEPS, 0.0)
    pieces: dict[str, list[Any]] = {}
    for chunk in chunks:
        start = time.process_time()
        table = encode.read(raw_dir, chunk, {})
        middle = time.process_time()
        arrays = encode.encode(table, {})
        spent["encode"] += time.process_time() - middle
        spent["read"] += middle - start
        for name, array in arrays.items():
            pieces.setdefault(name, []).append(array)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        start = time.process_time()
        save_npz(Path(folder, "batch.npz"), pieces)
        spent["save"] += time.process_time() - start
    return spent


if __name__ == "__main__":
    print(json.dumps(step_ms(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
