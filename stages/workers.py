"""Run one function over many items on workers: results in order, only a few items in flight.

Two environment variables steer it and never change a result:

- ``JOBS``: number of workers, default all cores; 1 runs in this process.
- ``BACKEND``: ``loky`` (joblib's process pool) or ``threading``; the default is the caller's choice.

`joblib.Parallel` itself is not used: it runs ahead of a slow consumer without bound (57 of 60 results were ready while
the first was in use).
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from stages.errors import ExpectedError
from stages.signals import die_with_parent

T = TypeVar("T")
R = TypeVar("R")

BACKENDS = ("loky", "threading")


def job_count() -> int:
    """Return the number of workers that ``JOBS`` asks for, default all cores this process may use."""
    text = os.environ.get("JOBS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ExpectedError(f"JOBS: {text!r}, expected a whole number from 1; unset it to use all cores")
    return int(text)


def backend_name(default: str) -> str:
    """Return the joblib backend that ``BACKEND`` names, or `default`."""
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
    jobs, backend = job_count(), backend_name(default_backend)
    if jobs == 1:
        yield from map(function, items)
        return
    executor = _executor(backend, jobs)
    pending: deque[Future[R]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) == 2 * jobs:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
        executor.shutdown()


def _executor(backend: str, jobs: int) -> Executor:
    if backend == "threading":
        return ThreadPoolExecutor(jobs)
    from joblib.externals.loky import ProcessPoolExecutor  # its import costs 0.1 s, which one worker does not need

    return ProcessPoolExecutor(max_workers=jobs, initializer=die_with_parent, initargs=(os.getpid(),))
