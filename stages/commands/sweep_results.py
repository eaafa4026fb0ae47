"""What came of a sweep: its trials with the lowest loss on val first, and what to do with the best of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.commands.preprocess import layout
from stages.commands.sweep_grid import as_yaml, told, varying
from stages.commands.sweep_queue import Sweep
from stages.commands.sweep_trials import Trial
from stages.core import paths
from stages.pipeline import experiments, internals


def best_first(sweep: Sweep) -> list[tuple[Trial, dict[str, Any]]]:
    """Return the trials that ended well with their metrics, the lowest loss on val first.

    One whose metrics are not in DVC's cache, or that is another training than was planned, goes to the failures.
    """
    store, found = internals.open_store(), []
    for digits, commit in sweep.commits.items():
        trial = replace(sweep.trials[digits], name=sweep.names[digits])
        stage = sweep.targets[digits].rpartition(":")[2]
        outs = experiments.outputs(store, commit, stage)
        metrics = _content(outs.get(str(paths.train_metrics(trial.dataset))))
        identity = _content(outs.get(str(paths.model_dir(trial.dataset) / "model.json"))).get("identity")
        again = f"`dvc exp remove {trial.name}`, and run again"
        if not metrics:
            sweep.failures[digits] = f"its metrics are not in DVC's cache; {again}"
        elif identity != trial.planned.identity:
            sweep.failures[digits] = f"it trained {identity}, expected {trial.planned.identity}; {again}"
        else:
            found.append((trial, metrics))
    return sorted(found, key=lambda one: _loss(*one))


def _content(path: Path | None) -> dict[str, Any]:
    if path is None or not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _loss(trial: Trial, metrics: Mapping[str, Any]) -> float:
    """Return the loss on val; what is no number comes last."""
    value = metrics["val"]["model"].get(trial.planned.loss)
    return math.inf if value is None else float(value)


def table(ranked: Sequence[tuple[Trial, Mapping[str, Any]]]) -> str:
    """Return the table of the trials of one dataset: loss on val, by which it is ranked, and the headlines on test."""
    planned = ranked[0][0].planned
    names = [planned.loss, *(name for name in planned.headlines if name != planned.loss)]
    keys = varying([trial.combination for trial, _ in ranked]) or [*ranked[0][0].combination]
    rows = [["experiment", f"val {planned.loss}", *(f"test {name}" for name in names), "what it tries"]]
    for trial, metrics in ranked:
        test = metrics["test"]["model"]
        numbers = [metrics["val"]["model"].get(planned.loss), *(test.get(name) for name in names)]
        rows.append([trial.name, *map(_number, numbers), told({key: trial.combination[key] for key in keys})])
    return layout(rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def summary(sweep: Sweep) -> str:
    """Return what is printed in the end."""
    ranked, lines = best_first(sweep), []
    for dataset in dict.fromkeys(trial.dataset for trial in sweep.trials.values()):
        mine = [one for one in ranked if one[0].dataset == dataset]
        if mine:
            best = mine[0][0]
            lines += ["", table(mine), "", f"To take the best, write this below `train` in {paths.PARAMS_FILE}:"]
            lines += ["", f"  {dataset}: {as_yaml(best.entry)}"]
    for digits, reason in sweep.failures.items():
        name = sweep.trials[digits].name
        lines += ["", f"{name} failed: {reason}", f"  `dvc queue logs {name}` says more"]
    return "\n".join(lines)
