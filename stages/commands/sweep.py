"""Train with other settings, one experiment of DVC's for each, and rank what came of it: behind `make sweep`.

In: the section `sweep` of params.yaml, see stages/commands/sweep_grid.py, and everything a training reads. Every
combination is checked as the training itself does before one is queued. Its name ends with the first digits of the
training's identity: of all parameters, arrays, code and versions. So what ended well is not trained again, whenever it
was, what waits is not queued twice, and after a change of any of these the experiments are others.

Out: for each combination a commit that `dvc exp show` lists, and a table, the lowest loss on val first. Exit code 1 if
one failed. A sweep that was stopped or killed goes on with the same command: DVC's queue keeps what waits, and a
training goes on at its checkpoint.
"""

import json
import logging
import math
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from stages.commands.preprocess import layout, preprocess
from stages.commands.sweep_grid import Combination, applied, as_yaml, combinations, name_of, overrides, told, varying
from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params, ParamsError
from stages.pipeline import experiments, internals, verbs
from stages.pipeline.experiments import QueuedExperiment
from stages.runtime import cli
from stages.runtime.text import printable
from stages.train import Planned, check_settings, plan, require_torch

DIGITS = 6  # of an identity, in names: two of a hundred trainings have the same once in 3,400 sweeps
POLL_S = 1.0
MOST_STARTS = 5  # of a worker while no experiment ends
MOST_TRIES = 5  # to queue an experiment

T = TypeVar("T")

logger = logging.getLogger("batchwise")


@dataclass(frozen=True)
class Trial:
    """A combination that is tried.

    Attributes
    ----------
    dataset, name
        Whose training it is, and the name of its experiment.
    combination, entry
        What it changes, and what ``train.<dataset>`` is then.
    planned
        What the training would be.
    """

    dataset: str
    name: str
    combination: Combination
    entry: Mapping[str, Any]
    planned: Planned

    @property
    def digits(self) -> str:
        """What no other training's name ends with."""
        return self.planned.identity[:DIGITS]


# What is tried.


def chosen(params: Params, datasets: Sequence[str]) -> list[str]:
    """Return the datasets to sweep: those that are named, or all that have an entry in `sweep`.

    Raises
    ------
    ParamsError
        When a named one has no entry there or in `train`, or none has one.
    """
    named = params.with_entry("sweep", datasets)
    for dataset in named:
        params.require_entry("train", dataset)
    return named


def tried(params: Params, dataset: str) -> list[Combination]:
    """Return the combinations of a dataset; their keys and the trainer's values are checked, without arrays.

    Raises
    ------
    ParamsError
        When one is wrong; with the combination.
    """
    found = combinations(params.sweep[dataset], f"{paths.PARAMS_FILE}: sweep.{dataset}")
    for one in found:
        _checked(dataset, one, partial(check_settings, dataset, applied(params.train[dataset], one)))
    return found


def trials(params: Params, dataset: str) -> list[Trial]:
    """Return the trials of a dataset, all of each checked; the arrays must be up to date.

    Raises
    ------
    ExpectedError
        When a combination is wrong, two of them are the same training, or one reads what an experiment does not have.
    """
    found, result = tried(params, dataset), []
    keys = varying(found)
    for one in found:
        entry = applied(params.train[dataset], one)
        planned = _checked(dataset, one, partial(plan, dataset, entry))
        if planned.elsewhere:
            where = f"{paths.PARAMS_FILE}: train.{dataset}: {planned.elsewhere[0]}"
            raise ParamsError(f"{where} is not in the folder an experiment runs in; give the whole path, from /")
        name = name_of(dataset, one, keys, planned.identity[:DIGITS])
        result.append(Trial(dataset, name, one, entry, planned))
    _refuse_equal(result, f"{paths.PARAMS_FILE}: sweep.{dataset}")
    return result


def _checked(dataset: str, combination: Combination, check: Callable[[], T]) -> T:
    """Return what a check does, with the combination named in its error."""
    try:
        return check()
    except ParamsError as error:
        first, *others = error.lines
        raise ParamsError(f"sweep of {dataset}, {told(combination)}: {first}", *others) from None


