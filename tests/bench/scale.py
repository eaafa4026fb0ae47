"""Measure how the stages grow with the number of games: CPU seconds a game and peak memory, each at two sizes.

Run from the repository's root: ``python tests/bench/scale.py [--games 7259,100000] [--raw FOLDER]``; it simulates the
games first unless RAW holds them. The parts are kept as merged (`split.store: stored`) and MEMORY_GB is 2. Everything
happens in a temporary folder below data/, removed at the end: 94 KB a game for the raw files, and 0.35 MB a game for
what the stages write.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import bench
import contenders
import measure

MEMORY_GB = "2"
MOST_WARM_BYTES = 4 << 30
STAGES = ("discover", "process", "merge", "split")


def run_stages(folder: Path, n_games: int) -> dict[str, measure.Usage]:
    """Run the stages one after another, each batch in its own process as DVC does it; return what each stage used."""
    code = str(folder.parent / contenders.CODE)
    environment = {"PYTHONPATH": code, "LOG": "warning", "JOBS": str(os.cpu_count()), "MEMORY_GB": MEMORY_GB}

    def run(stage: str, *arguments: str, games: int = n_games) -> measure.Usage:
        measure.warm_memory(min(MOST_WARM_BYTES, contenders.WARM_BYTES[stage] * games))
        return measure.run([sys.executable, "-m", f"stages.{stage}", "splendor", *arguments], folder, environment)

    used = {"discover": run("discover"), "process": measure.NOTHING}
    for manifest in sorted((folder / "data/manifests/splendor/batches").iterdir()):
        used["process"] += run("process", manifest.stem, games=contenders.BATCH_SIZE)
    for stage in ("merge", "split"):
        bench.progress(f"{n_games:,} games, {stage}")
        used[stage] = run(stage)
    return used


def n_rows(folder: Path) -> int:
    """Return how many rows were merged."""
    return json.loads((folder / "data/reports/splendor.json").read_text(encoding="utf-8"))["rows"]


def measured(work: Path, raw_dir: Path, n_games: int) -> dict[str, measure.Usage]:
    """Run the stages on the first games of a raw folder, and print what they used."""
    part = bench.subset(raw_dir, work / f"raw_{n_games}", n_games)
    with contenders.workspace(work, part) as folder:
        path = folder / "params.yaml"
        params = json.loads(path.read_text(encoding="utf-8"))
        params["split"]["store"] = "stored"
        path.write_text(json.dumps(params), encoding="utf-8")
        bench.progress(f"{n_games:,} games, discover and process")
        used = run_stages(folder, n_games)
        print(f"{n_games:,} games, {n_rows(folder):,} rows")
    for stage in STAGES:
        usage = used[stage]
        each = f"{usage.cpu_s / n_games * 1e3:>8.3f} ms a game"
        print(f"  {stage:<9}{usage.cpu_s:>9.1f} CPU s{each}{usage.wall_s:>9.1f} s{usage.peak_mb:>7.0f} MB")
    return used


def main() -> None:
    """Measure, print, and compare the largest size with the smallest."""
    parser = argparse.ArgumentParser(prog="python tests/bench/scale.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--games", type=bench.numbers, default=[bench.FULL_GAMES, 100_000], help="sizes (%(default)s)")
    parser.add_argument("--raw", type=Path, help="a folder of simulated games, at least as many")
    arguments = parser.parse_args()
    sys.path.insert(0, str(contenders.ROOT))
    with tempfile.TemporaryDirectory(prefix=".bench.", suffix=".tmp", dir=contenders.ROOT / "data") as name:
        work = Path(name)
        contenders.copy_code(work)
        n_games = max(arguments.games)
        bench.progress(f"simulating {n_games:,} games")
        raw_dir = arguments.raw.absolute() if arguments.raw else bench.simulate(work / "raw", n_games)
        found = {size: measured(work, raw_dir, size) for size in arguments.games}
    small, large = min(found), max(found)
    cpu = {size: sum(usage.cpu_s for usage in used.values()) / size for size, used in found.items()}
    peak = {size: max(usage.peak_mb for usage in used.values()) for size, used in found.items()}
    print(f"{large:,} games against {small:,}: {cpu[large] / cpu[small]:.2f} x CPU a game, ", end="")
    print(f"{peak[large] / peak[small]:.2f} x peak memory")


if __name__ == "__main__":
    main()
