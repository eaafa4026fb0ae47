"""The NPZ of a batch: its units encoded a chunk at a time, spooled in the order of the units, saved as one file.

Where that happens, a `Bench` says: in the stage's own process, or on a worker of a cluster. The bytes are the same.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from stages.core import manifests, units
from stages.core.errors import BadUnit
from stages.core.params import DatasetParams
from stages.datasets import base
from stages.processing.chunk_budget import Pacer, room_mb
from stages.processing.chunks import GROUP_DTYPES, Chunk, Encoded, encode_chunk
from stages.processing.spool import Spool
from stages.runtime.memory import Watch
from stages.runtime.workers import Workers

SPOOL_SHARE = 0.25  # of the memory budget: what encoded rows may take before they go to disk


class Log(Protocol):
    """What is noted of a batch while it is made."""

    watch: Watch
    doing: Callable[[], str]

    def record(self, event: str, **counts: float) -> None:
        """Measure and note one event."""

    def note(self, event: str, **counts: object) -> None:
        """Note one event."""


class Advances(Protocol):
    """What is told how far a batch is."""

    def advance(self, n_units: int, n_rows: int) -> None:
        """Note that so many more units and rows are done."""


@dataclass(frozen=True)
class Bench:
    """Where a batch is made.

    Attributes
    ----------
    log
        What is noted, with the watch over the memory.
    opened
        Gives, for the batch and the MB that workers may take, who encodes its chunks, and whom to tell.
    share
        Of the memory, that this batch may take.
    """

    log: Log
    opened: "Callable[[PlannedBatch, float], AbstractContextManager[tuple[Workers, Advances]]]"
    share: float = 1.0


@dataclass(frozen=True)
class PlannedBatch:
    """A batch that is to be made."""

    name: str
    whole: Chunk
    most_bad: int

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.whole.dataset

    @property
    def counts(self) -> dict[str, int]:
        """How many units and files it has."""
        files = {source.path for unit in self.whole.units for source in unit.sources}
        return {"n_units": len(self.whole.units), "n_files": len(files)}

    @property
    def title(self) -> str:
        """The line that says which batch this is: "Processing batch 3/16 (b0101, 500 files)"."""
        listed, n_units = manifests.read_batch_list(self.dataset), len(self.whole.units)
        place = f"{listed.index(self.name) + 1}/{len(listed)}" if self.name in listed else f"of {self.dataset}"
        return f"Processing batch {place} ({self.name}, {n_units:,} {units.noun(self.whole.units, n_units)})"


@dataclass
class Outcome:
    """What was made of a batch so far.

    Attributes
    ----------
    n_rows
        Rows of all good units.
    bad
        The units left out, with reasons.
    findings
        What was left out within units.
    """

    n_rows: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


def read(dataset: str, name: str, params: DatasetParams) -> PlannedBatch:
    """Return the batch that its manifest describes."""
    batch_units = manifests.read_manifest(dataset, name)
    whole = Chunk(dataset, params.raw_dir, params.options, batch_units, 0, 0.0)
    return PlannedBatch(name, whole, params.max_bad_units)


def make(batch: PlannedBatch, path: Path, bench: Bench, tell: Callable[[str], None]) -> None:
    """Make the NPZ of a batch.

    Parameters
    ----------
    batch
        What is to be made.
    path
        Where to; the file is there whole or not at all.
    bench
        Where it is made.
    tell
        Called with each line that a user should see of what was left out within units.

    Raises
    ------
    BadUnit
        When more units than `most_bad` are not well-formed; nothing is written then.
    ExpectedError
        When a raw file changed since discover, the encoder fails on a unit, or the memory budget is exceeded.
    """
    log = bench.log
    with Spool(path, SPOOL_SHARE * bench.share * log.watch.budget_mb) as spool:
        log.record("start", **batch.counts)
        outcome = _encode_all(batch, spool, bench)
        spool.append("meta", _meta(batch, outcome))
        for line in _lines(batch.whole, outcome.findings):
            tell(line)
        log.record("before save", n_rows=outcome.n_rows)
        spool.save()
        log.record("end", **batch.counts, n_rows=outcome.n_rows, n_bad_units=len(outcome.bad))


def _encode_all(batch: PlannedBatch, spool: Spool, bench: Bench) -> Outcome:
    """Have the workers encode all units, and spool their arrays in the order of the units."""
    encoder = base.encoder(batch.dataset)
    outcome, log = Outcome(), bench.log
    room = bench.share * room_mb(log.watch, spool.limit_mb)

    # Every array is there, also when no unit is good.
    for name, empty in _empty(encoder.FIELDS).items():
        spool.append(name, empty)

    with bench.opened(batch, room / 2) as (workers, progress):
        pacer = Pacer(batch.whole, encoder.CHUNK_UNITS, workers, log.watch, room)
        log.doing = pacer.doing
        # The workers finish chunks in any order; they come back in that of the units.
        for done in workers.ordered(encode_chunk, pacer, pacer.has_room):
            n_new = _take(done.result, outcome, spool)
            _refuse_too_many(outcome.bad, batch.most_bad, batch.dataset)
            chunk = pacer.done(spool.memory_mb)
            progress.advance(len(chunk.units), n_new)
            times = {"worker": done.worker, "started": round(done.started, 3), "seconds": round(done.seconds, 4)}
            log.note("chunk", **times, unit=chunk.units[0].key, n_units=len(chunk.units), n_rows=n_new)
    return outcome


def _take(encoded: Encoded, outcome: Outcome, spool: Spool) -> int:
    """Add what a worker made of a chunk to the outcome and the spool; return its number of rows."""
    outcome.bad |= encoded.bad
    outcome.findings += encoded.findings
    for name, piece in encoded.arrays.items():
        # Offsets begin at 0 in each chunk; in the batch they go on behind the rows that are there.
        spool.append(name, piece[1:] + outcome.n_rows if name == "group_offsets" else piece)
    n_new = int(encoded.arrays["group_offsets"][-1]) if encoded.arrays else 0
    outcome.n_rows += n_new
    return n_new


def _lines(whole: Chunk, findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was found wrong within units: a line for each reason, with the place where it occurs first."""
    by_key = {unit.key: unit for unit in whole.units}
    lines = []
    for reason in sorted({str(found["reason"]) for found in findings}):
        found = [found for found in findings if found["reason"] == reason]
        [(path, line)] = base.locate(whole.dataset, whole.raw_dir, by_key[found[0]["unit"]], [found[0]["line"]])
        lines.append(f"{path}:{line}: {reason} ({sum(f['count'] for f in found):,} such in this batch)")
    return lines


