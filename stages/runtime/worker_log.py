"""What a worker of a cluster notes of a piece of work: it is sent back, for the run to write into its own log."""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from stages.runtime import memory_log, notes
from stages.runtime.memory import Watch


class WorkerLog:
    """The log of one piece of work, and the watch over the worker's memory; use it in a ``with`` statement.

    The watch interrupts nothing, since the worker's main thread is not the one that works: `record` sees that the
    budget is kept, and Dask itself ends a worker that exceeds its limit.

    Parameters
    ----------
    stage
        The verb.
    name
        What it works on.
    budget_mb
        Of the worker's process.

    Attributes
    ----------
    entries
        Lines for data/logs/<stage>.jsonl.
    told
        What a user should see: level and line.
    """

    def __init__(self, stage: str, name: str, budget_mb: float) -> None:
        self._stage, self._name = stage, name
        self.doing: Callable[[], str] = str
        advice = "start workers with a larger --memory-limit, or lower the dataset's batch_size"
        self.watch = Watch(lambda: f"{stage} {name}{self.doing()}", lambda _: None, advice, True, budget_mb)
        self.entries: list[dict[str, Any]] = []
        self.told: list[tuple[int, str]] = []
        self._started, self._cpu_s = time.time(), time.thread_time()

    def __enter__(self) -> Self:
        self.watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.watch.close()

    def record(self, event: str, **counts: float) -> None:
        """Measure and note one event; before the end also who did the work, and when.

        Raises
        ------
        OverBudget
            When the worker uses more than the budget.
        """
        self.watch.measure()
        if event == "end":
            seconds = time.time() - self._started
            times = {"worker": notes.worker_name(), "started": round(self._started, 3), "seconds": round(seconds, 4)}
            self._add("chunk", **times, unit=self._name, **counts)
            self.told.append((logging.INFO, memory_log.told(self._stage, self._name, "done", self.watch, counts)))
        self._add(event, **counts)

    def note(self, event: str, **counts: object) -> None:
        """Leave out what would be many lines: the chunks."""

    def tell(self, line: str) -> None:
        """Have a warning told where the run is."""
        self.told.append((logging.WARNING, line))

    def _add(self, event: str, **counts: object) -> None:
        cpu_s = time.thread_time() - self._cpu_s
        self.entries.append(memory_log.entry(self._stage, self._name, event, self.watch, cpu_s) | counts)
