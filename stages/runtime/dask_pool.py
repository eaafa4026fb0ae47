"""Workers of a Dask cluster that runs in this folder on a shared file system: ``BACKEND=dask``.

``DASK_SCHEDULER`` holds the address of its scheduler, for example ``tcp://10.0.0.5:8786``. Workers read and write files
themselves, by paths relative to the repository: so they must be started in this folder, with this code, Python and
NumPy. What travels is small: of process a whole batch is an item (`stages.processing.on_worker`). Each worker is asked
when a run connects, and again with its first task, since it may join late; one that differs ends the run, because its
bytes could differ. One that answers nothing is left out of the run.

A task is ``pickle.loads`` of a call: the scheduler unpickles tasks, and needs nothing of this repository that way. A
worker that dies costs its present items, which Dask gives to another one, up to four times each. One that falls silent
(see `dask_sight`) may come back, so it is left as it is, and each of its items becomes a new task, which only workers
that are heard of may take. The old task is dropped: what it gives later, nobody takes.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import ExpectedError
from stages.core.files import is_of_dead_process
from stages.runtime import dask_sight
from stages.runtime.dask_client import connect, refused, scheduler_address, unable
from stages.runtime.dask_result import DaskResult
from stages.runtime.dask_sight import Key, Sight
from stages.runtime.dask_worker import here, refusal, short, work

R = TypeVar("R")

logger = logging.getLogger("batchwise")

TOKEN_DIR = Path(".dvc/tmp/batchwise")
ANSWER_S = 10.0  # for a first worker to appear, and for all of them to say what they run
LOST_S = 60.0  # without any worker, or a word of the scheduler, before a run ends
CLOSE_S = 1.0
POLL_S = 1.0  # between two questions to the scheduler


class _Call:
    """A call that happens when its pickle is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


