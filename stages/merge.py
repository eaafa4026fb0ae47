"""Join the batches of a dataset into one .npy file per field, dropping duplicate groups.

In: data/intermediate/<dataset>/<batch>.npz of exactly the listed batches. Out:

- data/merged/<dataset>/<field>.npy: rows in the order that stages/merging/groups.py says;
- data/merged/<dataset>/fields.json: name, dtype, shape of a row, role and doc of each field, and its column or class
  names;
- data/merged/<dataset>/groups.npz: ``group_id`` uint64 (G,), ``group_offsets`` int64 (G+1,), ``source`` int32 (G,) an
  index into ``units`` (text), ``row_in_unit`` int64 (G,) the row of its unit that a group begins with;
- data/reports/<dataset>.json: rows, groups and units, in all and by batch, duplicate groups and bad units with reasons.

Two passes: the first reads headers and the small group tables and decides which groups stay (of groups with one id the
first); the second copies one field of one batch, a chunk at a time. So memory does not grow with the number of batches.
No dataset is imported: names and types come from the batches.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, manifests, paths
from stages.core.errors import BadUnit, ExpectedError
from stages.core.files import atomic_dir, write_text
from stages.merging import groups
from stages.merging.groups import Groups
from stages.runtime import cli
from stages.runtime.display import Steps
from stages.runtime.memory_log import MemoryLog

CHUNK_BYTES = 1 << 19  # stays in a core's cache between reading, checksum and writing
MOST_LISTED = 1000  # duplicates named one by one in the report; all are counted by unit


@dataclass(frozen=True)
class Batch:
    """What the first pass keeps of a batch: headers, group table and meta; no rows."""

    path: Path
    headers: dict[str, arrays.Header]
    group_id: np.ndarray
    offsets: np.ndarray
    source: np.ndarray
    meta: dict[str, Any]

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each group, int64 (G,)."""
        return np.diff(self.offsets)


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
        batches = [_open(paths.intermediate(dataset, name)) for name in names]
        fields = _common_fields(batches)
        _refuse_too_many(dataset, batches, max_bad_units)
        tables = [(batch.group_id, batch.offsets, batch.source, batch.meta["units"]) for batch in batches]
        table = groups.join(*zip(*tables, strict=True))
        by_unit = any(field["role"] == "time" for field in fields)
        order = table.order(by_unit)
        report = _report(names, batches, table)
        title = f"Merging {dataset} ({len(batches)} batches, {report['rows']:,} rows)"
        with (
            atomic_dir(paths.merged_dir(dataset)) as folder,
            Steps(title, "fields", len(fields), log.watch) as steps,
        ):
            for field in fields:
                steps.begin(field["name"], report["rows"])
                _join(folder / f"{field['name']}.npy", field, batches, table, order)
            _write_groups(folder / "groups.npz", table, order, by_unit)
            (folder / "fields.json").write_text(_json(fields), encoding="utf-8")
        write_text(paths.report(dataset), _json(report))
        _remove_unlisted(dataset, names)
        counts = {"n_rows": report["rows"], "n_groups": report["groups"]}
        log.record("end", **counts, n_duplicates=report["duplicates"]["groups"])


def _open(path: Path) -> Batch:
    headers = arrays.npz_headers(path)
    missing = {"group_id", "group_offsets", "source", "meta"} - set(headers)
    if missing:
        raise arrays.DamagedFile(f"{path}: no {sorted(missing)[0]}, expected a batch's arrays; remove it, `dvc repro`")
    table = {name: arrays.read_member(path, headers[name]) for name in ("group_id", "group_offsets", "source", "meta")}
    try:
        meta = json.loads(table["meta"].tobytes())
        units_named = all(isinstance(unit, str) for unit in meta["units"])
        fields_named = all(field["name"].isidentifier() and np.dtype(field["dtype"]) for field in meta["fields"])
        are_lists = isinstance(meta["bad_units"], list) and isinstance(meta["findings"], list)
        is_sound = units_named and fields_named and are_lists and _is_table(table, meta)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise arrays.DamagedFile(f"{path}: its meta or groups are not what process writes; remove it and `dvc repro`")
    return Batch(path, headers, table["group_id"], table["group_offsets"], table["source"], meta)


def _is_table(table: dict[str, np.ndarray], meta: dict[str, Any]) -> bool:
    """Say whether the group table of a batch is whole: one offset more than groups, rising from 0, known units."""
    ids, offsets, source = table["group_id"], table["group_offsets"], table["source"]
    is_typed = [ids.dtype, offsets.dtype, source.dtype] == [np.dtype(kind) for kind in ("u8", "i8", "i4")]
    if not is_typed or ids.shape != source.shape or offsets.shape != (len(ids) + 1,) or ids.ndim != 1:
        return False
    is_rising = offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
    return is_rising and bool(((source >= 0) & (source < len(meta["units"]))).all())


