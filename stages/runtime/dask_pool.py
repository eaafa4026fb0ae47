"""Workers of a Dask cluster that runs in this folder on a shared file system: ``BACKEND=dask``.

``DASK_SCHEDULER`` holds the address of its scheduler, for example ``tcp://10.0.0.5:8786``. Workers read raw files
themselves, by paths relative to the repository, and send arrays back: so they must be started in this folder, with this
code, Python and NumPy. Each worker is asked when a run connects, and again with its first task, since it may join late;
one that differs ends the run, because its bytes could differ.

A task is ``pickle.loads`` of a call: the scheduler unpickles tasks, and needs nothing of this repository that way. A
worker that dies costs its present items, which Dask gives to another one, up to four times each.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, TypeVar

from stages.core.errors import ExpectedError
from stages.runtime.dask_worker import here, refusal, short, work

R = TypeVar("R")

TOKEN_DIR = Path(".dvc/tmp/batchwise")
CONNECT_S = 6.0  # to reach the scheduler
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
        When there is no scheduler or worker, or a worker does not run what this process runs.
    """

    def __init__(self) -> None:
        self.address = _scheduler_address()
        self._client = _connect(self.address)
        self._site = here(token=str(TOKEN_DIR / f"cluster.{secrets.token_hex(8)}"))
        self._group, self._numbers = f"batchwise-{secrets.token_hex(4)}", itertools.count()
        self._n_threads: Mapping[str, int] = {}
        self._busy: Mapping[str, str] = {}
        self._looking = threading.Lock()  # the display looks from a thread of its own
        self._asked: Future[Mapping[str, Any]] | None = None
        self._asked_at, self._seen_at = 0.0, time.monotonic()
        try:
            TOKEN_DIR.mkdir(parents=True, exist_ok=True)
            Path(self._site.token).touch()
            self._greet()
            self._n_threads = self._client.nthreads()
            self.n_workers = sum(self._n_threads.values())
        except BaseException:
            self.close(is_done=False)
            raise

    def submit(self, function: Callable[..., R], item: Any) -> "Future[R]":
        """Have a worker call `function(item)`."""
        from distributed.client import ClosedClientError

        call = pickle.dumps(_Call(work, self._site, _dumps((function, item))))
        number = next(self._numbers)
        key = (self._group, number, _label(item) or f"item {number}")
        try:
            return DaskResult(self, self._client.submit(pickle.loads, call, key=key, pure=False))
        except ClosedClientError:
            raise self.lost() from None

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
                question = self._client.scheduler.processing(workers=None)
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
        """Wait for a worker, and see that each of them runs what this process runs."""
        question = pickle.dumps(_Call(refusal, self._site))
        advice = f"within {ANSWER_S:.0f} s; start them in {Path.cwd()}: dask worker {self.address}"
        try:
            missing = "no workers"
            self._client.wait_for_workers(1, timeout=ANSWER_S)
            missing = "no answer of some workers"
            answers = self._client.run(pickle.loads, question, on_error="return", callback_timeout=ANSWER_S)
        except (TimeoutError, OSError):
            raise ExpectedError(f"DASK_SCHEDULER: {self.address}: {missing} {advice}") from None
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                raise _unable(f"worker {worker}", answer)
            if answer:
                raise _refused(f"worker {worker} {answer}")

    def _take_in(self, processing: Mapping[str, Any]) -> None:
        """Note what each worker has in hand; tasks of others on the same cluster are none of our business."""
        ours = {
            worker: sorted(key[1:] for key in keys if isinstance(key, tuple | list) and key[0] == self._group)
            for worker, keys in sorted(processing.items())
        }
        first = {worker: tasks[: self._n_threads.get(worker, 1)] for worker, tasks in ours.items() if tasks}
        self._busy = {short(worker): ", ".join(label for _, label in tasks) for worker, tasks in first.items()}
        if processing:
            self._seen_at = time.monotonic()


class DaskResult(Future[Any]):
    """The result of a task; it travels here as soon as it is there, and leaves the worker's memory."""

    def __init__(self, pool: DaskPool, task: Any) -> None:
        super().__init__()
        self._pool, self._task = pool, task
        task.add_done_callback(self._fetch)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result as long as the cluster lives.

        Raises
        ------
        ExpectedError
            When the scheduler or all workers are gone, workers die of the task, or one refuses to work.
        """
        from distributed.scheduler import KilledWorker

        since = time.monotonic()
        while not self.done():
            self._pool.look()
            self._pool.refuse_silence(since)
            with contextlib.suppress(TimeoutError):
                self.exception(POLL_S)
        try:
            reason, result = super().result()
        except KilledWorker as error:
            raise ExpectedError(
                f"DASK_SCHEDULER: {self._pool.address}: {error.allowed_failures + 1} workers died while they had "
                f"{self._task.key[2]} in hand, the last one {error.last_worker.address}; its log says why, most likely "
                "memory: start workers with more of it"
            ) from None
        except CancelledError:
            raise self._pool.lost() from None
        except ImportError as error:
            raise _unable("a worker", error) from error
        if reason:
            raise _refused(reason)
        return result

    def cancel(self) -> bool:
        """Have the cluster forget the task, without waiting for it."""
        self._task.release()
        return super().cancel()

    def _fetch(self, task: Any) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(task.result())
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller of `result` gets it
            self.set_exception(error)
        task.release()


def _scheduler_address() -> str:
    address = os.environ.get("DASK_SCHEDULER", "")
    if not address:
        raise ExpectedError("DASK_SCHEDULER: not set, expected the scheduler's address such as tcp://10.0.0.5:8786")
    return address


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ExpectedError(
            "BACKEND: dask needs the package distributed, not found; run `pip install --editable '.[cluster]'`"
        ) from None
    _quieten()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what differs between client and workers is told by `refusal`
        try:
            asyncio.run(_find_scheduler(address))
            return Client(address, timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or f"no answer within {CONNECT_S:.0f} s"
            raise ExpectedError(
                f"DASK_SCHEDULER: {address}: no scheduler there ({reason}); correct it, or start one: dask scheduler"
            ) from None


async def _find_scheduler(address: str) -> None:
    """See in bounded time that a scheduler answers; a `Client` takes up to half a minute to give up."""
    from distributed.core import rpc

    async with asyncio.timeout(CONNECT_S), rpc(address) as server:  # type: ignore[no-untyped-call]
        kind = (await server.identity())["type"]
    if kind != "Scheduler":
        raise ValueError(f"it is a {kind.lower()}'s")


def _quieten() -> None:
    """Keep Dask's own log lines back, unless with ``LOG=debug``: what a user must know is told in an error."""
    if logging.getLogger("batchwise").isEnabledFor(logging.DEBUG):
        return
    for name in ("distributed", "distributed.client", "tornado.application", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _dumps(value: Any) -> bytes:
    """Pickle, by value what another process could not import: functions of the main module."""
    import cloudpickle

    return bytes(cloudpickle.dumps(value))


def _label(item: Any) -> str:
    """Return what tells an item from others: the key of its first unit, if it is a chunk."""
    units = getattr(item, "units", None)
    return units[0].key if units else ""


def _refused(reason: str) -> ExpectedError:
    return ExpectedError(
        f"DASK_SCHEDULER: {reason}; its bytes could differ: start it again in the run's folder and environment"
    )


def _unable(worker: str, error: BaseException) -> ExpectedError:
    return ExpectedError(
        f"DASK_SCHEDULER: {worker} cannot run the code of this folder ({type(error).__name__}: {error}); start it "
        f"again in {Path.cwd()}, with the same environment"
    )
