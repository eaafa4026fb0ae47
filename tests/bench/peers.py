"""Compare batchwise with programs of other libraries, from the same CSV files to merged, split, standardised arrays.

Run from the repository's root: ``python tests/bench/peers.py``, or ``make bench-peers``, which installs the libraries.
Everything happens in a temporary folder, which is removed at the end. The programs take turns, each as its own
processes with all cores that it takes by default, in an order that rotates from round to round.

Each peer is a program as a user of that library writes it, ``peer_<library>.py``, for data that fit in memory. All of
them read the games (N rows of 403 columns) with types of their library's own, fill what is empty, and leave for each
part ``X_<part>.npy``, float32 (N, 422), standardised by the mean and deviation of train's rows, and seven labels, int16
(N,); a hash of the game's id says which part a game belongs to.

What they do not do, and batchwise does: 886 columns more (1,308 in all); the masks of legal actions; checks of every
field against the rules, of digests and of duplicates, with file and line in each error; repair of blind reservations;
where each row came from; a memory that does not grow with the number of games; files between the steps, from which it
goes on after one game changed; the same bytes for any number of workers. What they do that it does not: nothing.

CPU s is user and system time of the process tree, start-up included; where daemons are left to end by themselves, as
Ray's are, it is what was last seen of each process. Memory is the greatest sum of PSS of the tree.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import contenders
import measure
import tables
from bench import numbers, simulate, subset
from contenders import CODE, ROOT
from measure import Usage

OURS = "batchwise"
EACH = "batchwise, a process a batch"  # as DVC runs it
VERBS = ("discover", "process", "merge", "split")
PROGRAMS = {  # name: module, what follows RAW and OUT
    "pyarrow": ("pyarrow",),
    "pyarrow, files joined": ("pyarrow", "joined"),
    "polars": ("polars",),
    "duckdb": ("duckdb",),
    "pandas": ("pandas",),
    "ray": ("ray",),
    "datasets": ("datasets",),
}
LOOP_BYTES = 1_000_000  # memory that a peer touches for a game, see `measure.warm_memory`
GOAL = 2.0


def missing() -> list[str]:
    """Return the libraries that are not installed."""
    return sorted({words[0] for words in PROGRAMS.values() if importlib.util.find_spec(words[0]) is None})


def run_peer(name: str, raw_dir: Path, out_dir: Path, code: Path) -> Usage:
    """Run a peer's program.

    Parameters
    ----------
    name
        A key of `PROGRAMS`.
    raw_dir
        Folder with games.
    out_dir
        A folder that is not there yet.
    code
        The folder in which the package `stages` lies.

    Raises
    ------
    CommandFailed
        With the end of its stderr.
    """
    module, *words = PROGRAMS[name]
    command = [sys.executable, str(Path(__file__).with_name(f"peer_{module}.py")), str(raw_dir), str(out_dir), *words]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return measure.run(command, out_dir.parent, {"PYTHONPATH": str(code), **quiet})


def run_ours(work: Path, raw_dir: Path, n_games: int, jobs: int) -> Usage:
    """Run the four verbs as a user types them, all batches in one process, without DVC."""
    total = measure.NOTHING
    environment = {"PYTHONPATH": str(work / CODE), "JOBS": str(jobs), "LOG": "warning"}
    with contenders.workspace(work, raw_dir) as folder:
        for verb in VERBS:
            measure.warm_memory(contenders.WARM_BYTES[verb] * n_games)
            total += measure.run([sys.executable, "-m", f"stages.{verb}", "splendor"], folder, environment)
    return total


def run_each(work: Path, raw_dir: Path, n_games: int, jobs: int) -> Usage:
    """Run the verbs with a process for each batch."""
    with contenders.workspace(work, raw_dir) as folder:
        return contenders.batchwise(folder, n_games, jobs).total


BATCHWISE = {OURS: run_ours, EACH: run_each}


def compare(work: Path, raw_dir: Path, n_games: int, arguments: argparse.Namespace) -> dict[str, list[Usage]]:
    """Return what each used in each round."""
    names = [*BATCHWISE, *(name for name in PROGRAMS if PROGRAMS[name][0] in arguments.libraries)]
    used: dict[str, list[Usage]] = {name: [] for name in names}
    for turn in range(arguments.repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            progress(f"{n_games:,} games, round {turn + 1} of {arguments.repeats}: {name}")
            one = run_one(name, work, raw_dir, n_games, arguments.jobs)
            progress(f"{one.cpu_s:.2f} s of CPU, {one.wall_s:.1f} s, {one.peak_mb:,.0f} MB")
            used[name].append(one)
    return used


def run_one(name: str, work: Path, raw_dir: Path, n_games: int, jobs: int) -> Usage:
    """Run batchwise or a peer once; what it wrote is removed."""
    if name in BATCHWISE:
        return BATCHWISE[name](work, raw_dir, n_games, jobs)
    out_dir = work / "peer.tmp"
    measure.warm_memory(LOOP_BYTES * n_games)
    try:
        return run_peer(name, raw_dir, out_dir, work / CODE)
    finally:
        shutil.rmtree(out_dir, ignore_errors=True)


def medians(used: Mapping[str, list[Usage]]) -> dict[str, dict[str, float]]:
    """Return the median of each figure, by name."""
    figures = ("cpu_s", "wall_s", "peak_mb")
    return {
        name: {figure: statistics.median(getattr(one, figure) for one in runs) for figure in figures}
        for name, runs in used.items()
    }


def report(sizes: Mapping[int, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the table, and whether batchwise needs at most half of the best peer's CPU."""
    rows = [("program", "games", "CPU s", "times batchwise", "wall s", "peak PSS MB")]
    lines = []
    for n_games, results in sizes.items():
        ours = results[OURS]["cpu_s"]
        for name, used in results.items():
            cells = (f"{used['cpu_s']:.1f}", f"{used['cpu_s'] / ours:.1f}", f"{used['wall_s']:.1f}")
            rows.append((name, f"{n_games:,}", *cells, f"{used['peak_mb']:,.0f}"))
        peers = {name: used["cpu_s"] / ours for name, used in results.items() if name in PROGRAMS}
        if peers:
            best = min(peers, key=lambda name: peers[name])
            verdict = "PASS" if peers[best] >= GOAL else "MISS"
            lines.append(f"{n_games:,} games: {best} takes {peers[best]:.2f} times our CPU, goal {GOAL:g}: {verdict}")
    return "\n\n".join([tables.table(rows), "\n".join(lines)])


