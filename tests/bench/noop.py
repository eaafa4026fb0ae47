"""Measure what a no-op `dvc repro` costs with 100 and with 7,259 raw files, in turns.

Run from the repository's root: ``python tests/bench/noop.py``. Works in a temporary folder below data/, removed at
the end.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

SIZES = (100, 7259)
REPEATS = 5
FILES = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", ".dvc/config", "stages")


def make_repository(folder: Path, n_games: int) -> None:
    """Make a git and DVC repository with this many raw files, and run its pipeline once."""
    root = Path.cwd()
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["datasets"] = {"splendor": {**params["datasets"]["splendor"], "raw": "data/games", "batch_size": 500}}
    params["simulate"] = {}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    pipeline["vars"] = ["data/manifests/splendor/batches.yaml"]
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    batches = folder / "data/manifests/splendor/batches.yaml"
    batches.parent.mkdir(parents=True)
    batches.write_text("batches: {}\n")
    run(folder, "git", "init", "-q")
    code = "from pathlib import Path; from stages.datasets.splendor.simulate import write; "
    run(folder, sys.executable, "-c", code + f"write(Path('data/games'), {{'games': {n_games}, 'seed': 42}})")
    run(folder, sys.executable, "-m", "dvc", "config", "--local", "cache.type", "hardlink,copy")
    run(folder, sys.executable, "-m", "stages.commands.preprocess")


def run(folder: Path, *command: str) -> float:
    """Run a command quietly in a folder; return its wall seconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix=".noop.", suffix=".tmp", dir="data") as parent:
        folders = {n: Path(parent, str(n)) for n in SIZES}
        for n_games, folder in folders.items():
            make_repository(folder, n_games)
        seconds: dict[int, list[float]] = {n: [] for n in SIZES}
        for _ in range(REPEATS):
            for n_games, folder in folders.items():
                seconds[n_games].append(run(folder, sys.executable, "-m", "dvc", "repro"))
    medians = [statistics.median(seconds[n]) for n in SIZES]
    for n_games, median in zip(SIZES, medians, strict=True):
        print(f"{n_games:6,} raw files: a no-op dvc repro takes {median:.2f} s (median of {REPEATS})")
    print(f"ratio {medians[1] / medians[0]:.2f}, at most 2.5")


if __name__ == "__main__":
    main()
