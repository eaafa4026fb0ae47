"""Run one function over many items on workers: results in order, only a few items in flight.

Two environment variables steer it and never change a result:

- ``JOBS``: number of workers, default all cores; 1 is a thread of this process. Those of a cluster are its own.
- ``BACKEND``: ``threading``, ``loky`` (joblib's process pool) or ``dask`` (the cluster of ``DASK_SCHEDULER``); the
  default is the caller's choice.

`joblib.Parallel` itself is not used: it runs ahead of a slow consumer without bound (57 of 60 results were ready while
the first was in use).
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from stages.core.errors import ExpectedError
from stages.runtime import notes
from stages.runtime.signals import die_with_parent

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

BACKENDS = ("loky", "threading", "dask")
PROCESS_MB = 60  # of a worker process before it has any work
PATIENCE_S = 1.0  # with loky, whose own threads can get stuck when a process is killed


@dataclass(frozen=True)
class Done(Generic[R]):
    """A result, the worker it comes from, and when it was made: `started` in s since the epoch."""

    result: R
    worker: str
    started: float
    seconds: float


class Promise(Protocol[R_co]):
    """A result that is to come, such as a `Future`."""

    def result(self) -> R_co:
        """Wait for it."""

    def cancel(self) -> bool:
        """Do not start with it, if it is not started yet."""


class Pool(Protocol):
    """Some workers."""

    n_workers: int

    def submit(self, function: Callable[..., R], item: Any) -> "Promise[R]":
        """Have a worker call `function(item)`."""

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""

    def close(self, is_done: bool) -> None:
        """Let the workers go; unless `is_done`, drop what they have in hand and do not wait for them."""


def job_count() -> int:
    """Return the number of workers that ``JOBS`` asks for, default all cores this process may use."""
    text = os.environ.get("JOBS", "")
    if not text:
        if not hasattr(os, "sched_getaffinity"):  # macOS
            return os.cpu_count() or 1
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ExpectedError(f"JOBS: {text!r}, expected a whole number from 1; unset it to use all cores")
    return int(text)


def backend_name(default: str) -> str:
    """Return the backend that ``BACKEND`` names, or `default`."""
    name = os.environ.get("BACKEND") or default
    if name not in BACKENDS:
        raise ExpectedError(f"BACKEND: {name!r}, expected one of {', '.join(BACKENDS)}")
    return name


def ordered(function: Callable[[T], R], items: Iterable[T], default_backend: str = "loky") -> Iterator[R]:
    """Yield ``function(item)`` for every item, in the order of `items`.

    At most two items per worker are in flight, so memory does not grow with the number of items.

    Parameters
    ----------
    function
        A function of an importable module; it must not depend on which worker runs it.
    items
        What it is called with, one at a time.
    default_backend
        ``loky`` for work that holds Python's interpreter lock, ``threading`` for work that is mostly NumPy.

    Raises
    ------
    ExpectedError
        When ``JOBS`` or ``BACKEND`` is not usable.
    """
    with Workers(default_backend) as workers:
        for done in workers.ordered(function, items):
            yield done.result


class Workers:
    """The workers that ``JOBS`` and ``BACKEND`` ask for; use it in a ``with`` statement.

    Parameters
    ----------
    default_backend
        As for `ordered`.
    room_mb
        Memory they may use: there are fewer worker processes where more would not fit.
    pool
        The workers themselves, whatever the variables ask for.

    Attributes
    ----------
    memory_mb
        What worker processes take before they have any work.
    """

    def __init__(self, default_backend: str = "loky", room_mb: float | None = None, pool: Pool | None = None) -> None:
        self._pool = pool or _pool(backend_name(default_backend), room_mb)
        self.n_workers = self._pool.n_workers
        self.memory_mb = PROCESS_MB * self.n_workers if isinstance(self._pool, Processes) else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._pool.close(is_done=kind is None)

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""
        return self._pool.busy()

    def ordered(
        self, function: Callable[[T], R], items: Iterable[T], has_room: Callable[[T], bool] = lambda _: True
    ) -> Iterator[Done[R]]:
        """Yield ``function(item)`` and its circumstances for every item, in the order of `items`.

        `has_room(item)` says whether one more item may be in flight; while it says no, and another one is, it waits.

        Raises
        ------
        ExpectedError
            When a worker process died.
        """
        task = partial(_timed, function)
        window = 2 * self.n_workers if self.n_workers > 1 else 1
        pending: deque[Promise[Done[R]]] = deque()
        try:
            for item in items:
                while pending and (len(pending) >= window or not has_room(item)):
                    yield pending.popleft().result()
                pending.append(self._pool.submit(task, item))
            while pending:
                yield pending.popleft().result()
        except BrokenExecutor:
            doing = ", ".join(self.busy().values()) or "nothing yet"
            raise ExpectedError(
                f"a worker process was killed, while they worked on {doing}; if memory ran out (see `dmesg`), lower "
                "JOBS or MEMORY_GB; run again"
            ) from None


def _timed(function: Callable[[T], R], item: T) -> Done[R]:
    started = time.time()
    result = function(item)
    notes.working_on("")
    return Done(result, notes.worker_name(), started, time.time() - started)


def _pool(backend: str, room_mb: float | None) -> Pool:
    jobs = job_count()
    if backend == "dask":
        from stages.runtime.dask_pool import DaskPool  # an extra package, and 0.5 s of imports

        return DaskPool()
    if backend == "threading" or jobs == 1:
        return Threads(jobs)
    return Processes(jobs if room_mb is None else max(1, min(jobs, int(room_mb / PROCESS_MB))))


class Inline:
    """The calling thread alone, which works on an item when it is submitted."""

    n_workers = 1

    def submit(self, function: Callable[..., R], item: Any) -> "Future[R]":
        """Call `function(item)` now; what it raises goes to the caller."""
        done: Future[R] = Future()
        done.set_result(function(item))
        return done

    def busy(self) -> Mapping[str, str]:
        """Nothing is in work when somebody asks."""
        return {}

    def close(self, is_done: bool) -> None:
        """Nobody is to be let go."""


class Threads:
    """Threads of this process; also a single worker is one, so that the main thread can be interrupted at any time."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._notes = notes.ThreadNotes()
        self._executor = ThreadPoolExecutor(n_workers, initializer=self._notes.register)

    def submit(self, function: Callable[..., R], item: Any) -> "Future[R]":
        """Have a thread call `function(item)`."""
        return self._executor.submit(function, item)

    def busy(self) -> Mapping[str, str]:
        """Return what each thread is working on."""
        return self._notes.read()

    def close(self, is_done: bool) -> None:
        """Let the threads end; they cannot be stopped, so after a failure their present items are not waited for."""
        self._executor.shutdown(wait=is_done, cancel_futures=True)