def bench(work: Path, arguments: argparse.Namespace) -> dict[int, dict[str, dict[str, float]]]:
    """Run everything and return the medians by number of games."""
    contenders.copy_code(work)
    progress(f"simulating {max(arguments.games):,} games")
    raw_dir = simulate(work / "raw", max(arguments.games))
    sizes = {}
    for n_games in arguments.games:
        part = subset(raw_dir, work / f"raw_{n_games}", n_games)
        sizes[n_games] = medians(compare(work, part, n_games, arguments))
        print(report({n_games: sizes[n_games]}), file=sys.stderr, flush=True)
        shutil.rmtree(part)
    return sizes


def progress(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"peers: {text}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    result = argparse.ArgumentParser(prog="python tests/bench/peers.py", description=(__doc__ or "").splitlines()[0])
    result.add_argument("--games", type=numbers, default="250,1000,4000", help="sizes to compare (%(default)s)")
    result.add_argument("--jobs", type=int, default=2, help="JOBS of batchwise (%(default)s)")
    result.add_argument("--repeats", type=int, default=1, help="times each program runs per size (%(default)s)")
    known = sorted({words[0] for words in PROGRAMS.values()})
    result.add_argument("--libraries", nargs="*", choices=known, default=known, help="peers to run (all)")
    result.add_argument("--out", type=Path, metavar="FILE.json", help="write all figures here")
    return result


def main() -> int:
    """Run the comparison from the command line."""
    arguments = parser().parse_args()
    sys.path.insert(0, str(ROOT))
    if absent := missing():
        progress(f"not installed and left out: {', '.join(absent)}; `make bench-peers` installs them")
        arguments.libraries = [name for name in arguments.libraries if name not in absent]
    with tempfile.TemporaryDirectory(prefix="peers.") as folder:
        sizes = bench(Path(folder), arguments)
    print(report(sizes))
    if arguments.out:
        arguments.out.write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
