"""The contenders of the benchmark, each as its own processes in a folder of its own."""

import compileall
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import measure
import numpy as np
from measure import Usage

ROOT = Path(__file__).resolve().parents[2]
BASELINES = Path(__file__).with_name("baselines.py")
BATCH_SIZE = 500
CODE = "code"  # below the work folder: the package as it was when the run began
# Memory a contender needs to touch per game, warmed before it starts; see `measure.warm_memory`.
WARM_BYTES = {
    "discover": 0,
    "process": 100_000,
    "merge": 150_000,
    "split": 550_000,
    "floor": 550_000,
    "loop": 1_000_000,
}


@dataclass
class Result:
    """What one contender used, in all and per stage; `saves_cpu_s` only for the floor."""

    total: Usage = measure.NOTHING
    stages: dict[str, Usage] = field(default_factory=dict)
    saves_cpu_s: float = 0.0

    def add(self, stage: str, usage: Usage) -> None:
        """Add a stage that ran after those before."""
        self.total += usage
        self.stages[stage] = self.stages.get(stage, measure.NOTHING) + usage


def copy_code(work: Path) -> None:
    """Copy the package, so that an edit during the run changes nothing, and compile it, so that nobody pays for it."""
    shutil.copytree(ROOT / "stages", work / CODE / "stages")
    compileall.compile_dir(work / CODE, quiet=1)


@contextmanager
def workspace(work: Path, raw_dir: Path) -> Iterator[Path]:
    """Give a folder in which the stages run on `raw_dir`; remove it at the end."""
    folder = work / "workspace.tmp"
    folder.mkdir()
    dataset = {"raw": str(raw_dir), "batch_size": BATCH_SIZE, "limit": None, "max_bad_units": 0, "options": {}}
    params = {"datasets": {"splendor": dataset}, "split": {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 42}}
    (folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def batchwise(folder: Path, n_games: int, jobs: int) -> Result:
    """Run the stages as DVC does, each batch its own process, without DVC."""
    result = Result()
    python = [sys.executable, "-m"]
    environment = {"PYTHONPATH": str(folder.parent / CODE), "JOBS": str(jobs), "LOG": "warning"}

    def stage(name: str, *arguments: str, games: int = n_games) -> None:
        measure.warm_memory(WARM_BYTES[name] * games)
        result.add(name, measure.run([*python, f"stages.{name}", "splendor", *arguments], folder, environment))

    stage("discover")
    for manifest in sorted((folder / "data/manifests/splendor/batches").iterdir()):
        stage("process", manifest.stem, games=min(n_games, BATCH_SIZE))
    stage("merge")
    stage("split")
    return result


def writing(folder: Path, work: Path, n_games: int, repeats: int) -> dict[str, float]:
    """Return the least CPU seconds of merge, split, np.save's process and its calls alone, over some rounds.

    All write into fresh folders, in turns. The least counts, on all sides alike: what comes on top is the machine's,
    above all the first touch of memory (see `measure.warm_memory`), which can make one np.save ten times slower.
    """
    environment = {"PYTHONPATH": str(work / CODE), "LOG": "warning"}
    spent: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, out in (("merge", "merged"), ("split", "processed")):
            shutil.rmtree(folder / "data" / out)
            measure.warm_memory(WARM_BYTES[name] * n_games)
            usage = measure.run([sys.executable, "-m", f"stages.{name}", "splendor"], folder, environment)
            spent.setdefault(name, []).append(usage.cpu_s)
        result = baseline("floor", folder / "data/processed/splendor", work, n_games)
        spent.setdefault("floor", []).append(result.total.cpu_s)
        spent.setdefault("saves", []).append(result.saves_cpu_s)
    return {name: min(values) for name, values in spent.items()}


def baseline(kind: str, source: Path, work: Path, n_games: int) -> Result:
    """Run one contender of `baselines` into a fresh folder, which is removed at the end."""
    result, out_dir = Result(), work / f"{kind}.tmp"
    measure.warm_memory(WARM_BYTES["floor" if kind == "floor" else "loop"] * n_games)
    command = [sys.executable, str(BASELINES), kind, str(source), str(out_dir)]
    try:
        usage = measure.run(command, work, {"PYTHONPATH": str(work / CODE)})
    finally:
        shutil.rmtree(out_dir, ignore_errors=True)
    if kind == "floor":
        costs = json.loads(usage.output)
        result.saves_cpu_s = costs["saves_cpu_s"]
        usage = replace(usage, cpu_s=usage.cpu_s - costs["repetitions_cpu_s"])
    result.add(kind, usage)
    return result


def check(raw_dir: Path) -> None:
    """Check that the baselines build the same base columns and labels as batchwise, on all games of a small folder.

    Raises
    ------
    ValueError
        Naming the baseline and the first column that differs.
    """
    import baselines

    from stages.datasets.splendor import encode
    from stages.datasets.splendor.find import find

    units = {unit.key: unit for unit in find(raw_dir, {})}
    files = baselines.raw_files(raw_dir)
    in_order = [units[file.relative_to(raw_dir).as_posix()] for file in files]
    expected = encode.encode(encode.read(raw_dir, in_order, {}), {})
    columns = {name: expected["X"][:, i] for i, name in enumerate(encode.FIELDS["X"].names or ())}
    for library, read in baselines.READERS.items():
        state, moves, actions = read(files)
        found = dict(zip(baselines.base_names(), baselines.base_columns(state).T, strict=True))
        for name, column in found.items():
            if not np.array_equal(column, columns[name]):
                raise ValueError(f"{library}: base column {name} differs from batchwise's; correct baselines.py")
        for head, label in baselines.labels(moves, actions).items():
            if head != "card_reservation" and not np.array_equal(label, expected[f"label_{head}"]):
                raise ValueError(f"{library}: label {head} differs from batchwise's; correct baselines.py")