class Processes:
    """Processes of joblib's loky."""

    def __init__(self, n_workers: int) -> None:
        from multiprocessing import resource_tracker

        from joblib.externals.loky import ProcessPoolExecutor  # its import costs 0.1 s, which threads do not need

        resource_tracker.ensure_running()  # else the first process starts it, which lets Ctrl-C through (Python 3.11)
        self.n_workers = n_workers
        self._notes = notes.ProcessNotes()
        with _no_ctrl_c():  # starts loky's own tracker, which would die of a hang-up with many words
            self._executor = ProcessPoolExecutor(
                max_workers=n_workers, initializer=_start_process, initargs=(os.getpid(), self._notes.folder)
            )

    def submit(self, function: Callable[..., R], item: Any) -> "Promise[R]":
        """Have a process call `function(item)`."""
        with _no_ctrl_c():
            return _FromProcess(self._executor.submit(function, item), self._executor._processes)  # starts processes

    def busy(self) -> Mapping[str, str]:
        """Return what each process is working on."""
        return self._notes.read()

    def close(self, is_done: bool) -> None:
        """Let the processes end, or kill them after a failure."""
        if is_done:
            self._executor.shutdown()
        else:
            self._kill()
        self._notes.close()

    def _kill(self) -> None:
        manager, waiting = self._executor._executor_manager_thread, self._executor._work_ids
        with contextlib.suppress(queue.Empty):
            while True:  # loky forgets what waits here, then looks it up, fails and leaves its processes alive
                waiting.get_nowait()
        self._executor.shutdown(wait=False, kill_workers=True)
        if manager is not None:
            manager.join(PATIENCE_S)
        for process in multiprocessing.active_children():  # Python would wait for them at its end
            process.terminate()


@contextlib.contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C and a hang-up back: a process that is started meanwhile never gets them, this one does afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _FromProcess(Generic[R]):
    """What a worker process sends.

    One that is killed while it sends leaves half a result, of which loky awaits the rest for ever. One that has ended
    by itself, as they do when their memory has grown, loky takes out of its `processes`.
    """

    def __init__(self, future: "Future[R]", processes: "Mapping[int, Any]") -> None:
        self._future, self._processes = future, processes

    def result(self) -> R:
        """Wait for the result; raise `BrokenExecutor` when a worker is gone and nothing comes any more."""
        was_broken = False
        while not wait([self._future], PATIENCE_S).done:
            is_broken = not all(process.is_alive() for process in list(self._processes.values()))
            if is_broken and was_broken:
                raise BrokenExecutor
            was_broken = is_broken
        return self._future.result()

    def cancel(self) -> bool:
        """Do not start with it, if it is not started yet."""
        return self._future.cancel()


def _start_process(parent: int, folder: str) -> None:
    """Prepare a worker process: it dies with its parent."""
    die_with_parent(parent)
    notes.register_in(folder)
