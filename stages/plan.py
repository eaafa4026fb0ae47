"""Say what a run would do before anything runs: files, batches to run and to reuse, seconds, disk and memory.

The batches come from the raw folder and `dvc status`; seconds, bytes and memory of a unit from the memory log of the
last runs and from the headers of the arrays that exist. Nothing is written.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from stages import arrays, cli, paths, units
from stages.errors import ExpectedError
from stages.params import DatasetParams, load
from stages.preprocess import layout
from stages.status import Changes, changes, stale_stages

DVC_SECONDS_PER_STAGE = 0.5  # start-up, hashing and linking of one stage, measured on small stages


@dataclass(frozen=True)
class Costs:
    """What a unit cost in the last runs; 0 where there was none.

    `process_s` and `n_bytes` (NPZ) are per unit, `join_s` is merge and split together per unit, `peak_mb` is the
    greatest memory of any stage.
    """

    process_s: float
    join_s: float
    n_bytes: float
    growth: float
    peak_mb: float


def stale_batches(dataset: str, raw: Changes) -> list[str]:
    """Return the batches whose process stage would run: changed units, code or params, or no arrays anywhere."""
    prefix = f"process@{dataset}-"
    stale = [s.name.removeprefix(prefix) for s in stale_stages(dataset) if s.name.startswith(prefix)]
    return sorted(set(raw.stale) | (set(stale) & set(raw.batches)))


def last_costs(dataset: str) -> Costs:
    """Read what units cost in the last run of each stage from the logs and the arrays' headers."""
    process = _durations("process", dataset)
    n_units = sum(len(units.read_manifest(dataset, batch)) for batch in _made(dataset))
    join_s = sum(seconds for verb in ("merge", "split") for seconds, _, _ in _durations(verb, dataset).values())
    logged_units = sum(count for _, count, _ in process.values())
    n_bytes = sum(paths.intermediate(dataset, batch).stat().st_size for batch in _made(dataset))
    return Costs(
        process_s=sum(seconds for seconds, _, _ in process.values()) / max(logged_units, 1),
        join_s=join_s / max(n_units, 1),
        n_bytes=n_bytes / max(n_units, 1),
        growth=_folder_bytes(paths.processed_dir(dataset)) / max(n_bytes, 1),
        peak_mb=max(
            (peak for verb in ("process", "merge", "split") for _, _, peak in _durations(verb, dataset).values()),
            default=0,
        ),
    )


def _made(dataset: str) -> list[str]:
    """Return the listed batches whose arrays are in the workspace and complete."""
    made = []
    for batch in units.read_batch_list(dataset):
        try:
            arrays.npz_headers(paths.intermediate(dataset, batch))
        except arrays.DamagedFile:
            continue
        if paths.manifest(dataset, batch).is_file():
            made.append(batch)
    return made


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0


def _durations(stage: str, dataset: str) -> dict[str, tuple[float, int, float]]:
    """Return seconds, units and peak MB of the last whole run per name (dataset or batch) of a stage."""
    path = paths.LOG_DIR / f"{stage}.jsonl"
    started: dict[str, float] = {}
    result: dict[str, tuple[float, int, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        entry = json.loads(line)
        name = entry["name"]
        if name != dataset and not name.startswith(f"{dataset}-"):
            continue
        if entry["event"] == "start":
            started[name] = entry["time"]
        elif entry["event"] == "end" and name in started:
            result[name] = (entry["time"] - started[name], entry.get("n_units", 0), entry["peak_mb"])
    return result


def plan_row(dataset: str, params: DatasetParams) -> tuple[str, ...]:
    """Return the table row of one dataset, as text."""
    raw = changes(dataset, params)
    costs = last_costs(dataset)
    run = stale_batches(dataset, raw)
    n_units = sum(len(raw.batches[batch]) for batch in run)
    n_all = sum(map(len, raw.batches.values()))
    if not run and not stale_stages(dataset):
        return (dataset, f"{n_all:,}", "0", str(len(raw.batches)), "0", "0", "-", "up to date")
    new_bytes = n_units * costs.n_bytes + n_all * costs.n_bytes * (1 + costs.growth)
    seconds = n_units * costs.process_s + n_all * costs.join_s + DVC_SECONDS_PER_STAGE * (len(run) + 3)
    is_known = costs.process_s > 0 and costs.n_bytes > 0
    estimate = (f"{seconds:,.0f}", f"{new_bytes / 1e6:,.0f}", f"{costs.peak_mb:,.0f}") if is_known else ("?", "?", "?")
    why = str(raw) or "code, params or missing outputs" if is_known else "no earlier run to estimate from"
    return (dataset, f"{n_all:,}", str(len(run)), str(len(raw.batches) - len(run)), *estimate, why)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m stages.plan", description="Say what a run would do and cost.")
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        rows: list[tuple[str, ...]] = [("dataset", "files", "run", "reuse", "seconds", "disk MB", "peak MB", "why")]
        for dataset in chosen or sorted(params.datasets):
            try:
                rows.append(plan_row(dataset, params.dataset(dataset)))
            except ExpectedError:
                if dataset not in params.simulate:
                    raise
                rows.append((dataset, "?", "?", "?", "?", "?", "?", "the sample is not simulated yet"))
        sys.stdout.write(f"{layout(rows)}\n\n`run` and `reuse` count batches; nothing was run.\n")

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
