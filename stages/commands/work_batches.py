"""Build batches with one DVC for all of them, and send each to the remote while the next is built.

A `dvc repro` and a `dvc push` a batch cost 3 s of CPU beside the batch itself. So the steps are done here with DVC's
functions, as in `stages.pipeline.side_by_side`; where another version of DVC is installed, or it fails at something,
`dvc repro` does it and says why.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.commands import push
from stages.core.errors import ExpectedError
from stages.pipeline import dvc, internals, stage_internals
from stages.pipeline.beside import Running, start, stop
from stages.pipeline.internals import CachedFile
from stages.pipeline.remote import RemoteStore, Shared
from stages.pipeline.stage_internals import NotByHand, Pipeline
from stages.runtime.signals import HeldBack
from stages.runtime.workers import job_count

logger = logging.getLogger("batchwise")

MOST_WAITING = 2  # batches that are built and not sent: more would keep their claims long


@dataclass(frozen=True)
class Built:
    """A stage that is up to date here: its outputs in DVC's cache, and the folder with its run-cache entries."""

    files: Sequence[CachedFile]
    entries: Path


class Builder:
    """What brings single stages up to date; use it in a ``with`` statement, in which it may hold DVC's lock.

    Parameters
    ----------
    stages
        Names of all that it may be asked for.
    """

    def __init__(self, stages: Sequence[str]) -> None:
        self._stages, self._done = stages, list[str]()
        self._opened = ExitStack()
        self._pipeline: Pipeline | None = None
        self._is_usable = stage_internals.is_as_tried()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def rest(self) -> None:
        """Write dvc.lock, and let others have DVC's lock until the next stage is built."""
        pipeline, self._pipeline = self._pipeline, None
        done, self._done = self._done, []
        with self._opened:
            if pipeline is not None:
                pipeline.release()
                pipeline.record(done)

    def build(self, stage: str, key: str) -> Built:
        """Bring a stage up to date, without what it depends on.

        Parameters
        ----------
        stage
            Its name.
        key
            Its run-cache key.

        Raises
        ------
        ExpectedError
            When it fails; DVC has then said why.
        """
        if self._is_usable:
            try:
                with stage_internals.failures_as_not_by_hand():
                    return self._by_hand(stage, key)
            except NotByHand as error:
                logger.debug("`dvc repro` does it: %s", error)
                self.rest()
        return _by_dvc(stage, key)

    def _by_hand(self, stage: str, key: str) -> Built:
        if self._pipeline is None:
            self._pipeline = self._opened.enter_context(stage_internals.opened(job_count()))
            self._pipeline.plan(self._stages, single_item=True)
        pipeline = self._pipeline
        if not pipeline.is_plain(stage):
            raise NotByHand(f"{stage} is not a plain command")
        if pipeline.is_changed(stage) and not pipeline.restore(stage):
            _run(pipeline, stage)
        self._done.append(stage)
        return Built(pipeline.cached_files(stage), pipeline.run_cache_entries(stage, key))


def _run(pipeline: Pipeline, stage: str) -> None:
    """Run the command of a stage, and save what it wrote."""
    command = pipeline.begin(stage)
    running: list[Running] = []
    is_told = False
    try:
        with HeldBack():  # a stop that comes once it runs finds it among those that run
            running.append(start(command, {}, is_alone=True))
        code = running[0].process.wait()
    except KeyboardInterrupt:
        is_told = True
        raise
    finally:
        stop(running, is_told)
    pipeline.look_anew()
    is_saved = pipeline.end(stage, is_done=code == 0)
    if code:
        raise NotByHand(f"{stage} exited with {code}")
    if not is_saved:
        raise ExpectedError(f"{stage}: what it reads changed while it ran, see above; run again")


def _by_dvc(stage: str, key: str) -> Built:
    arguments = ("repro", "--pull", "--single-item", stage)
    failure = f"dvc {' '.join(arguments)} failed, see above; what was built is kept"
    dvc.call(*arguments, failure=failure, shows_errors_only=True)
    store = internals.open_store()
    files = [CachedFile(path, md5, store.object(md5)) for path, md5 in internals.outputs_to_push([stage])]
    return Built(files, internals.run_cache_entries(stage, key))


class Sender:
    """Sends what was built in a thread of its own; use it in a ``with`` statement, which ends when all is sent.

    Parameters
    ----------
    store
        The remote.
    """

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "send")
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Wait for what is being sent; raise what went wrong with it, unless something else did before."""
        if kind is not None and not all(sent.done() for sent in self._waiting):
            logger.info("what is built is sent before this ends")
        self._thread.shutdown()
        if kind is None:
            self._wait(0)

    def send(self, built: Built, publish: Callable[[Path], None], held: ExitStack) -> None:
        """Send a stage's outputs, then its run-cache entries, which `publish` does; `held` holds its claim.

        Raises
        ------
        ExpectedError, OSError
            When something sent before did not arrive.
        """
        self._waiting.append(self._thread.submit(self._send, built, publish, held))
        self._wait(MOST_WAITING)

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.pop(0).result()

    def _send(self, built: Built, publish: Callable[[Path], None], held: ExitStack) -> None:
        with held:
            push.send([Shared(file) for file in built.files], self._store)
            publish(built.entries)
