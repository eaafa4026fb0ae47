"""Read what the memory logs say of the last run of each stage.

In: data/logs/<stage>.jsonl, one JSON object a line. A run is everything of one (stage, name) from its last "start" on.
A log is not a product: a killed stage leaves half a line, an older version other keys. So what cannot be read is left
out, and what is missing is None. Memory is bounded: a run keeps at most
`MAX_SAMPLES` samples, of neighbours the higher.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in one record."""
        time = float(entry["time"])
        self.ended = max(self.ended, time)
        self._add_memory(time, entry)
        match entry["event"]:
            case "chunk":
                self._add_chunk(entry)
            case "before save":
                self.saving = (time, time)
            case "start" | "end":
                self.saving = (self.saving[0], time) if self.saving else None
                self.n_units = _count(entry, "n_units", self.n_units)
                self.n_rows = _count(entry, "n_rows", self.n_rows)
                self.is_finished = entry["event"] == "end"
                self.counts = _counts(entry)

    def _add_memory(self, time: float, entry: Mapping[str, Any]) -> None:
        used = next((v for key in ("pss_mb", "tree_mb", "rss_mb") if (v := _number(entry, key)) is not None), None)
        peak = _number(entry, "peak_mb") or 0.0
        self.budget_mb = _number(entry, "budget_mb") or self.budget_mb
        if used is not None:
            has_risen = bool(self.samples) and peak > self.peak_mb
            self.samples.append((time, max(used, peak) if has_risen else used))
        self.peak_mb = max(self.peak_mb, used or 0.0, peak)
        if len(self.samples) >= MAX_SAMPLES:
            pairs = zip(self.samples[::2], self.samples[1::2], strict=True)
            self.samples = [max(pair, key=lambda sample: sample[1]) for pair in pairs]

    def _add_chunk(self, entry: Mapping[str, Any]) -> None:
        started, seconds = _number(entry, "started"), _number(entry, "seconds")
        if started is not None and seconds is not None:
            counts = (_count(entry, "n_units", 0) or 0, _count(entry, "n_rows", 0) or 0)
            worker, unit = str(entry.get("worker", "?")), str(entry.get("unit", ""))
            self.chunks.append(ChunkRecord(worker, started, max(0.0, seconds), unit, *counts))


def read_runs(folder: Path, dataset: str) -> list[Run]:
    """Return the last run of each stage and batch of a dataset, in the order they began."""
    own_name = re.compile(rf"{re.escape(dataset)}(?:-(b[01]*))?")
    runs: dict[tuple[str, str], Run] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for entry in _entries(path):
            stage, name = str(entry["stage"]), str(entry["name"])
            found = own_name.fullmatch(name)
            if found and (entry["event"] == "start" or (stage, name) not in runs):
                runs[stage, name] = Run(stage, name, found[1] or "", float(entry["time"]), float(entry["time"]))
            if found:
                runs[stage, name].add(entry)
    return sorted(runs.values(), key=lambda run: (run.started, run.stage, run.name))


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a log that can be read."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            is_record = isinstance(entry, dict) and {"stage", "name", "event"} <= set(entry)
            if is_record and _number(entry, "time") is not None:
                yield entry


def _number(entry: Mapping[str, Any], key: str) -> float | None:
    value = entry.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and value is not None else None


def _counts(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return what an event says in numbers of its own."""
    own = {str(key): number for key in entry if key not in MEASURED and (number := _number(entry, key)) is not None}
    return dict(list(own.items())[:MAX_COUNTS])


def _count(entry: Mapping[str, Any], key: str, default: int | None) -> int | None:
    value = _number(entry, key)
    return default if value is None else int(value)