class DaskPool:
    """The workers of the cluster that ``DASK_SCHEDULER`` names; `n_workers` counts their threads.

    Raises
    ------
    ExpectedError
        When there is no scheduler, no worker that answers, or a worker does not run what this process runs.
    """

    def __init__(self) -> None:
        self.address = scheduler_address()
        self._client = connect(self.address)
        mine = f"{socket.gethostname()}-{os.getpid()}"
        self._site = here(token=str(TOKEN_DIR / f"cluster.{secrets.token_hex(8)}.{mine}"))
        self._run, self._numbers = f"batchwise-{secrets.token_hex(4)}", itertools.count()
        self._n_threads: Mapping[str, int] = {}
        self._busy: Mapping[str, str] = {}
        self._looking = threading.Lock()  # the display looks from a thread of its own
        self._asked: Future[Sight] | None = None
        self._asked_at, self._seen_at, self._newest = 0.0, time.monotonic(), 0.0
        self._left_out: frozenset[str] = frozenset()  # from the start
        self._silent: frozenset[str] = frozenset()  # now
        self._sound: frozenset[str] = frozenset()  # all others
        self._awaited: dict[Key, DaskResult] = {}
        try:
            TOKEN_DIR.mkdir(parents=True, exist_ok=True)
            Path(self._site.token).touch()
            self._greet()
            self.n_workers = sum(self._n_threads.values())
        except BaseException:
            self.close(is_done=False)
            raise

    @property
    def token(self) -> str:
        """A file that is there as long as this pool is open."""
        return self._site.token

    def submit(self, function: Callable[..., R], item: Any) -> "Future[R]":
        """Have a worker call `function(item)`."""
        call = pickle.dumps(_Call(work, self._site, _dumps((function, item))))
        return DaskResult(self, call, _label(item), getattr(item, "weight", 0))

    def chosen(self) -> frozenset[str]:
        """Return the workers that a task may go to; none named where all are sound, so that later ones take it too."""
        return self._sound if self._left_out or self._silent else frozenset()

    def begin(self, result: DaskResult, call: bytes, only: Collection[str]) -> Any:
        """Make a task of a call, whose result `result` awaits, for some workers or for all; return the task."""
        from distributed.client import ClosedClientError

        number = next(self._numbers)
        key = (self._run, number, result.label or f"item {number}")
        self._awaited[key] = result
        try:
            workers = sorted(only) or None
            return self._client.submit(pickle.loads, call, key=key, pure=False, workers=workers, priority=result.weight)
        except ClosedClientError:
            raise self.lost() from None

    def end(self, task: Any) -> None:
        """Have the cluster forget a task, without waiting for it."""
        self._awaited.pop(task.key, None)
        task.release()

    def fetch(self, task: Any) -> "Future[Any]":
        """Begin to get the answer of the scheduler to the wish for a task's result; it does not wait for others.

        Dask's own way asks for several results at once, and one that lies in a silent worker's memory holds up all.
        """
        question = self._client.scheduler.gather(keys=[task.key])
        return asyncio.run_coroutine_threadsafe(question, self._client.loop.asyncio_loop)

    def busy(self) -> Mapping[str, str]:
        """Return what each worker has in hand, as of about a second ago."""
        self.look()
        return self._busy

    def look(self) -> None:
        """Ask the scheduler what its workers do, at most once a second and without waiting; note its last answer."""
        with self._looking:
            if self._asked is not None and self._asked.done():
                with contextlib.suppress(OSError, CancelledError):
                    self._take_in(self._asked.result())
                self._asked = None
            is_due = self._asked is None and time.monotonic() - self._asked_at >= POLL_S
            if is_due and self._client.status == "running":
                question = dask_sight.look(self._client.scheduler, self._run)
                self._asked = asyncio.run_coroutine_threadsafe(question, self._client.loop.asyncio_loop)
                self._asked_at = time.monotonic()

    def refuse_silence(self, since: float) -> None:
        """Raise an `ExpectedError` when no worker was heard of for long, counted from `since` on."""
        if time.monotonic() - max(since, self._seen_at) > LOST_S:
            raise ExpectedError(
                f"DASK_SCHEDULER: {self.address}: no worker, or no word of the scheduler, for {LOST_S:.0f} s; look "
                "after the cluster, run again"
            )

    def lost(self) -> ExpectedError:
        """Return the error for a scheduler that is gone."""
        return ExpectedError(
            f"DASK_SCHEDULER: {self.address}: lost the connection to the scheduler; start it again with its workers, "
            "run again"
        )

    def close(self, is_done: bool) -> None:
        """Leave the cluster, which drops what it has not begun; what a thread of it is at, it ends."""
        Path(self._site.token).unlink(missing_ok=True)
        with contextlib.suppress(TimeoutError):
            self._client.close(timeout=CLOSE_S)

    def _greet(self) -> None:
        """Wait for a worker, and see that each of them that answers runs what this process runs."""
        try:
            self._client.wait_for_workers(1, timeout=ANSWER_S)
            n_threads = self._client.nthreads()
            sight = self._client.sync(dask_sight.look, self._client.scheduler, self._run, callback_timeout=ANSWER_S)
        except (TimeoutError, OSError):
            raise self._nobody("no workers") from None
        silence = {worker: seconds for worker, seconds in sight.silence().items() if worker in n_threads}
        unheard = {worker: f"no word for {seconds:.0f} s" for worker, seconds in silence.items()}
        answers = self._client.sync(self._ask, [worker for worker in n_threads if worker not in unheard])
        for worker, answer in answers.items():
            if isinstance(answer, OSError):
                unheard[worker] = str(answer)
            elif isinstance(answer, BaseException):
                raise unable(f"worker {worker}", answer)
            elif answer:
                raise refused(f"worker {worker} {answer}")
        self._leave_out(unheard, n_threads)

    def _leave_out(self, unheard: Mapping[str, str], n_threads: Mapping[str, int]) -> None:
        """Go on without the workers that were not heard, and tell of each why."""
        if len(unheard) == len(n_threads):
            raise self._nobody("no answer of a worker")
        for worker, reason in sorted(unheard.items()):
            logger.warning("DASK_SCHEDULER: worker %s: %s; it is left out", worker, reason)
        self._left_out = frozenset(unheard)
        self._sound = frozenset(n_threads) - self._left_out
        self._n_threads = {worker: n_threads[worker] for worker in sorted(self._sound)}

    def _nobody(self, what: str) -> ExpectedError:
        advice = f"within {ANSWER_S:.0f} s; start them in {Path.cwd()}: dask worker {self.address}"
        return ExpectedError(f"DASK_SCHEDULER: {self.address}: {what} {advice}")

    async def _ask(self, workers: Collection[str]) -> dict[str, Any]:
        """Ask all workers at once; return what each says, or the exception that came instead, `OSError` for silence."""
        question = pickle.dumps(_Call(refusal, self._site))

        async def ask(worker: str) -> Any:
            try:
                async with asyncio.timeout(ANSWER_S):
                    answers = await self._client.run(pickle.loads, question, workers=[worker], on_error="return")
            except TimeoutError:
                return TimeoutError(f"no answer for {ANSWER_S:.0f} s")
            except OSError as error:
                return error
            return answers[worker]

        return dict(zip(workers, await asyncio.gather(*map(ask, workers)), strict=True))

    def _take_in(self, sight: Sight) -> None:
        """Note what each worker has in hand, and give to others what silent ones have."""
        first = {worker: keys[: self._n_threads.get(worker, 1)] for worker, keys in sight.processing.items() if keys}
        self._busy = {short(worker): ", ".join(label for *_, label in keys) for worker, keys in first.items()}
        if (newest := sight.newest(self._left_out)) != self._newest:
            self._newest, self._seen_at = newest, time.monotonic()
        silence = {worker: s for worker, s in sight.silence().items() if worker not in self._left_out}
        self._sound = frozenset(sight.last_seen) - self._left_out - frozenset(silence)
        for worker in sorted(silence.keys() - self._silent):
            told = "DASK_SCHEDULER: worker %s: no word for %.0f s; the %d items that it has go to others"
            logger.warning(told, worker, silence[worker], len(sight.tasks(worker)))
        for worker in sorted(self._sound & self._silent):
            logger.info("DASK_SCHEDULER: worker %s: heard of again", worker)
        self._silent = frozenset(silence)
        if self._sound:
            self._give_to_others(sight)

    def _give_to_others(self, sight: Sight) -> None:
        """Begin anew what only silent workers have, and what was meant for workers of which none is left."""
        stuck = {key for worker in self._silent | self._left_out for key in sight.tasks(worker)}
        for key, result in list(self._awaited.items()):
            if key in stuck or (result.only and not result.only & self._sound):
                result.begin_again()


def tokens_of_killed() -> list[Path]:
    """Return the tokens of runs on this machine that could not remove them, since they were killed."""
    return [token for token in TOKEN_DIR.glob("cluster.*") if is_of_dead_process(token.name)]


def _dumps(value: Any) -> bytes:
    """Pickle, by value what another process could not import: functions of the main module."""
    import cloudpickle

    return bytes(cloudpickle.dumps(value))


def _label(item: Any) -> str:
    """Return what tells an item from others, if it says so."""
    return getattr(item, "label", "")
