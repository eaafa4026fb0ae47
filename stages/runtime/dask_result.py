"""The result of an item that a Dask cluster works on: one, whatever becomes of the tasks that are made of it."""

import contextlib
import threading
import time
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from stages.core.errors import ExpectedError
from stages.runtime.dask_client import refused, unable

if TYPE_CHECKING:
    from stages.runtime.dask_pool import DaskPool

POLL_S = 1.0  # between two looks at the cluster
MOST_LOST = 3  # results of an item that were lost with their workers


class DaskResult(Future[Any]):
    """The result of an item; it travels here as soon as it is there, and leaves the worker's memory.

    It is that of the present task. What an earlier one gives, which had fallen to a silent worker, is not taken.

    Parameters
    ----------
    pool
        Of the workers.
    call
        What they do, pickled.
    label
        What tells the item from others.
    weight
        How much work it is: of those that wait, the heaviest is begun first, so that no worker is left with it at the
        end.
    """

    def __init__(self, pool: "DaskPool", call: bytes, label: str, weight: int = 0) -> None:
        super().__init__()
        self._pool, self._call, self.label, self.weight = pool, call, label, weight
        self._changing = threading.Lock()
        self._n_lost = 0
        with self._changing:
            self._begin()

    def begin_again(self) -> None:
        """Have another worker do it, unless it is done."""
        with self._changing:
            if self.done():
                return
            self._pool.end(self._task)
            try:
                self._begin()
            except ExpectedError as error:
                self.set_exception(error)

    def _begin(self) -> None:
        self.only = self._pool.chosen()
        self._task = self._pool.begin(self, self._call, self.only)
        self._task.add_done_callback(self._finished)

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
            raise unable("a worker", error) from error
        if reason:
            raise refused(reason)
        return result

    def cancel(self) -> bool:
        """Have the cluster forget the task, without waiting for it."""
        with self._changing:
            self._pool.end(self._task)
            return super().cancel()

    def _finished(self, task: Any) -> None:
        """Get the result of a task that ended; a thread of Dask's calls this, for one task after another."""
        if task.status == "finished":
            self._pool.fetch(task).add_done_callback(partial(self._arrived, task))
            return
        try:
            task.result()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller of `result` gets it
            self._settle(task, error=error)

    def _arrived(self, task: Any, fetched: "Future[Any]") -> None:
        """Take what the scheduler sent of a task's result; have it made again if the worker that had it is gone."""
        try:
            answer = fetched.result()
        except (OSError, CancelledError):
            self._settle(task, error=CancelledError())
            return
        if answer["status"] == "OK":
            self._settle(task, answer["data"][task.key])
        elif self._n_lost == MOST_LOST:
            what = f"{task.key[2]} was done {MOST_LOST + 1} times, and its result could not be fetched"
            self._settle(task, error=ExpectedError(f"DASK_SCHEDULER: {what}; the workers' logs say why"))
        elif task is self._task:
            self._n_lost += 1
            self.begin_again()

    def _settle(self, task: Any, value: Any = None, error: BaseException | None = None) -> None:
        """Take a result, or the exception that came instead, if it is that of the present task and none was taken."""
        with self._changing:
            if task is not self._task or self.done():
                return
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
            self._pool.end(task)