def _refuse_equal(found: Iterable[Trial], where: str) -> None:
    seen: dict[str, Trial] = {}
    for trial in found:
        if trial.digits in seen:
            both = f"{told(seen[trial.digits].combination)} and {told(trial.combination)}"
            raise ParamsError(f"{where}: {both} are the same training; remove one of them")
        seen[trial.digits] = trial


# Queue and wait.


@dataclass
class Sweep:
    """A sweep in work.

    Attributes
    ----------
    trials, targets
        All trials by the digits of their names, and the stage that trains each.
    commits, names, failures
        Of each trial that ended well its commit and the name that its experiment got, which is another where another
        sweep tried it; of each that failed the reason.
    waiting
        Of each that is queued or in work what it said last.
    n_queued
        How often this process has queued each.
    """

    trials: Mapping[str, Trial]
    targets: Mapping[str, str]
    commits: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    n_queued: Counter[str] = field(default_factory=Counter)

    @property
    def missing(self) -> list[str]:
        """The trials that have not ended, and that DVC's queue does not have."""
        return [one for one in self.trials if one not in {*self.commits, *self.failures, *self.waiting}]

    def look(self) -> None:
        """See where each trial is.

        One that ends meanwhile is never missing: it is looked for first in the queue and then among the commits.
        """
        entries = {_digits(entry.name): entry for entry in _failed_first(experiments.entries())}
        finished = experiments.finished()
        self.names = {_digits(name): name for name in finished if self.has(name)}
        self.commits = {one: finished[name] for one, name in self.names.items()}
        left = {one: entries[one] for one in self.trials if one in entries and one not in self.names}
        failed = {one: entry for one, entry in left.items() if entry.status == "failed"}
        self.failures = {one: experiments.reason(entry) for one, entry in failed.items()}
        self.waiting = {one: experiments.last_line(entry) for one, entry in left.items() if one not in failed}

    def forget_failed(self) -> None:
        """Take the trials that failed out of the queue, to try them again."""
        experiments.remove(
            entry for entry in experiments.entries() if entry.status == "failed" and self.has(entry.name)
        )
        self.look()

    def has(self, name: str) -> bool:
        """Say whether an experiment is one of the trials."""
        return _digits(name) in self.trials

    def queue_missing(self) -> None:
        """Queue the trials that are missing.

        Raises
        ------
        ExpectedError
            When DVC refuses one, or one got lost again and again.
        """
        for digits in self.missing:
            trial = self.trials[digits]
            if self.n_queued[digits] == MOST_TRIES:
                raise ExpectedError(
                    f"{trial.name}: DVC's queue lost it {MOST_TRIES} times; see {experiments.WORKER_LOG}"
                )
            experiments.queue(trial.name, self.targets[digits], overrides(trial.dataset, trial.combination))
            self.n_queued[digits] += 1
        self.look()


def _failed_first(entries: Iterable[QueuedExperiment]) -> list[QueuedExperiment]:
    """Return entries in an order in which one that was queued again comes behind what it was before."""
    return sorted(entries, key=lambda entry: entry.status != "failed")


def _digits(name: str) -> str:
    return name.rpartition("-")[2]


def run(sweep: Sweep, tell_kept: Callable[[str], None]) -> None:
    """Queue what is neither done nor queued, start the queue and wait for it.

    Parameters
    ----------
    sweep
        The sweep; it knows in the end which trials ended well and why others failed.
    tell_kept
        Told what is not lost, should the sweep stop now.

    Raises
    ------
    ExpectedError
        When DVC does not queue an experiment, or its worker ends again and again.
    """
    tell_kept("DVC's queue keeps what was queued, and may be at work")
    try:
        experiments.bring_in_order()
        sweep.look()
        sweep.forget_failed()
        n_done, n_waiting, n_missing = len(sweep.commits), len(sweep.waiting), len(sweep.missing)
        logger.info(
            "sweep: %d experiments: %d done before, %d in DVC's queue, %d to be queued",
            len(sweep.trials),
            n_done,
            n_waiting,
            n_missing,
        )
        sweep.queue_missing()
        _wait(sweep)
    except (KeyboardInterrupt, SystemExit):
        tell_kept(_stop(sweep))
        raise