def _common_fields(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Return the fields all batches share, checked against the arrays they hold."""
    fields: list[dict[str, Any]] = batches[0].meta["fields"]
    for batch in batches:
        if batch.meta["fields"] != fields:
            raise ExpectedError(f"{batch.path}: fields differ from {batches[0].path}; run `dvc repro` to rebuild both")
        for field in fields:
            header = batch.headers.get(field["name"])
            expected = (np.dtype(field["dtype"]), (int(batch.offsets[-1]), *field["shape"]))
            if header is None or (header.dtype, header.shape) != expected:
                raise arrays.DamagedFile(f"{batch.path}: {field['name']} is not {expected}; remove it, `dvc repro`")
    return fields


def _refuse_too_many(dataset: str, batches: Sequence[Batch], most: int) -> None:
    bad = [entry for batch in batches for entry in batch.meta["bad_units"]]
    if len(bad) > most:
        raise BadUnit(
            f"{dataset}: {len(bad)} bad units in all batches, expected at most {dataset}.max_bad_units = {most}; "
            f"the first: {bad[0]['reason']}"
        )


def _join(path: Path, field: dict[str, Any], batches: Sequence[Batch], table: Groups, order: np.ndarray) -> None:
    """Copy one field of all batches, a chunk in memory at a time."""
    dtype, shape = np.dtype(field["dtype"]), tuple(field["shape"])
    chunk_rows = max(1, CHUNK_BYTES // max(1, dtype.itemsize * int(np.prod(shape))))
    n_rows = int(table.sizes[order].sum())
    is_in_turn = bool((np.diff(order) > 0).all())
    with arrays.npy_sink(path, dtype, (n_rows, *shape)) as sink:
        target = np.full(len(table.sizes), -1)  # where the rows of each group go
        target[order] = np.cumsum(table.sizes[order]) - table.sizes[order]
        for number, batch in enumerate(batches):
            chunks = arrays.member_chunks(batch.path, batch.headers[field["name"]], chunk_rows)
            where = table.of_batch(number)
            if is_in_turn:
                _append(sink, chunks, np.repeat(table.is_kept[where], batch.sizes))
            else:
                _scatter(sink, chunks, batch.offsets, target[where])


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


def _report(names: Sequence[str], batches: Sequence[Batch], table: Groups) -> dict[str, Any]:
    """Return what the merge kept and left out; a dropped group counts in no batch's groups and rows."""
    by_batch = {}
    for number, (name, batch) in enumerate(zip(names, batches, strict=True)):
        kept = table.is_kept[table.of_batch(number)]
        rows = int(batch.sizes[kept].sum())
        by_batch[name] = {"units": len(batch.meta["units"]), "groups": int(kept.sum()), "rows": rows}
    bad = [entry for batch in batches for entry in batch.meta["bad_units"]]
    findings = [entry for batch in batches for entry in batch.meta["findings"]]
    totals = Counter[str]()
    for entry in findings:
        totals[entry["reason"]] += entry["count"]
    return {
        "batches": len(batches),
        **{kind: sum(counts[kind] for counts in by_batch.values()) for kind in ("units", "groups", "rows")},
        "by_batch": by_batch,
        "duplicates": _duplicates(table),
        "bad_units": {"count": len(bad), "list": sorted(bad, key=lambda entry: str(entry["unit"]))},
        "findings": {
            "by_reason": dict(sorted(totals.items())),
            "list": sorted(findings, key=lambda entry: (str(entry["unit"]), str(entry["reason"]))),
        },
    }


def _duplicates(table: Groups) -> dict[str, Any]:
    """Count the dropped groups, in all and by unit; of the first ones list id, kept unit, dropped unit and rows."""
    dropped = np.flatnonzero(~table.is_kept)
    sources, counts = np.unique(table.source[dropped], return_counts=True)
    by_unit = {table.units[source]: int(count) for source, count in zip(sources, counts, strict=True)}
    listed = dropped[:MOST_LISTED]
    kept = np.flatnonzero(table.is_kept)
    kept = kept[np.argsort(table.group_id[kept])]
    first = kept[np.searchsorted(table.group_id[kept], table.group_id[listed])]
    return {
        "groups": len(dropped),
        "rows": int(table.sizes[dropped].sum()),
        "by_unit": dict(sorted(by_unit.items())),
        "list": [
            {
                "group_id": int(table.group_id[group]),
                "kept": table.units[table.source[other]],
                "dropped": table.units[table.source[group]],
                "rows": int(table.sizes[group]),
            }
            for group, other in zip(listed.tolist(), first.tolist(), strict=True)
        ],
    }


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


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
