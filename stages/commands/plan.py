"""Say what a run would do before anything runs: files, batches to run and to reuse, seconds, disk and memory.

The batches come from the raw folder and `dvc status`; seconds, bytes and memory of a unit from the memory log of the
last runs and from the sizes of its outputs in dvc.lock, which `make slim` does not take away. Nothing runs, and nothing
is written but the keys that params.yaml lacks.

It is what DVC would run without its run cache: a batch that comes back as it once was is counted, and costs nothing. So
are merge and split after an edit that leaves the arrays as they are.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.commands.preprocess import layout, may_simulate
from stages.commands.repair import look_first
from stages.commands.status import (
    Changes,
    StaleStage,
    changes,
    is_discover_alone,
    is_input,
    known_stages,
    not_simulated,
    stale_stages,
)
from stages.core import manifests, paths
from stages.core.params import Params
from stages.pipeline import dvc, lock, verbs
from stages.runtime import cli, memory_log

COLUMNS = ("dataset", "units", "run", "reuse", "seconds", "disk MB", "peak MB", "why")
COSTLY = ("process", "merge", "split")  # the verbs that are estimated
DVC_SECONDS = 1.0  # of a run, to look at all stages
DVC_SECONDS_PER_STAGE = 0.2  # start-up, hashing and linking of one stage, beside others, measured on small stages


@dataclass(frozen=True)
class Costs:
    """What the last runs cost; 0 where there was none.

    Attributes
    ----------
    seconds
        Of a unit, by stage.
    n_bytes
        Of a unit, by stage: its share of the stage's output.
    peak_mb
        The greatest memory of any stage.
    """

    seconds: dict[str, float]
    n_bytes: dict[str, float]
    peak_mb: float


def stale_batches(dataset: str, raw: Changes, stale: Sequence[StaleStage]) -> list[str]:
    """Return the batches whose process stage would run: changed units, code or params, or no arrays anywhere."""
    names = [verbs.parsed(stage.name) for stage in stale if not stage.is_cached]
    batches = {name.batch for name in names if name.dataset == dataset}
    return sorted(set(raw.stale) | (batches & set(raw.batches)))


def last_costs(dataset: str) -> Costs:
    """Read what units cost in the last run of each stage from the logs and dvc.lock."""
    durations = {verb: _durations(verb, dataset) for verb in COSTLY}
    sizes = _output_bytes(dataset)
    n_units = _last_units(dataset)
    n_process = sum(work.n_units for work in durations["process"].values())
    n_timed = {"process": n_process, "merge": n_units, "split": n_units}
    return Costs(
        seconds={verb: _busy_seconds(durations[verb].values()) / max(n_timed[verb], 1) for verb in COSTLY},
        n_bytes={verb: sizes[verb] / max(n_units, 1) for verb in COSTLY},
        peak_mb=max((work.peak_mb for verb in COSTLY for work in durations[verb].values()), default=0),
    )


@dataclass(frozen=True)
class _Work:
    """One run of a stage: when it began and ended, in s since the epoch, its units, and its memory."""

    started: float
    ended: float
    n_units: int
    peak_mb: float


def _busy_seconds(works: Iterable[_Work]) -> float:
    """Return the seconds of some runs; what ran side by side counts once."""
    return memory_log.busy_seconds((work.started, work.ended) for work in works)


def _last_units(dataset: str) -> int:
    """Return how many units the last finished run had, as merge reported."""
    path = paths.report(dataset)
    return int(json.loads(path.read_text(encoding="utf-8"))["units"]) if path.is_file() else 0


def _output_bytes(dataset: str) -> dict[str, int]:
    """Return the bytes of the outputs of process (all listed batches), merge and split in the last run."""
    entries = lock.read() if lock.LOCK.is_file() else {}
    batches = manifests.read_batch_list(dataset)
    sizes = {}
    for verb in COSTLY:
        recorded = [name for name in verbs.stage_names([verb], dataset, batches) if name in entries]
        sizes[verb] = sum(out.size for name in recorded for out in lock.outputs(entries, name))
    return sizes


def _durations(stage: str, dataset: str) -> dict[str, _Work]:
    """Return the last whole run per name (dataset or batch) of a stage."""
    started: dict[str, float] = {}
    result: dict[str, _Work] = {}
    for record in memory_log.records(paths.LOG_DIR / f"{stage}.jsonl"):
        name = record.name
        if name != dataset and not name.startswith(f"{dataset}-"):
            continue
        if record.event == "start":
            started[name] = record.time
        elif record.event == "end" and name in started:
            n_units, peak_mb = record.number("n_units") or 0, record.number("peak_mb") or 0
            result[name] = _Work(started[name], record.time, int(n_units), peak_mb)
    return result


def plan_row(dataset: str, params: Params, known: Mapping[str, list[Any]]) -> tuple[str, ...]:
    """Return the table row of one dataset, as text; `known` is what `dvc.status` returns."""
    stale = stale_stages(dataset, params.takes_sample(dataset), known)
    is_restored = _restores_sample(stale)
    raw = changes(dataset, params.dataset(dataset), is_restored)
    costs = last_costs(dataset)
    run = stale_batches(dataset, raw, stale)
    verbs = _verbs(raw, run, stale)
    counts = (f"{raw.n_units:,}", str(len(run)), str(len(raw.batches) - len(run)))
    if not verbs:
        return (dataset, *counts, "0", "0", "-", "up to date")
    n_run = {"process": sum(len(raw.batches[batch]) for batch in run), "merge": raw.n_units, "split": raw.n_units}
    worked = [verb for verb in COSTLY if verb in verbs]
    seconds = _dvc_seconds(len(run) + len(verbs - {"process"}))
    seconds += sum(n_run[verb] * costs.seconds[verb] for verb in worked)
    n_bytes = sum(n_run[verb] * costs.n_bytes[verb] for verb in worked)
    is_known = all(costs.seconds[verb] > 0 and costs.n_bytes[verb] > 0 for verb in worked)
    estimate = (f"{seconds:,.0f}", f"{n_bytes / 1e6:,.0f}", f"{costs.peak_mb:,.0f}") if is_known else ("?", "?", "?")
    why = _why(raw, stale, is_restored) if is_known else "no earlier run to estimate from"
    return (dataset, *counts, *estimate, why)


def _dvc_seconds(n_stages: int) -> float:
    """Return what a run takes beside the work of its stages."""
    return DVC_SECONDS + DVC_SECONDS_PER_STAGE * n_stages


def _restores_sample(stale: Sequence[StaleStage]) -> bool:
    """Say whether the sample, and nothing it is made of, differs from what simulate wrote: a run makes it as it was."""
    changed = [stage.changed for stage in stale if stage.verb == "simulate"]
    return may_simulate() and any(paths and not any(map(is_input, paths)) for paths in changed)


def _verbs(raw: Changes, run: Sequence[str], stale: Sequence[StaleStage]) -> set[str]:
    """Return the stages that would run: what `dvc status` names, and what follows from changed files and batches."""
    verbs = {stage.verb for stage in stale if not stage.is_cached}
    if str(raw) or raw.stale or raw.gone:
        verbs |= {"discover"}
    if run:
        verbs |= {"process"}
    if run or raw.gone or "merge" in verbs:
        verbs |= {"merge", "split"}
    return verbs


def _why(raw: Changes, stale: Sequence[StaleStage], is_restored: bool) -> str:
    """Say in a few words why something runs."""
    edits = sorted({path for stage in stale if not stage.is_cached for path in stage.changed if is_input(path)})
    restored = ["the sample is made anew"] if is_restored else []
    found = [*filter(None, [str(raw)]), *restored, *edits[:2], *["..."][: len(edits) > 2]]
    runs = [stage for stage in stale if not stage.is_cached]
    return "; ".join(found) or ("other bytes, same input" if is_discover_alone(runs) else "missing outputs")


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        look_first(params, datasets)
        dvc.complete_params()
        rows: list[tuple[str, ...]] = [COLUMNS]
        known = known_stages(params, datasets)
        for dataset in datasets:
            if not_simulated(dataset, params):
                rows.append((dataset, "?", "?", "?", "?", "?", "?", "the sample is not simulated yet"))
            else:
                rows.append(plan_row(dataset, params, known))
        sys.stdout.write(f"{layout(rows)}\n\n`run` and `reuse` count batches; nothing was run.\n")

    return cli.on_datasets("commands.plan", "Say what a run would do and cost.", action)


if __name__ == "__main__":
    sys.exit(main())