def _wait(sweep: Sweep) -> None:
    """Wait until each trial has ended well or failed; start a worker where there is none, and queue what got lost."""
    line, n_starts = StatusLine(), 0
    told = {*sweep.commits}
    while sweep.waiting or sweep.missing:
        if experiments.worker() is None:
            if n_starts == MOST_STARTS:
                raise ExpectedError(f"DVC's queue ended {MOST_STARTS} times; see {experiments.WORKER_LOG}")
            experiments.bring_in_order()
            sweep.look()
            sweep.queue_missing()
            experiments.start_worker()
            n_starts += 1
        time.sleep(POLL_S)
        sweep.look()
        ended = {*sweep.commits, *sweep.failures} - told
        line.clear()
        for digits in (one for one in sweep.trials if one in ended):
            how = f"failed: {sweep.failures[digits]}" if digits in sweep.failures else "done"
            logger.info("sweep: %s %s", sweep.trials[digits].name, how)
        told |= ended
        n_starts = 0 if ended else n_starts
        line.show(_status(sweep))
    line.clear()


def _status(sweep: Sweep) -> str:
    """Return how far a sweep is, in one line."""
    running = [f"{sweep.trials[one].name}: {line}" for one, line in sweep.waiting.items() if line]
    n_ended = len(sweep.commits) + len(sweep.failures)
    return "  ".join([f"{n_ended}/{len(sweep.trials)}", *running])


class StatusLine:
    """A line at the end of a terminal that is written again and again; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty() and logger.isEnabledFor(logging.INFO)

    def show(self, text: str) -> None:
        """Write it in place of the one before."""
        if self._is_shown:
            sys.stderr.write(f"\r\x1b[K{printable(text)[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove it, before other lines are written."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")


def _stop(sweep: Sweep) -> str:
    """Stop the queue, and say what is not lost."""
    ended = [sweep.trials[_digits(name)] for name in experiments.stop() if sweep.has(name)]
    sweep.look()
    parts = [f"{len(sweep.commits)} of {len(sweep.trials)} experiments are done"]
    for trial in ended:
        checkpoints = paths.checkpoints_dir(trial.dataset) / trial.planned.identity
        how = "goes on at its checkpoint" if any(checkpoints.glob("*.ckpt")) else "begins anew"
        parts.append(f"{trial.name} {how}")
    parts += [f"{len(sweep.waiting)} wait in DVC's queue"] if sweep.waiting else []
    return ", ".join(parts)


# What came of it.


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


def main() -> int:
    """Run the command."""
    kept = ["nothing was queued yet"]

    def action(params: Params, datasets: Sequence[str]) -> None:
        require_torch()
        named = chosen(params, datasets)
        for dataset in named:
            tried(params, dataset)
        experiments.refuse_unready()
        preprocess(params, named)
        experiments.refuse_unready()  # again: it may have made the first dvc.lock
        found = [trial for dataset in named for trial in trials(params, dataset)]
        targets = {trial.digits: verbs.train_stage(trial.dataset) for trial in found}
        sweep = Sweep({trial.digits: trial for trial in found}, targets)
        run(sweep, kept.append)
        sys.stdout.write(f"{printable_lines(summary(sweep))}\n")
        if sweep.failures:
            raise ExpectedError(f"sweep: {len(sweep.failures)} of {len(found)} experiments failed, see above")

    return cli.on_datasets(
        "commands.sweep", "Train with other settings, and rank what came of it.", action, lambda: kept[-1]
    )


def printable_lines(text: str) -> str:
    """Return a text of several lines without control characters."""
    return "\n".join(printable(line) for line in text.split("\n"))


if __name__ == "__main__":
    sys.exit(main())
