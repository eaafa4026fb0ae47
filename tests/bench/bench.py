"""Compare batchwise with plain pandas and pyarrow loops and with np.save, all in one run.

Run from the repository's root: ``python tests/bench/bench.py``. Everything happens in a temporary folder below data/,
which is removed at the end; params.yaml, data/ and DVC's files are not touched. Contenders take turns, in rotating
order, each as its own process; every printed figure is a median of figures of this run.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import contenders
import measure
import tables
from contenders import ROOT, Result

CHECK_GAMES = 20
FULL_GAMES = 7_259
FIGURE_GAMES = 500
FIGURE_REPEATS = 5
WRITING_REPEATS = 4


def simulate(folder: Path, n_games: int) -> Path:
    """Write simulated games 1..n; they are a function of the number and the seed, so a smaller set is a part."""
    from stages.datasets.splendor import simulate

    simulate.write(folder, {"games": n_games, "seed": 42})
    return folder


def subset(raw_dir: Path, folder: Path, n_games: int) -> Path:
    """Hard-link games 1..n of a raw folder into another one."""
    for path in raw_dir.glob("*_games/*.csv"):
        if int(path.stem) <= n_games:
            target = folder / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return folder


def compare(work: Path, raw_dir: Path, n_games: int, jobs: Sequence[int], repeats: int) -> dict[str, list[Result]]:
    """Run all contenders on one number of games, interleaved; the floor runs right after batchwise, on its outputs."""
    results: dict[str, list[Result]] = {}

    def run_batchwise(count: int) -> None:
        with contenders.workspace(work, raw_dir) as folder:
            results.setdefault(f"batchwise {count}", []).append(contenders.batchwise(folder, n_games, count))
            if count == jobs[0]:
                processed = folder / "data/processed/splendor"
                results.setdefault("np.save", []).append(contenders.baseline("floor", processed, work, n_games))

    def run_loop(library: str) -> None:
        results.setdefault(library, []).append(contenders.baseline(library, raw_dir, work, n_games))

    turns: list[tuple[Callable[..., None], Any]] = [(run_batchwise, count) for count in jobs]
    turns += [(run_loop, library) for library in ("pandas", "pyarrow")]
    for repeat in range(repeats):
        progress(f"{n_games:,} games, repeat {repeat + 1} of {repeats}")
        shift = repeat % len(turns)
        for function, argument in turns[shift:] + turns[:shift]:
            function(argument)
    return results


def step_figures(raw_dir: Path, n_games: int) -> dict[str, float]:
    """Return ms CPU a game of the steps of process, measured in a process of their own."""
    progress(f"steps of process on {n_games:,} games")
    command = [sys.executable, str(Path(__file__).with_name("figures.py")), str(raw_dir), str(n_games)]
    usage = measure.run(
        [*command, str(FIGURE_REPEATS)], raw_dir.parent, {"PYTHONPATH": str(raw_dir.parent / contenders.CODE)}
    )
    return json.loads(usage.output)


def run_once(work: Path, raw_dir: Path, n_games: int, jobs: int) -> dict[str, Any]:
    """Run batchwise once, then its merge, its split and np.save some times in turns."""
    progress(f"{n_games:,} games, once; merge, split and np.save {WRITING_REPEATS} times")
    with contenders.workspace(work, raw_dir) as folder:
        result = contenders.batchwise(folder, n_games, jobs)
        writing = contenders.writing(folder, work, n_games, WRITING_REPEATS)
    return {"games": n_games, "batchwise": summary([result]), "writing": writing}


def summary(results: list[Result]) -> dict[str, Any]:
    """Return the medians over the repeats, as the JSON holds them."""

    def medians(usages: list[measure.Usage]) -> dict[str, float]:
        names = ("cpu_s", "wall_s", "peak_mb")
        return {name: statistics.median(getattr(usage, name) for usage in usages) for name in names}

    stages = {name: medians([result.stages[name] for result in results]) for name in results[0].stages}
    total = medians([result.total for result in results])
    return {**total, "stages": stages, "saves_cpu_s": statistics.median(result.saves_cpu_s for result in results)}


def bench(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything that was asked for and return all figures."""
    sizes, jobs = arguments.games, arguments.jobs
    n_games = max([*sizes, FULL_GAMES] if arguments.full else sizes)
    contenders.copy_code(work)
    progress(f"simulating {n_games:,} games")
    raw_dir = simulate(work / "raw", n_games)
    progress(f"checking that all build the same columns, on {min(CHECK_GAMES, n_games)} games")
    contenders.check(subset(raw_dir, work / "raw_check", CHECK_GAMES))
    figures: dict[str, Any] = {"jobs": jobs, "repeats": arguments.repeats, "sizes": {}}
    n_step_games = min(FIGURE_GAMES, n_games)
    figures["steps_ms_per_game"] = step_figures(subset(raw_dir, work / "raw_steps", n_step_games), n_step_games)
    for size in sizes:
        part = subset(raw_dir, work / f"raw_{size}", size)
        results = compare(work, part, size, jobs, arguments.repeats)
        figures["sizes"][size] = {name: summary(runs) for name, runs in results.items()}
        if size == max(sizes) and not arguments.full:
            figures["once"] = run_once(work, part, size, jobs[0])
        shutil.rmtree(part)
    if arguments.full:
        figures["once"] = run_once(work, subset(raw_dir, work / "raw_full", FULL_GAMES), FULL_GAMES, jobs[0])
    return figures


def progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """Read a comma-separated list of whole numbers from 1."""
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected whole numbers from 1")
    return sorted(set(values))


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    result = argparse.ArgumentParser(
        prog="python tests/bench/bench.py",
        description="Compare batchwise with plain pandas and pyarrow loops and with np.save, on simulated games.",
        epilog="Runs in a temporary folder below data/ (up to 1.3 MB a game), removed at the end.",
    )
    result.add_argument("--games", type=numbers, default="250,1000,4000", help="sizes to compare (%(default)s)")
    result.add_argument("--jobs", type=numbers, default="2", help="JOBS of batchwise, e.g. 1,2 (%(default)s)")
    result.add_argument("--repeats", type=int, default=3, help="times each contender runs per size (%(default)s)")
    result.add_argument("--full", action="store_true", help=f"run batchwise and np.save also on {FULL_GAMES} games")
    result.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures here")
    return result


def main() -> int:
    """Run the benchmark from the command line."""
    arguments = parser().parse_args()
    arguments.jobs.sort(reverse=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.path.insert(0, str(ROOT))
    data_dir = ROOT / "data"
    is_new = not data_dir.exists()
    data_dir.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".bench.", suffix=".tmp", dir=data_dir) as folder:
            figures = bench(Path(folder), arguments)
    except KeyboardInterrupt:
        progress("interrupted; the temporary folder is removed")
        return 130
    finally:
        if is_new:
            with suppress(OSError):
                data_dir.rmdir()
    print(tables.report(figures))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
