"""Join the batches of a dataset into one .npy file per field, dropping duplicate groups.

In: data/intermediate/<dataset>/<batch>.npz of exactly the listed batches. Out:

- data/merged/<dataset>/<field>.npy: rows in the order that stages/merging/groups.py says;
- data/merged/<dataset>/fields.json: name, dtype, shape of a row, role and doc of each field, its column or class names,
  and the CRC-32 of its file, which split checks;
- data/merged/<dataset>/groups.npz: ``group_id`` uint64 (G,), ``group_offsets`` int64 (G+1,), ``source`` int32 (G,) an
  index into ``units`` (text), ``row_in_unit`` int64 (G,) the row of its unit that a group begins with;
- data/reports/<dataset>.json: rows, groups and units, in all and by batch, duplicate groups and bad units with reasons,
  and a checksum of all that, which split compares.

Two passes: the first reads headers and the small group tables and decides which groups stay (of groups with one id the
first); the second copies one field of one batch, a chunk at a time. So memory does not grow with the number of batches.
No dataset is imported: names and types come from the batches.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.core import arrays, checksum, manifests, merged_files, paths
from stages.core.errors import BadUnit, ExpectedError
from stages.core.fields import FIELDS_FILE, NamedField, fields_text
from stages.core.files import atomic_dir, write_text
from stages.core.merge_report import report_text
from stages.merging import groups
from stages.merging.account import account
from stages.merging.batches import Batch, common_fields, open_batch
from stages.merging.groups import Groups
from stages.runtime import cli
from stages.runtime.display import Display, StepProgress
from stages.runtime.memory_log import MemoryLog
from stages.runtime.text import counted

CHUNK_BYTES = 1 << 19  # stays in a core's cache between reading, checksum and writing


def merge(dataset: str, max_bad_units: int) -> None:
    """Join the listed batches of a dataset.

    Raises
    ------
    ExpectedError
        When a listed batch is missing or damaged, or the batches disagree on their fields.
    BadUnit
        When all batches together left out more than `max_bad_units` units.
    """
    with MemoryLog("merge", dataset) as log:
        log.record("start")
        names = manifests.read_batch_list(dataset)
        if not names:
            raise ExpectedError(f"{paths.batch_list(dataset)}: no batches, expected at least one; run discover first")
        batches = [open_batch(paths.intermediate(dataset, name)) for name in names]
        fields = common_fields(batches)
        _refuse_too_many(dataset, batches, max_bad_units)
        table = _join_tables(batches)
        report = account(names, batches, table)
        title = f"Merging {dataset} ({counted(len(batches), 'batch', 'batches')}, {report['rows']:,} rows)"
        with Display(StepProgress(title, "fields", len(fields)), log.watch) as steps:
            log.doing = lambda: steps.doing(paths.merged_dir(dataset))
            _write(dataset, fields, batches, table, steps)
        write_text(paths.report(dataset), report_text(report))
        _remove_unlisted(dataset, names)
        counts = {"n_rows": report["rows"], "n_groups": report["groups"]}
        log.record("end", **counts, n_duplicates=report["duplicates"]["groups"])


def _refuse_too_many(dataset: str, batches: Sequence[Batch], most: int) -> None:
    bad = [entry for batch in batches for entry in batch.bad_units]
    if len(bad) > most:
        raise BadUnit(
            f"{dataset}: {len(bad)} bad units in all batches, expected at most {dataset}.max_bad_units = {most}; "
            f"the first: {bad[0]['reason']}"
        )


def _join_tables(batches: Sequence[Batch]) -> Groups:
    """Join the group tables of all batches, and decide which groups stay."""
    return groups.join(
        [batch.group_id for batch in batches],
        [batch.offsets for batch in batches],
        [batch.source for batch in batches],
        [batch.units for batch in batches],
    )


def _write(
    dataset: str, fields: Sequence[NamedField], batches: Sequence[Batch], table: Groups, steps: StepProgress
) -> None:
    """Write data/merged/<dataset>/: each field, the group table, and what the fields are."""
    by_unit = any(field.role == "time" for field in fields)
    order = table.order(by_unit)
    n_rows = int(table.sizes[order].sum())
    with atomic_dir(paths.merged_dir(dataset)) as folder:
        written = []
        for field in fields:
            steps.begin(field.name, n_rows)
            crc = _join(folder / merged_files.array(field.name), field, batches, table, order)
            written.append(replace(field, crc=crc))
        _write_groups(folder / merged_files.GROUPS, table, order, by_unit)
        (folder / FIELDS_FILE).write_text(fields_text(written), encoding="utf-8")


def _join(path: Path, field: NamedField, batches: Sequence[Batch], table: Groups, order: np.ndarray) -> int:
    """Copy one field of all batches, a chunk in memory at a time; return the CRC-32 of the file."""
    chunk_rows = max(1, CHUNK_BYTES // max(1, field.row_bytes))
    n_rows = int(table.sizes[order].sum())
    is_in_turn = bool((np.diff(order) > 0).all())
    target = np.full(len(table.sizes), -1)  # where the rows of each group go
    target[order] = np.cumsum(table.sizes[order]) - table.sizes[order]
    with arrays.npy_sink(path, field.dtype, (n_rows, *field.shape)) as sink:
        for number, batch in enumerate(batches):
            chunks = arrays.member_chunks(batch.path, batch.headers[field.name], chunk_rows)
            where = table.of_batch(number)
            if is_in_turn:
                _append(sink, chunks, np.repeat(table.is_kept[where], batch.sizes))
            else:
                _scatter(sink, chunks, batch.offsets, target[where])
    return sink.crc if is_in_turn else checksum.of_file(path)


def _append(sink: arrays.ArraySink, chunks: Iterable[np.ndarray], is_row_kept: np.ndarray) -> None:
    """Write the rows that stay, one after another."""
    start = 0
    for rows in chunks:
        is_chosen = is_row_kept[start : start + len(rows)]
        sink.append(rows if is_chosen.all() else rows[is_chosen])
        start += len(rows)


def _scatter(sink: arrays.ArraySink, chunks: Iterable[np.ndarray], offsets: np.ndarray, target: np.ndarray) -> None:
    """Write the rows of each group that stays at its place; `target` is -1 for one that does not."""
    start = 0
    for rows in chunks:
        stop = start + len(rows)
        first, last = np.searchsorted(offsets, (start, stop - 1), side="right") - 1
        for group in range(int(first), int(last) + 1):
            low, high = max(start, int(offsets[group])), min(stop, int(offsets[group + 1]))
            if target[group] >= 0 and low < high:
                sink.put(int(target[group]) + low - int(offsets[group]), rows[low - start : high - start])
        start = stop


def _write_groups(path: Path, table: Groups, order: np.ndarray, by_unit: bool) -> None:
    """Write the group table of the rows as they lie in the merged arrays."""
    units_in_order = sorted(table.units) if by_unit else table.units
    place = {key: index for index, key in enumerate(units_in_order)}
    number = np.array([place[key] for key in table.units], np.int32)
    columns = {
        "group_id": table.group_id[order],
        "group_offsets": np.concatenate([[0], np.cumsum(table.sizes[order])]).astype(np.int64),
        "row_in_unit": table.row_in_unit[order],
        "source": number[table.source[order]],
        "units": np.array(units_in_order, np.str_),
    }
    arrays.save_npz(path, {name: [column] for name, column in columns.items()})


def _remove_unlisted(dataset: str, names: Sequence[str]) -> None:
    """Remove arrays of batches that are no longer listed, so that the folder's hash does not depend on history."""
    for path in paths.intermediate_dir(dataset).glob("*.npz"):
        if path.stem not in names:
            path.unlink()


def main() -> int:
    """Run the verb from the command line."""
    return cli.on_dataset(
        "merge",
        "Join the batches of a dataset into data/merged/<dataset>/<field>.npy.",
        lambda params, dataset: merge(dataset, params.dataset(dataset).max_bad_units),
    )


if __name__ == "__main__":
    sys.exit(main())
