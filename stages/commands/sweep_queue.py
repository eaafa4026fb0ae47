"""A sweep in work: what of it DVC's queue has, what is missing there, and waiting for the rest."""

import logging
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from stages.commands.sweep_grid import overrides
from stages.commands.sweep_trials import Trial
from stages.core import paths
from stages.core.errors import ExpectedError
from stages.pipeline import experiments
from stages.pipeline.experiments import QueuedExperiment
from stages.runtime.text import printable

POLL_S = 1.0
MOST_STARTS = 5  # of a worker while no experiment ends
MOST_TRIES = 5  # to queue an experiment

logger = logging.getLogger("batchwise")


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
