"""Bring stages up to date as `dvc repro` does, several of them at once where one does not fill the machine.

A stage is looked at as soon as those before it are done. One that did not change is passed by, one that the run cache
knows is taken from there, and the commands of the others run side by side, at most `JOBS` of them. Each is a process of
its own, the one that DVC would have started, so its memory, its log and its bytes are the same.

dvc.lock is written once, at the end, however that comes; a kill before loses nothing, since the next run finds in the
run cache what was done. Only a stage that the run cache cannot keep, and that took long, is written into it at once.

Each command has a share of the memory budget (`stages.pipeline.beside`). A stage that its share is too small for runs
again, alone and with all of the budget. One that has nothing to run beside it has the terminal and the whole budget
from the start.

With a cluster, all batches that are to be made are in flight there at once (`stages.pipeline.elsewhere`).

Where DVC is another than the one that was tried, or fails at something, `dvc repro` does the work, and says what is
wrong.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from stages.core.errors import ExpectedError
from stages.pipeline import dvc, stage_internals, verbs
from stages.pipeline.beside import Running, await_any, shares, start, stop
from stages.pipeline.elsewhere import LOOK_S, Elsewhere, Opens, Promised, check
from stages.pipeline.stage_internals import NotByHand, Pipeline
from stages.runtime.display import Counts, Display
from stages.runtime.memory import Watch
from stages.runtime.signals import HeldBack
from stages.runtime.workers import job_count

logger = logging.getLogger("batchwise")

WORTH_RECORDING_S = 5.0  # dvc.lock is written in 0.3 s
TOO_SMALL = "raise MEMORY_GB"  # the words of every error over the budget


class Reproducer:
    """What brings stages up to date; use it in a ``with`` statement, in which DVC's lock is held.

    Parameters
    ----------
    failure
        The text of the error when a stage fails: what failed and what to do.
    opens
        Reaches those who make batches elsewhere, if some do.
    """

    def __init__(self, failure: str, opens: Opens | None = None) -> None:
        self._failure = failure
        self._elsewhere = Elsewhere(opens)
        self._opened = contextlib.ExitStack()
        self._pipeline: Pipeline | None = None
        self._up_to_date: set[str] = set()
        self._is_usable = stage_internals.is_as_tried()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        self._elsewhere.close()
        self._pipeline = None
        self._opened.close()

    def repro(self, targets: Sequence[str], single_item: bool = False) -> None:
        """Bring stages up to date, and do not look again at those that this one brought up to date before.

        Parameters
        ----------
        targets
            Names of stages.
        single_item
            Leave out what they depend on.

        Raises
        ------
        ExpectedError
            When a stage fails; it has then said why.
        """
        if self._is_usable:
            try:
                self._by_hand(targets, single_item)
            except NotByHand as error:
                logger.debug("`dvc repro` goes on: %s", error)
                self._is_usable = False
                self._close()
        if not self._is_usable:
            options = ["--single-item"] if single_item else []
            dvc.call("repro", *options, *targets, failure=self._failure)

    def _by_hand(self, targets: Sequence[str], single_item: bool) -> None:
        with stage_internals.failures_as_not_by_hand():
            if self._pipeline is None:
                self._pipeline = self._opened.enter_context(stage_internals.opened(job_count()))
            planned = self._pipeline.plan(targets, single_item)
            before = {name: planned[name] - self._up_to_date for name in planned if name not in self._up_to_date}
            _Run(self._pipeline, before, self._failure, self._elsewhere).finish()
            self._up_to_date |= before.keys()


def _say(text: str) -> None:
    """Write lines to stdout as DVC does, or above the live display where there is one."""
    out = sys.stderr if sys.stderr.isatty() else sys.stdout
    out.write(text)
    out.flush()


class _Run:
    """One run over planned stages.

    Parameters
    ----------
    pipeline
        Of the stages, with DVC's lock held.
    before
        The stages in DVC's order, each with those that it waits for.
    failure
        Text of the error when one fails.
    elsewhere
        Who makes batches beside this machine, if somebody does.
    """

    title = "Running stages side by side"
    noun = "stages"

    def __init__(
        self, pipeline: Pipeline, before: Mapping[str, set[str]], failure: str, elsewhere: Elsewhere | None = None
    ) -> None:
        self._pipeline, self._failure = pipeline, failure
        self._elsewhere = Elsewhere(None) if elsewhere is None else elsewhere
        self._before = {name: set(others) for name, others in before.items()}
        self._n_stages = len(before)
        self._shares = shares(list(before))
        self._to_run: list[str] = []  # changed, and not in the run cache
        self._to_run_alone: list[str] = []  # for which its share was too small
        self._running: dict[str, Running] = {}
        self._done: list[str] = []  # saved, and not in dvc.lock
        self._n_done = 0
        self._has_failed = False
        self._display: contextlib.ExitStack | None = None

    # What the display shows.

    def busy(self) -> Mapping[str, str]:
        """Return the stages whose commands run, with what their workers are at, and what is made elsewhere."""
        here = {name: one.doing() for name, one in self._running.copy().items()}
        return {**here, **self._elsewhere.busy()}

    def counts(self) -> Counts:
        """Return how many stages are up to date."""
        return Counts(self._n_done, self._n_stages, None)

    # What is done.

    def finish(self) -> None:
        """Bring all stages up to date and write dvc.lock.

        Raises
        ------
        ExpectedError
            When a stage fails; what is done by then is written.
        """
        is_told = False
        try:
            while self._before or self._to_run or self._to_run_alone or self._running or self._elsewhere:
                self._look()
                self._begin_elsewhere()
                self._begin_here()
                if self._running or self._elsewhere:
                    self._wait()
        except KeyboardInterrupt:
            is_told = True
            raise
        finally:
            self._leave_display()
            self._elsewhere.stop()
            for line in stop(list(self._running.values()), is_told):
                logger.warning(line)
            self._pipeline.release()
            self._record()

    def _look(self) -> None:
        """Look at the stages that wait for no other, until all that are left do."""
        while ready := [name for name, others in self._before.items() if not others]:
            for name in ready:
                del self._before[name]
                if not self._pipeline.is_plain(name):
                    self._record()
                    self._pipeline.leave_to_dvc(name)
                    self._is_done(name)
                elif not self._pipeline.is_changed(name):
                    self._is_done(name)
                elif self._pipeline.restore(name):
                    _say(f"Stage '{name}' is cached - skipping run, checking out outputs\n")
                    self._done.append(name)
                    self._is_done(name)
                else:
                    self._to_run.append(name)

    def _is_done(self, name: str) -> None:
        self._n_done += 1
        for others in self._before.values():
            others.discard(name)

    def _begin_elsewhere(self) -> None:
        """Have all batches made elsewhere that can be."""
        for name in list(self._to_run):
            if self._elsewhere.takes(name, self._pipeline.command(name)):
                self._to_run.remove(name)
                self._pipeline.begin(name)
                self._enter_display()
                self._elsewhere.begin(name)

    def _begin_here(self) -> None:
        """Start commands until as many run as may."""
        if self._to_run_alone:
            if not self._running:
                self._begin_one(self._to_run_alone.pop(0), is_alone=True)
            return
        if any(one.output is None for one in self._running.values()):  # it is alone, and has all
            return
        if self._to_run and not self._running and (len(self._to_run) == 1 or self._shares.n_at_once == 1):
            self._begin_one(self._to_run.pop(0), is_alone=True)
            return
        for name in list(self._to_run):
            if len(self._running) < self._shares.n_at_once and not self._may_collide(name):
                self._to_run.remove(name)
                self._begin_one(name, is_alone=False)

    def _may_collide(self, name: str) -> bool:
        """Say whether a stage must wait for one that runs: expand reads dvc.lock and writes it, one at a time."""
        return _is_expand(name) and any(map(_is_expand, self._running))

    def _begin_one(self, name: str, is_alone: bool) -> None:
        command = self._pipeline.begin(name)
        if is_alone:
            self._leave_display()
            _say(f"Running stage '{name}':\n> {command.words[-1]}\n")
        else:
            self._enter_display()
        variables = {} if is_alone else self._shares.variables
        with HeldBack():  # a stop that comes once it runs finds it among those that run
            self._running[name] = start(command, variables, is_alone)

    def _wait(self) -> None:
        """Wait until a command ends, and save what those that ended wrote."""
        # An expand may run a DVC of its own, which needs the lock.
        waits_for_expand = any(map(_is_expand, self._running))
        with self._pipeline.unlocked() if waits_for_expand else contextlib.nullcontext():
            while not self._can_go_on():
                names = [name for name in self._running if not waits_for_expand or _is_expand(name)]
                await_any([self._running[name] for name in names], self._elsewhere.watched(), LOOK_S)
                self._elsewhere.look()
        self._pipeline.look_anew()
        done = {name: seconds for name in sorted(self._ended()) if (seconds := self._close(name)) is not None}
        for name, seconds in done.items():
            self._end(name, seconds)
        for name, promised in self._elsewhere.ended():
            self._end_elsewhere(name, promised)
        if self._has_failed:
            raise ExpectedError(self._failure)

    def _can_go_on(self) -> bool:
        """Say whether something has ended, and no expand runs."""
        ended = self._ended()
        if any(map(_is_expand, self._running.keys() - ended)):
            return False
        return bool(ended) or self._elsewhere.has_ended()

    def _ended(self) -> set[str]:
        return {name for name, one in self._running.items() if one.process.poll() is not None}

    def _close(self, name: str) -> float | None:
        """Tell what a command told that ended; return how long it ran, None if it failed or is to run again."""
        one = self._running.pop(name)
        code, text = one.process.returncode, one.text()
        is_too_small = bool(code) and one.output is not None and (code < 0 or TOO_SMALL in text)
        if not is_too_small and one.output is not None:
            _say(f"Running stage '{name}':\n{text}")
        one.close()
        if code:
            self._pipeline.end(name, is_done=False)
        if is_too_small:
            logger.info("%s: its share of the memory was too small, it runs again alone", name)
            self._to_run_alone.append(name)
        elif code:
            logger.error("%s exited with %d", verbs.command(name), code)
            self._has_failed = True
        return None if code else one.seconds

    def _end(self, name: str, seconds: float) -> None:
        """Save what a command wrote, and record it at once if it took long and the run cache cannot keep it."""
        self._save(name)
        if seconds > WORTH_RECORDING_S and not self._pipeline.is_kept(name):
            self._record()

    def _save(self, name: str, expected_md5: str | None = None) -> None:
        """Save what a stage wrote; it is recorded unless what it reads has changed since it began."""
        is_as_begun = self._pipeline.end(name, is_done=True)
        if expected_md5 is not None:
            check(name, expected_md5, self._pipeline.digests(name)[0])
        if is_as_begun:
            self._done.append(name)
        self._is_done(name)

    def _end_elsewhere(self, name: str, promised: Promised) -> None:
        """Save the batch of a stage that was made elsewhere, or say why it failed."""
        _say(f"Running stage '{name}':\n")
        try:
            md5 = promised.take()
        except ExpectedError as error:
            self._pipeline.end(name, is_done=False)
            logger.error("%s", error)  # noqa: TRY400 - it is told as any other, without a traceback
            self._has_failed = True
            return
        self._save(name, md5)

    def _record(self) -> None:
        done, self._done = self._done, []
        self._pipeline.record(done)

    # The display.

    def _enter_display(self) -> None:
        if self._display is None:
            self._pipeline.show_bars(False)
            self._display = contextlib.ExitStack()
            self._display.enter_context(_shown(self))

    def _leave_display(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None
            self._pipeline.show_bars(True)


def _is_expand(name: str) -> bool:
    return verbs.parsed(name).verb == "expand"


@contextlib.contextmanager
def _shown(run: _Run) -> Iterator[None]:
    """Show the progress of a run and the memory of all its processes, which keep the budget by themselves."""
    watch = Watch(lambda: run.title, lambda _: None, only_looks=True)
    watch.start()
    try:
        with Display(run, watch):
            yield
    finally:
        watch.close()
