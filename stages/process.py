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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays, cli, paths, units
from stages.datasets import base
from stages.errors import BadUnit, ExpectedError
from stages.memory import MemoryLog
from stages.params import DatasetParams, load
from stages.workers import ordered

logger = logging.getLogger("batchwise")

CHUNKS_PER_RECORD = 4
GROUP_DTYPES = {"group_id": np.uint64, "group_offsets": np.int64, "source": np.int32}


@dataclass(frozen=True)
class Chunk:
    """What a worker needs to encode some units; `first` is the index of the first one in its batch."""

    dataset: str
    raw_dir: Path
    options: Mapping[str, Any]
    units: Sequence[units.Unit]
    first: int


@dataclass(frozen=True)
class Encoded:
    """The arrays of a chunk, and the units left out with the reason, by key."""

    arrays: dict[str, np.ndarray]
    bad: dict[str, str]


def encode_chunk(chunk: Chunk) -> Encoded:
    """Read and encode the units of a chunk; a bad one costs only itself."""
    encoder = base.encoder(chunk.dataset)
    good, bad = list(chunk.units), dict[str, str]()
    try:
        table = encoder.read(chunk.raw_dir, good, chunk.options)
    except BadUnit:
        bad = _bad_units(encoder, chunk)
        good = [unit for unit in chunk.units if unit.key not in bad]
        if not good:
            return Encoded({}, bad)
        table = encoder.read(chunk.raw_dir, good, chunk.options)
    result = encoder.encode(table, chunk.options)
    place = {unit.key: chunk.first + i for i, unit in enumerate(chunk.units)}
    result["source"] = np.array([place[unit.key] for unit in good], np.int32)[result["source"]]
    _check(encoder.FIELDS, result)
    return Encoded(result, bad)


def _bad_units(encoder: base.Encoder, chunk: Chunk) -> dict[str, str]:
    reasons = {}
    for unit in chunk.units:
        try:
            encoder.read(chunk.raw_dir, [unit], chunk.options)
        except BadUnit as error:
            reasons[unit.key] = str(error)
    return reasons


def _check(fields: Mapping[str, base.Field], result: Mapping[str, np.ndarray]) -> None:
    """Check that a dataset's encoder gives the arrays it declares."""
    if set(result) != {*fields, *GROUP_DTYPES}:
        raise TypeError(f"encode gave {sorted(result)}, expected {sorted([*fields, *GROUP_DTYPES])}")
    n_rows = int(result["group_offsets"][-1])
    for name, field in fields.items():
        array = result[name]
        if array.dtype != field.dtype or array.shape != (n_rows, *field.shape):
            raise TypeError(f"encode gave {name} as {array.dtype}{array.shape}, expected {field} for {n_rows} rows")


def process(dataset: str, batch: str, params: DatasetParams) -> None:
    """Make the NPZ of one batch.

    Raises
    ------
    BadUnit
        When more units than `max_bad_units` are not well-formed; nothing is written then.
    ExpectedError
        When a raw file changed since discover, or the memory budget is exceeded.
    """
    batch_units = units.read_manifest(dataset, batch)
    log = MemoryLog("process", f"{dataset}-{batch}")
    log.record("start", n_units=len(batch_units))
    encoder = base.encoder(dataset)
    pieces, bad, n_rows = _empty(encoder.FIELDS), dict[str, str](), 0
    for number, encoded in enumerate(ordered(encode_chunk, _chunks(dataset, params, batch_units), "threading"), 1):
        bad |= encoded.bad
        _refuse_too_many(bad, params.max_bad_units, dataset)
        for name, piece in encoded.arrays.items():
            pieces[name].append(piece + n_rows if name == "group_offsets" else piece)
        n_rows = int(pieces["group_offsets"][-1][-1])
        if number % CHUNKS_PER_RECORD == 0:
            log.record("chunk", n_units=min(number * encoder.CHUNK_UNITS, len(batch_units)), n_rows=n_rows)
    pieces["group_offsets"] = [offsets[min(i, 1) :] for i, offsets in enumerate(pieces["group_offsets"])]
    pieces["meta"] = [_meta(dataset, batch, batch_units, bad, params)]
    log.record("before save", n_rows=n_rows)
    arrays.save_npz(paths.intermediate(dataset, batch), pieces)
    log.record("after save", n_rows=n_rows)
    pieces.clear()
    log.record("end", n_units=len(batch_units), n_rows=n_rows, n_bad_units=len(bad))


def _chunks(dataset: str, params: DatasetParams, batch_units: Sequence[units.Unit]) -> Iterator[Chunk]:
    size = base.encoder(dataset).CHUNK_UNITS
    for first in range(0, len(batch_units), size):
        yield Chunk(dataset, params.raw_dir, params.options, batch_units[first : first + size], first)


def _empty(fields: Mapping[str, base.Field]) -> dict[str, list[np.ndarray]]:
    """Return per member one piece without rows, so that a batch without a good unit is an NPZ like any other."""
    pieces = {name: [np.empty((0, *field.shape), field.dtype)] for name, field in fields.items()}
    pieces |= {name: [np.empty(0, dtype)] for name, dtype in GROUP_DTYPES.items()}
    return pieces | {"group_offsets": [np.zeros(1, np.int64)]}


def _refuse_too_many(bad: Mapping[str, str], most: int, dataset: str) -> None:
    if len(bad) > most:
        reason = next(iter(bad.values()))
        if most == 0:
            raise BadUnit(reason)
        raise BadUnit(f"{len(bad)} bad units, expected at most {dataset}.max_bad_units = {most}; the first: {reason}")


def _meta(
    dataset: str, batch: str, batch_units: Sequence[units.Unit], bad: Mapping[str, str], params: DatasetParams
) -> np.ndarray:
    fields = base.encoder(dataset).FIELDS
    here = f"{params.raw_dir}{os.sep}"
    content = {
        "batch": batch,
        "dataset": dataset,
        "units": [unit.key for unit in batch_units],
        "bad_units": [{"unit": key, "reason": reason.removeprefix(here)} for key, reason in sorted(bad.items())],
        "fields": [fields[name].header(name) for name in sorted(fields)],
    }
    return np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.parser("process", "Turn the raw units of a batch into data/intermediate/<dataset>/<batch>.npz.", True)
    arguments = parser.parse_args()

    def action() -> None:
        params = load().dataset(arguments.dataset)
        listed = units.read_batch_list(arguments.dataset)
        if arguments.batch and arguments.batch not in listed and "DVC_STAGE" in os.environ:
            _leave_placeholder(arguments.dataset, arguments.batch)
            return
        if not arguments.batch and not listed:
            where = paths.batch_list(arguments.dataset)
            raise ExpectedError(f"{where}: no batches, expected at least one; run discover first")
        for batch in [arguments.batch] if arguments.batch else listed:
            process(arguments.dataset, batch, params)

    return cli.run(action)


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
