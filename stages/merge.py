"""Join the batches of a dataset into one .npy file per field, dropping duplicate groups.

In: data/intermediate/<dataset>/<batch>.npz of exactly the listed batches. Out:

- data/merged/<dataset>/<field>.npy: rows by batch id, then unit key, then row in the unit;
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays, cli, paths, units
from stages.display import Steps
from stages.errors import BadUnit, ExpectedError
from stages.memory_log import MemoryLog
from stages.params import load

CHUNK_BYTES = 1 << 19  # stays in a core's cache between reading, checksum and writing


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
        names = units.read_batch_list(dataset)
        if not names:
            raise ExpectedError(f"{paths.batch_list(dataset)}: no batches, expected at least one; run discover first")
        batches = [_open(paths.intermediate(dataset, name)) for name in names]
        fields = _common_fields(batches)
        _refuse_too_many(dataset, batches, max_bad_units)
        is_kept = _first_of_each_group(batches)
        report = _report(names, batches, is_kept)
        title = f"Merging {dataset} ({len(batches)} batches, {report['rows']:,} rows)"
        with (
            arrays.atomic_dir(paths.merged_dir(dataset)) as folder,
            Steps(title, "fields", len(fields), log.watch) as steps,
        ):
            for field in fields:
                steps.begin(field["name"], report["rows"])
                _join(folder / f"{field['name']}.npy", field, batches, is_kept)
            _write_groups(folder / "groups.npz", batches, is_kept)
            (folder / "fields.json").write_text(_json(fields), encoding="utf-8")
        arrays.write_text(paths.report(dataset), _json(report))
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
        is_sound = units_named and fields_named and isinstance(meta["bad_units"], list) and _is_table(table, meta)
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


def _first_of_each_group(batches: Sequence[Batch]) -> list[np.ndarray]:
    """Return per batch which groups stay, bool (G,): of those with one id the first."""
    ids = np.concatenate([batch.group_id for batch in batches])
    is_first = np.zeros(len(ids), bool)
    is_first[np.unique(ids, return_index=True)[1]] = True
    return np.split(is_first, np.cumsum([len(batch.group_id) for batch in batches])[:-1])


def _join(path: Path, field: dict[str, Any], batches: Sequence[Batch], is_kept: Sequence[np.ndarray]) -> None:
    """Copy one field of all batches, a chunk in memory at a time."""
    row_bytes = np.dtype(field["dtype"]).itemsize * int(np.prod(field["shape"]))
    chunk_rows = max(1, CHUNK_BYTES // max(1, row_bytes))
    n_rows = sum(int(batch.sizes[kept].sum()) for batch, kept in zip(batches, is_kept, strict=True))
    with arrays.npy_sink(path, np.dtype(field["dtype"]), (n_rows, *field["shape"])) as sink:
        for batch, kept in zip(batches, is_kept, strict=True):
            is_row_kept, start = np.repeat(kept, batch.sizes), 0
            for rows in arrays.member_chunks(batch.path, batch.headers[field["name"]], chunk_rows):
                is_chosen = is_row_kept[start : start + len(rows)]
                sink.append(rows if is_chosen.all() else rows[is_chosen])
                start += len(rows)


def _write_groups(path: Path, batches: Sequence[Batch], is_kept: Sequence[np.ndarray]) -> None:
    """Join the group tables of all batches."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("group_id", "source", "row_in_unit", "sizes")}
    all_units: list[str] = []
    for batch, kept in zip(batches, is_kept, strict=True):
        columns["group_id"].append(batch.group_id[kept])
        columns["source"].append((batch.source + np.int32(len(all_units)))[kept])
        columns["row_in_unit"].append(_row_in_unit(batch)[kept])
        columns["sizes"].append(batch.sizes[kept])
        all_units += batch.meta["units"]
    sizes = np.concatenate(columns.pop("sizes"))
    offsets = [np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)]
    arrays.save_npz(path, {**columns, "group_offsets": offsets, "units": [np.array(all_units, np.str_)]})


def _row_in_unit(batch: Batch) -> np.ndarray:
    """Return the row of its unit that each group begins with, int64 (G,); a unit's groups are contiguous."""
    starts = batch.offsets[:-1]
    is_first = np.diff(batch.source, prepend=-1) != 0
    return starts - np.maximum.accumulate(np.where(is_first, starts, 0))


def _report(names: Sequence[str], batches: Sequence[Batch], is_kept: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return what the merge kept and left out; a dropped group counts in no batch's groups and rows."""
    by_batch = {
        name: {
            "units": len(batch.meta["units"]),
            "groups": int(kept.sum()),
            "rows": int(batch.sizes[kept].sum()),
        }
        for name, batch, kept in zip(names, batches, is_kept, strict=True)
    }
    duplicates = _duplicates(batches, is_kept)
    bad = [entry for batch in batches for entry in batch.meta["bad_units"]]
    return {
        "batches": len(batches),
        **{kind: sum(counts[kind] for counts in by_batch.values()) for kind in ("units", "groups", "rows")},
        "by_batch": by_batch,
        "duplicates": {
            "groups": len(duplicates),
            "rows": sum(entry["rows"] for entry in duplicates),
            "list": duplicates,
        },
        "bad_units": {"count": len(bad), "list": sorted(bad, key=lambda entry: str(entry["unit"]))},
    }


def _duplicates(batches: Sequence[Batch], is_kept: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Return group id, kept unit, dropped unit and rows of each dropped group."""
    first_unit: dict[int, str] = {}
    duplicates = []
    for batch, kept in zip(batches, is_kept, strict=True):
        sources = [batch.meta["units"][index] for index in batch.source]
        for group, unit, stays, size in zip(batch.group_id.tolist(), sources, kept, batch.sizes.tolist(), strict=True):
            if stays:
                first_unit[group] = unit
            else:
                duplicates.append({"group_id": group, "kept": first_unit[group], "dropped": unit, "rows": size})
    return duplicates


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _remove_unlisted(dataset: str, names: Sequence[str]) -> None:
    """Remove arrays of batches that are no longer listed, so that the folder's hash does not depend on history."""
    for path in paths.intermediate_dir(dataset).glob("*.npz"):
        if path.stem not in names:
            path.unlink()


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.parser("merge", "Join the batches of a dataset into data/merged/<dataset>/<field>.npy.")
    arguments = parser.parse_args()
    return cli.run(lambda: merge(arguments.dataset, load().dataset(arguments.dataset).max_bad_units))


if __name__ == "__main__":
    sys.exit(main())
