"""Turn the raw units of one batch into one NPZ of typed arrays.

In: data/manifests/<dataset>/batches/<batch>.json and the raw files it names.
Out: data/intermediate/<dataset>/<batch>.npz with one array per field of the dataset (rows in the order of the units'
keys, then as in the unit), and

- ``group_id`` uint64 (G,), ``group_offsets`` int64 (G+1,): the groups, whose rows are contiguous;
- ``source`` int32 (G,): the unit of each group, an index into the units of ``meta``;
- ``meta`` uint8: JSON with the batch, its units, the units left out with reasons, and the fields as in fields.json.

Units travel to the workers in chunks; results come back in order, so the bytes depend on neither workers nor timing.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.core import manifests, paths, units
from stages.core.errors import BadUnit, ExpectedError
from stages.core.params import DatasetParams, load
from stages.datasets import base
from stages.processing.chunk_budget import Pacer, room_mb
from stages.processing.chunks import GROUP_DTYPES, Chunk, Encoded, encode_chunk
from stages.processing.spool import Spool
from stages.runtime import cli
from stages.runtime.display import Display, WorkerProgress
from stages.runtime.memory import share_heaps
from stages.runtime.memory_log import MemoryLog
from stages.runtime.workers import Workers

logger = logging.getLogger("batchwise")

SPOOL_SHARE = 0.25  # of the memory budget: what encoded rows may take before they go to disk


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


def process(dataset: str, batch: str, params: DatasetParams) -> None:
    """Make the NPZ of one batch.

    Raises
    ------
    BadUnit
        When more units than `max_bad_units` are not well-formed; nothing is written then.
    ExpectedError
        When a raw file changed since discover, the encoder fails on a unit, or the memory budget is exceeded.
    """
    share_heaps()
    batch_units = manifests.read_manifest(dataset, batch)
    whole = Chunk(dataset, params.raw_dir, params.options, batch_units, 0, 0.0)
    counts = {"n_units": len(batch_units), "n_files": len({s.path for unit in batch_units for s in unit.sources})}
    title = _title(dataset, batch, batch_units)
    with (
        MemoryLog("process", f"{dataset}-{batch}") as log,
        Spool(paths.intermediate(dataset, batch), SPOOL_SHARE * log.watch.budget_mb) as spool,
    ):
        log.record("start", **counts)
        outcome = _encode_all(whole, title, spool, log, params.max_bad_units)
        spool.append("meta", _meta(whole, batch, outcome))
        _tell(whole, outcome.findings)
        log.record("before save", n_rows=outcome.n_rows)
        spool.save()
        log.record("end", **counts, n_rows=outcome.n_rows, n_bad_units=len(outcome.bad))


def _encode_all(whole: Chunk, title: str, spool: Spool, log: MemoryLog, most_bad: int) -> Outcome:
    """Have the workers encode all units, and spool their arrays in the order of the units."""
    encoder = base.encoder(whole.dataset)
    outcome = Outcome()
    room = room_mb(log.watch, spool.limit_mb)

    # Every array is there, also when no unit is good.
    for name, empty in _empty(encoder.FIELDS).items():
        spool.append(name, empty)

    with (
        Workers("threading", room / 2) as workers,
        Display(WorkerProgress(title, units.noun(whole.units), len(whole.units), workers), log.watch) as progress,
    ):
        pacer = Pacer(whole, encoder.CHUNK_UNITS, workers, log.watch, room)
        log.doing = pacer.doing
        # The workers finish chunks in any order; they come back in that of the units.
        for done in workers.ordered(encode_chunk, pacer, pacer.has_room):
            n_new = _take(done.result, outcome, spool)
            _refuse_too_many(outcome.bad, most_bad, whole.dataset)
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


def _tell(whole: Chunk, findings: Sequence[Mapping[str, Any]]) -> None:
    """Say on stderr what was found wrong within units, and where each reason occurs first."""
    by_key = {unit.key: unit for unit in whole.units}
    for reason in sorted({str(found["reason"]) for found in findings}):
        found = [found for found in findings if found["reason"] == reason]
        [(path, line)] = base.locate(whole.dataset, whole.raw_dir, by_key[found[0]["unit"]], [found[0]["line"]])
        logger.warning("%s:%d: %s (%s such in this batch)", path, line, reason, f"{sum(f['count'] for f in found):,}")


def _title(dataset: str, batch: str, batch_units: Sequence[units.Unit]) -> str:
    """Return the line that says which batch this is: "Processing batch 3/16 (b0101, 500 files)"."""
    listed, n_units = manifests.read_batch_list(dataset), len(batch_units)
    place = f"{listed.index(batch) + 1}/{len(listed)}" if batch in listed else f"of {dataset}"
    return f"Processing batch {place} ({batch}, {n_units:,} {units.noun(batch_units, n_units)})"


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


def _meta(whole: Chunk, batch: str, outcome: Outcome) -> np.ndarray:
    """Return the JSON that travels in the NPZ, as bytes."""
    fields = base.encoder(whole.dataset).FIELDS
    here = f"{whole.raw_dir}{os.sep}"
    content = {
        "batch": batch,
        "dataset": whole.dataset,
        "units": [unit.key for unit in whole.units],
        "findings": outcome.findings,
        "bad_units": [
            {"unit": key, "reason": reason.removeprefix(here)} for key, reason in sorted(outcome.bad.items())
        ],
        "fields": [fields[name].header(name) for name in sorted(fields)],
    }
    return np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.verb_parser("process", "Turn the raw units of a batch into data/intermediate/<dataset>/<batch>.npz.")
    parser.add_argument("batch", nargs="?", help="a batch id such as b01; default: every listed batch")
    arguments = parser.parse_args()
    dataset, finished = arguments.dataset, set[str]()

    def action() -> None:
        params = load().dataset(dataset)
        listed = manifests.read_batch_list(dataset)
        if arguments.batch and arguments.batch not in listed and "DVC_STAGE" in os.environ:
            _leave_placeholder(dataset, arguments.batch)
            return
        if not arguments.batch and not listed:
            where = paths.batch_list(dataset)
            raise ExpectedError(f"{where}: no batches, expected at least one; run discover first")
        todo = [arguments.batch] if arguments.batch else listed
        finished.update(batch for batch in listed if batch not in todo and paths.intermediate(dataset, batch).is_file())
        for batch in todo:
            process(dataset, batch, params)
            finished.add(batch)

    def kept() -> str:
        n_listed = len(manifests.read_batch_list(dataset))
        return f"{len(finished)} of {n_listed} batches of {dataset} are finished and kept"

    return cli.run(action, kept)


def _leave_placeholder(dataset: str, batch: str) -> None:
    """Give DVC an empty file for a batch that the list named when this run began and no longer does.

    Merge removes it at the end of the same run.
    """
    logger.info("process %s-%s: no longer in the batch list, nothing to do", dataset, batch)
    path = paths.intermediate(dataset, batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


if __name__ == "__main__":
    sys.exit(main())
