"""Measure what `split.store` costs: parts as float32, and parts as merged that the loader standardises.

Run from the repository's root: ``python tests/bench/store.py [GAMES [RAW]]``, by default 7,259 simulated games of
Splendor; RAW is a folder that has them already. It works in a temporary folder below data/ (0.8 MB a game), which is
removed at the end. Both forms take turns, and the least of each figure is printed: what comes on top is the machine's.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import bench
import contenders
import measure

STORES = ("float32", "stored")
REPEATS = 4
BATCHES = 400
WARM_BYTES = {"float32": 400_000, "stored": 120_000}
LOADER = f"""
import itertools, sys, time
from stages.loader import batches
with batches("data/processed/splendor", "train", batch_size=256, shuffle_seed=1) as stream:
    next(stream)
    cpu, n = time.process_time(), 0
    for batch in itertools.islice(stream, {BATCHES}):
        n += len(batch["X"])
    print((time.process_time() - cpu) / n * 1e6)
"""


def choose(folder: Path, store: str) -> None:
    """Set the form in params.yaml."""
    path = folder / "params.yaml"
    params = json.loads(path.read_text(encoding="utf-8"))
    params["split"]["store"] = store
    path.write_text(json.dumps(params), encoding="utf-8")


def measured(folder: Path, store: str, n_games: int) -> dict[str, float]:
    """Split into one form and read it; return what that took."""
    choose(folder, store)
    environment = {"PYTHONPATH": str(folder.parent / contenders.CODE), "LOG": "warning"}
    measure.warm_memory(WARM_BYTES[store] * n_games)
    usage = measure.run([sys.executable, "-m", "stages.split", "splendor"], folder, environment)
    n_bytes = sum(path.stat().st_size for path in (folder / "data/processed/splendor").iterdir())
    command = [sys.executable, "-c", LOADER]
    text = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout
    return {"MB": n_bytes / 1e6, "CPU s": usage.cpu_s, "wall s": usage.wall_s, "us CPU a sample": float(text)}


def main() -> None:
    """Measure and print."""
    sys.path.insert(0, str(contenders.ROOT))
    n_games = int(sys.argv[1]) if len(sys.argv) > 1 else bench.FULL_GAMES
    with tempfile.TemporaryDirectory(prefix=".bench.", suffix=".tmp", dir=contenders.ROOT / "data") as name:
        work = Path(name)
        contenders.copy_code(work)
        raw_dir = Path(sys.argv[2]).absolute() if len(sys.argv) > 2 else bench.simulate(work / "raw", n_games)
        with contenders.workspace(work, raw_dir) as folder:
            contenders.batchwise(folder, n_games, 2)
            rounds = [{store: measured(folder, store, n_games) for store in STORES} for _ in range(REPEATS)]
    for store in STORES:
        least = {name: min(found[store][name] for found in rounds) for name in rounds[0][store]}
        print(f"{store}: " + ", ".join(f"{value:,.1f} {name}" for name, value in least.items()))


if __name__ == "__main__":
    main()
