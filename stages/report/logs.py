"""Read what the memory logs say of the last run of each stage.

In: data/logs/<stage>.jsonl, one JSON object a line. A run is everything of one (stage, name) from its last "start" on.
A log is not a product: a crash leaves half a line, an older version other keys. So what cannot be read is left out,
and what is missing is None. Memory is bounded: a run keeps at most `MAX_SAMPLES` samples, of neighbours the higher.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from stages.runtime.memory_log import LogEntry, records

MAX_SAMPLES = 4096
MAX_COUNTS = 50
MEASURED = {"time", "rss_mb", "pss_mb", "tree_mb", "peak_mb", "swap_mb", "available_mb", "budget_mb", "cpu_s"}


@dataclass(frozen=True)
class ChunkRecord:
    """Some units that one worker encoded: `started` in s since the epoch, `seconds` long."""

    worker: str
    started: float
    seconds: float
    unit: str
    n_units: int
    n_rows: int


@dataclass
class Run:
    """The last run of one stage.

    Attributes
    ----------
    stage, name, batch
        The verb, what it worked on, and the batch in that; empty when it is a whole dataset.
    started, ended
        Times of the first and the last record, s since the epoch.
    is_finished
        The stage came to its end.
    samples
        Pairs of time and MB of the process tree; a peak reached since the record before counts.
    saving
        When the batch was written, or None.
    counts
        The numbers that the last record gives beside time and memory, by their keys; at most `MAX_COUNTS`.
    """

    stage: str
    name: str
    batch: str
    started: float
    ended: float
    is_finished: bool = False
    samples: list[tuple[float, float]] = field(default_factory=list)
    peak_mb: float = 0.0
    budget_mb: float | None = None
    chunks: list[ChunkRecord] = field(default_factory=list)
    n_units: int | None = None
    n_rows: int | None = None
    saving: tuple[float, float] | None = None
    counts: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Time from the first record to the last."""
        return max(0.0, self.ended - self.started)

    def add(self, record: LogEntry) -> None:
        """Take in one record."""
        time = record.time
        self.ended = max(self.ended, time)
        self._add_memory(record)
        match record.event:
            case "chunk":
                self._add_chunk(record)
            case "before save":
                self.saving = (time, time)
            case "start" | "end":
                self.saving = (self.saving[0], time) if self.saving else None
                self.n_units = _count(record, "n_units", self.n_units)
                self.n_rows = _count(record, "n_rows", self.n_rows)
                self.is_finished = record.event == "end"
                self.counts = _counts(record)

    def _add_memory(self, record: LogEntry) -> None:
        used = next((v for key in ("pss_mb", "tree_mb", "rss_mb") if (v := record.number(key)) is not None), None)
        peak = record.number("peak_mb") or 0.0
        self.budget_mb = record.number("budget_mb") or self.budget_mb
        if used is not None:
            has_risen = bool(self.samples) and peak > self.peak_mb
            self.samples.append((record.time, max(used, peak) if has_risen else used))
        self.peak_mb = max(self.peak_mb, used or 0.0, peak)
        if len(self.samples) >= MAX_SAMPLES:
            pairs = zip(self.samples[::2], self.samples[1::2], strict=True)
            self.samples = [max(pair, key=lambda sample: sample[1]) for pair in pairs]

    def _add_chunk(self, record: LogEntry) -> None:
        started, seconds = record.number("started"), record.number("seconds")
        if started is not None and seconds is not None:
            counts = (_count(record, "n_units", 0) or 0, _count(record, "n_rows", 0) or 0)
            worker, unit = str(record.content.get("worker", "?")), str(record.content.get("unit", ""))
            self.chunks.append(ChunkRecord(worker, started, max(0.0, seconds), unit, *counts))


def read_runs(folder: Path, dataset: str) -> list[Run]:
    """Return the last run of each stage and batch of a dataset, in the order they began."""
    own_name = re.compile(rf"{re.escape(dataset)}(?:-(b[01]*))?")
    runs: dict[tuple[str, str], Run] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for record in records(path):
            stage, name = record.stage, record.name
            found = own_name.fullmatch(name)
            if found and (record.event == "start" or (stage, name) not in runs):
                runs[stage, name] = Run(stage, name, found[1] or "", record.time, record.time)
            if found:
                runs[stage, name].add(record)
    return sorted(runs.values(), key=lambda run: (run.started, run.stage, run.name))


def _counts(record: LogEntry) -> dict[str, float]:
    """Return what an event says in numbers of its own."""
    own = {key: number for key in record.content if key not in MEASURED and (number := record.number(key)) is not None}
    return dict(list(own.items())[:MAX_COUNTS])


def _count(record: LogEntry, key: str, default: int | None) -> int | None:
    value = record.number(key)
    return default if value is None else int(value)