def _empty(fields: Mapping[str, base.Field]) -> dict[str, np.ndarray]:
    """Return each member without rows, so that a batch without a good unit is an NPZ like any other."""
    empty = {name: np.empty((0, *field.shape), field.dtype) for name, field in fields.items()}
    empty |= {name: np.empty(0, dtype) for name, dtype in GROUP_DTYPES.items()}
    return empty | {"group_offsets": np.zeros(1, np.int64)}


def _refuse_too_many(bad: Mapping[str, str], most: int, dataset: str) -> None:
    if len(bad) > most:
        reason = next(iter(bad.values()))
        if most == 0:
            raise BadUnit(reason)
        raise BadUnit(f"{len(bad)} bad units, expected at most {dataset}.max_bad_units = {most}; the first: {reason}")


def _meta(batch: PlannedBatch, outcome: Outcome) -> np.ndarray:
    """Return the JSON that travels in the NPZ, as bytes."""
    fields = base.encoder(batch.dataset).FIELDS
    here = f"{batch.whole.raw_dir}{os.sep}"
    content = {
        "batch": batch.name,
        "dataset": batch.dataset,
        "units": [unit.key for unit in batch.whole.units],
        "findings": outcome.findings,
        "bad_units": [
            {"unit": key, "reason": reason.removeprefix(here)} for key, reason in sorted(outcome.bad.items())
        ],
        "fields": [fields[name].header(name) for name in sorted(fields)],
    }
    return np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)
