"""What a stage did, when, and with how much memory: one JSON object a line in data/logs/<stage>.jsonl.

No DVC hash sees the file; beyond 8 MB its older half is dropped. A line is written with one call, so that a kill or
another stage at the same time does not tear it; a full disk or a crash of the machine may, and readers leave out what
is no record. Keys of a line:

- ``time`` (s since the epoch), ``stage``, ``name`` (a dataset, or a dataset and a batch), ``event``;
- ``rss_mb`` (this process), ``pss_mb`` (proportional set size of the process tree), ``peak_mb`` (greatest so far),
  ``swap_mb`` (of the tree), ``available_mb`` (of the machine), ``budget_mb``;
- ``cpu_s`` (of this process and its finished children), and the event's own counts, such as ``n_rows``.

Events: ``start``, ``sample`` (of the watch), ``chunk`` (a chunk of units came back from a worker: ``worker``,
``started``, ``seconds``, ``unit``, ``n_units``, ``n_rows``), the stage's own, and ``end``.
"""

import contextlib
import errno
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stages.core import paths
from stages.core.files import atomic
from stages.runtime import memory

logger = logging.getLogger("batchwise")

MOST_BYTES = 8 << 20
SWAP_WORTH_SAYING_MB = 1
# What helps a stage that uses too much, by its name, beside a larger budget: the size of a batch is no help to those
# that read no batches, nor fewer workers to those that have none.
KNOBS = {
    "simulate": ", or lower JOBS",
    "process": ", or lower JOBS or the dataset's batch_size",
    "merge": ", or lower the dataset's batch_size",
    "train": ", or set train.<dataset>.micro_batch",
}


class MemoryLog:
    """The log of one run of a stage, and the watch over its memory budget; use it in a ``with`` statement.

    Parameters
    ----------
    stage
        The verb.
    name
        What it works on.

    Raises
    ------
    OverBudget
        From anywhere in the block, when the process tree uses more than the budget.
    """

    def __init__(self, stage: str, name: str) -> None:
        self._stage, self._name = stage, name
        self.doing: Callable[[], str] = str
        self._path = _opened(stage)
        advice = f"raise MEMORY_GB{KNOBS.get(stage, '')}"
        self.watch = memory.Watch(lambda: f"{stage} {name}{self.doing()}", self._sample, advice)
        self._swap_mb = self.watch.usage.swap_mb
        self._kept = memory.kept_budget(self.watch)

    def __enter__(self) -> Self:
        self._kept.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._kept.__exit__(kind, error, where)
        grown = self.watch.usage.swap_mb - self._swap_mb
        if grown > SWAP_WORTH_SAYING_MB:
            logger.warning("%s %s: %.0f MB were swapped out; lower MEMORY_GB", self._stage, self._name, grown)

    def record(self, event: str, **counts: float) -> None:
        """Measure and log one event with its counts, such as ``n_rows``; ``end`` is also told on stderr.

        Raises
        ------
        OverBudget
            When the process tree uses more than the budget.
        """
        self.watch.measure()
        self.note(event, **counts)
        level, word = (logging.INFO, "done") if event == "end" else (logging.DEBUG, event)
        if logger.isEnabledFor(level):
            logger.log(level, told(self._stage, self._name, word, self.watch, counts))

    def note(self, event: str, **counts: object) -> None:
        """Log one event with its counts, and with the memory as last measured: 0.1 ms."""
        line = entry(self._stage, self._name, event, self.watch, _cpu_s()) | counts
        _append(self._path, [line])

    def _sample(self, _: memory.Usage) -> None:
        with contextlib.suppress(OSError):  # the next event tells of it in the main thread; the watch must go on
            self.note("sample")


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def entry(stage: str, name: str, event: str, watch: memory.Watch, cpu_s: float) -> dict[str, Any]:
    """Return what a line of a log says of any event, with the memory as last measured."""
    now = watch.usage
    return {
        "time": round(time.time(), 3),
        "stage": stage,
        "name": name,
        "event": event,
        "rss_mb": round(now.rss_mb, 1),
        "pss_mb": round(now.pss_mb, 1),
        "peak_mb": round(watch.peak_mb, 1),
        "swap_mb": round(now.swap_mb, 1),
        "available_mb": round(memory.available_mb(), 1),
        "budget_mb": round(watch.budget_mb, 1),
        "cpu_s": round(cpu_s, 3),
    }


def told(stage: str, name: str, word: str, watch: memory.Watch, counts: Mapping[str, float]) -> str:
    """Return the line that tells of an event on stderr."""
    details = "".join(f", {value:,} {name.removeprefix('n_')}" for name, value in counts.items())
    sizes = f"{watch.usage.pss_mb:.0f} MB, at most {watch.peak_mb:.0f} MB of {watch.budget_mb:,.0f} MB allowed"
    return f"{stage} {name}: {word}{details} | memory {sizes}"


def add(stage: str, entries: Iterable[Mapping[str, object]]) -> None:
    """Add lines to a log that were made elsewhere."""
    _append(_opened(stage), entries)


def _opened(stage: str) -> Path:
    """Return the path of a log to which lines can be added."""
    path = paths.LOG_DIR / f"{stage}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    _shorten(path)
    _end_last_line(path)
    return path


def _append(path: Path, entries: Iterable[Mapping[str, object]]) -> None:
    _append_bytes(path, "".join(f"{json.dumps(entry)}\n" for entry in entries).encode())


def _append_bytes(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(file, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


def _shorten(path: Path) -> None:
    """Drop the older half of a log that grew too long."""
    if path.exists() and path.stat().st_size > MOST_BYTES:
        with path.open("rb") as file:
            file.seek(-MOST_BYTES // 2, os.SEEK_END)
            newer = file.read().partition(b"\n")[2]
        with atomic(path) as temporary:
            temporary.write_bytes(newer)


def _end_last_line(path: Path) -> None:
    """End a torn line, so that it does not take the next one with it."""
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            is_torn = file.read() != b"\n"
        if is_torn:
            _append_bytes(path, b"\n")


# Reading.


def busy_seconds(times: Iterable[tuple[float, float]]) -> float:
    """Return for how long something was at work, from the beginning and the end of each piece of work.

    Pieces that ran side by side count once: 0 to 4 and 1 to 5 are 5 s.
    """
    seconds, until = 0.0, -math.inf
    for first, last in sorted(times):
        seconds += max(0.0, last - max(first, until))
        until = max(until, last)
    return seconds


@dataclass(frozen=True)
class LogEntry:
    """A line of a log: its time, stage, name and event, and all that it says by its keys."""

    time: float
    stage: str
    name: str
    event: str
    content: Mapping[str, Any]

    def number(self, key: str) -> float | None:
        """Return what the line says of a key, None if that is no finite number."""
        return _number(self.content.get(key))


def records(path: Path) -> Iterator[LogEntry]:
    """Yield the records of a log, if it is there; a line that is torn or not ours is left out."""
    n_left_out = 0
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                record = _record(line)
                n_left_out += record is None and bool(line.strip())
                if record is not None:
                    yield record
    if n_left_out:
        logger.debug("%s: left out %d lines that are no records", path, n_left_out)


def _record(line: str) -> LogEntry | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    time_s = _number(content.get("time"))
    words = [content.get(key) for key in ("stage", "name", "event")]
    if time_s is None or None in words:
        return None
    stage, name, event = map(str, words)
    return LogEntry(time_s, stage, name, event, content)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
