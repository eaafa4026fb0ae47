"""Assign whole groups to train, val and test, standardise the features, and write what a trainer reads.

In: data/merged/<dataset>/ and `split` of params.yaml. Out, in data/processed/<dataset>/, per part (train, val, test):

- X_<part>.npy: float32 (N, columns), one file per feature field; (x - mean) / scale where the field declares columns
  to standardise, else the field as it is;
- labels_<part>.npz: int16 (N,) per head; masks_<part>.npz: uint8 0/1 (N, classes) per head;
- keys_<part>.npz: ``group_id`` uint64 (N,), ``unit`` int32 (N,) an index into ``units`` (text), ``row_in_unit`` int64
  (N,), and the dataset's own keys;
- starts_<field>_<part>.npy: int64, the rows with which sliding windows of a feature begin (see
  stages/splitting/window_starts.py);

and for all parts feature_names.json, label_mappings.json (class name to index per head), normalizer.npz (``names``,
``mean``, ``scale``, ``is_normalised``; mean 0 and scale 1 where a column is not standardised), stats.json and, where
rows of a field are stored as bits (see stages/core/bits.py), packed.json: field name to shape of an unpacked row.
Beside them the metrics and plots that stages/splitting/stats.py describes.

Mean and population standard deviation are taken over train rows only, in one pass and in merged order. The rows of a
part stay in merged order, or come in the order of a hash with ``shuffle: true``: see stages/splitting/shuffle.py.
Arrays are read and written a chunk at a time.
"""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, paths
from stages.core.errors import ExpectedError
from stages.core.files import atomic_dir
from stages.core.params import SplitParams
from stages.core.part_files import PARTS
from stages.runtime import cli
from stages.runtime.display import Steps
from stages.runtime.memory_log import MemoryLog
from stages.splitting import stats
from stages.splitting.moments import Moments
from stages.splitting.parts import Merged, open_merged
from stages.splitting.shuffle import shuffled, working_bytes
from stages.splitting.window_starts import write_starts

CHUNK_ROWS = 1024
DERIVED_KEYS = ("group_id", "row_in_unit", "unit")
KEY_ROLES = ("key", "time", "series", "segment", "lookback", "valid")


def split(dataset: str, params: SplitParams) -> None:
    """Write the parts of a dataset.

    Raises
    ------
    ExpectedError
        When a part would be empty.
    DamagedFile
        When a merged file is missing or not complete.
    """
    with MemoryLog("split", dataset) as log:
        log.record("start")
        merged = open_merged(paths.merged_dir(dataset), params)
        _refuse_empty_parts(dataset, merged, params)
        title = f"Splitting {dataset} ({int(merged.offsets[-1]):,} rows)"
        with Steps(title, "fields", len(merged.fields), log.watch) as steps:
            summary, report = _write(dataset, merged, params, log, steps)
        stats.write(dataset, summary, report)
        log.record("end", **{f"n_{part}": n for part, n in zip(PARTS, merged.n_rows(), strict=True)})


def _write(
    dataset: str, merged: Merged, params: SplitParams, log: MemoryLog, steps: Steps
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write data/processed/<dataset>/; return the content of stats.json and merge's report."""
    moments = {field["name"]: _fit(merged, field) for field in merged.of_role("feature") if field["normalise"]}
    log.record("normaliser", n_rows=merged.n_rows()[0])
    report = json.loads(paths.report(dataset).read_text(encoding="utf-8"))
    with ExitStack() as stack:
        folder = stack.enter_context(atomic_dir(paths.processed_dir(dataset)))
        if params.shuffle:
            steps.begin("order of the rows", int(merged.offsets[-1]))
        rows = stack.enter_context(_in_final_order(merged, params, folder, log))
        for field in rows.of_role("feature"):
            steps.begin(field["name"], int(rows.offsets[-1]))
            _write_feature(folder, rows, field, moments.get(field["name"]))
        log.record("features", n_rows=int(rows.offsets[-1]))
        counts = _counts(rows)
        windows = write_starts(folder, rows, params.windows)
        if windows:
            counts["windows"] = windows
        counts["labels"] = _write_scalars(folder, rows, "label", steps)
        counts["legal_actions"] = _write_scalars(folder, rows, "mask", steps)
        _write_keys(folder, rows)
        _write_normalizer(folder / "normalizer.npz", rows, moments)
        _write_names(folder, rows)
        summary = stats.summary(counts, report)
        _write_json(folder / "stats.json", summary)
    return summary, report


def _in_final_order(
    merged: Merged, params: SplitParams, folder: Path, log: MemoryLog
) -> AbstractContextManager[Merged]:
    """Give the rows as they will lie in the files."""
    if not params.shuffle:
        return nullcontext(merged)
    return shuffled(merged, params.seed, folder, working_bytes(log.watch.budget_mb))


def _write_names(folder: Path, merged: Merged) -> None:
    """Write the names of columns and classes, and the shapes of the rows that are stored as bits."""
    _write_json(folder / "feature_names.json", _columns(merged))
    heads = {_head(field): dict(_pairs(field["names"])) for field in merged.of_role("label")}
    _write_json(folder / "label_mappings.json", heads)
    packed = {field["name"]: field["bits"] for field in merged.fields if field.get("bits")}
    if packed:
        _write_json(folder / "packed.json", packed)


def _refuse_empty_parts(dataset: str, merged: Merged, params: SplitParams) -> None:
    counts = np.bincount(merged.part, minlength=len(PARTS))[: len(PARTS)]
    if not counts.all() or not all(merged.n_rows()):
        found = ", ".join(f"{name} {count}" for name, count in zip(PARTS, counts, strict=True))
        shares = ", ".join(f"{name} {share}" for name, share in params.described().items())
        raise ExpectedError(
            f"{dataset}: {len(merged.part)} groups give {found}, expected some in each part; add data, "
            f"or change split ({shares}) in params.yaml"
        )


def _fit(merged: Merged, field: dict[str, Any]) -> Moments:
    """Return the moments of a feature's columns over the train rows, in one pass."""
    moments = Moments(field["shape"], np.dtype(field["dtype"]), CHUNK_ROWS)
    for rows, parts, is_valid in merged.feature_chunks(field["name"], CHUNK_ROWS):
        is_chosen = parts == PARTS.index("train")
        moments.add(rows[is_chosen if is_valid is None else is_chosen & is_valid])
    return moments


def _standardisation(field: dict[str, Any], moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return what to subtract from and divide each column by, float64."""
    is_normalised = np.array(field["normalise"]).reshape(field["shape"])
    std = moments.std()
    scale = np.where(is_normalised & (std > 0), std, 1.0)
    return np.where(is_normalised, moments.mean(), 0.0), scale


def _write_feature(folder: Path, merged: Merged, field: dict[str, Any], moments: Moments | None) -> None:
    dtype = np.dtype(np.float32 if moments else field["dtype"])
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(
                arrays.npy_sink(folder / f"{field['name']}_{part}.npy", dtype, (n_rows, *field["shape"]))
            )
            for part, n_rows in zip(PARTS, merged.n_rows(), strict=True)
        ]
        buffer = np.empty((CHUNK_ROWS, *field["shape"]), dtype)
        if moments:
            mean, scale = (values.astype(np.float32) for values in _standardisation(field, moments))
        for rows, parts, is_valid in merged.feature_chunks(field["name"], CHUNK_ROWS):
            ready = buffer[: len(rows)]
            ready[...] = rows
            if moments:
                ready -= mean
                ready /= scale
            if is_valid is not None:
                ready[~is_valid] = 0
            borders = np.flatnonzero(np.diff(parts, prepend=parts[0])).tolist()
            for start, stop in itertools.pairwise([0, *borders, len(rows)]):
                if parts[start] < len(PARTS):
                    sinks[parts[start]].append(ready[start:stop])


def _write_scalars(folder: Path, merged: Merged, role: str, steps: Steps) -> dict[str, Any]:
    """Write labels_<part>.npz or masks_<part>.npz; return the counts for stats.json, per head and part."""
    kind = stats.ClassCounter if role == "label" else stats.LegalCounter
    counts: dict[str, Any] = {}
    with ExitStack() as stack:
        writers = _part_writers(stack, folder, f"{role}s")
        for field in merged.of_role(role):
            steps.begin(field["name"], int(merged.offsets[-1]))
            counter = [kind(field) for _ in PARTS]
            with ExitStack() as members:
                sinks = _part_members(members, writers, _head(field), field, merged.n_rows())
                for rows, parts in merged.chunks(field["name"]):
                    for part, sink in enumerate(sinks):
                        chosen = rows[parts == part]
                        sink.append(chosen)
                        counter[part].add(chosen)
            counts[_head(field)] = {part: c.result() for part, c in zip(PARTS, counter, strict=True)}
    return counts


def _part_writers(stack: ExitStack, folder: Path, prefix: str) -> list[arrays.NpzWriter]:
    return [stack.enter_context(arrays.NpzWriter(folder / f"{prefix}_{part}.npz")) for part in PARTS]


def _part_members(
    stack: ExitStack, writers: Sequence[arrays.NpzWriter], name: str, field: dict[str, Any], n_rows: Sequence[int]
) -> list[arrays.ArraySink]:
    return [
        stack.enter_context(writer.member(name, np.dtype(field["dtype"]), (n, *field["shape"])))
        for writer, n in zip(writers, n_rows, strict=True)
    ]


def _write_keys(folder: Path, merged: Merged) -> None:
    """Write keys_<part>.npz."""
    own = {field["name"]: field for role in KEY_ROLES for field in merged.of_role(role)}
    with ExitStack() as stack:
        writers = _part_writers(stack, folder, "keys")
        for name in sorted({*DERIVED_KEYS, *own, "units"}):
            if name == "units":
                for writer in writers:
                    with writer.member(name, merged.units.dtype, merged.units.shape) as sink:
                        sink.append(merged.units)
                continue
            field = own.get(name) or {"dtype": merged.derived_dtype(name), "shape": ()}
            with ExitStack() as members:
                sinks = _part_members(members, writers, name, field, merged.n_rows())
                for rows, parts in merged.chunks(name) if name in own else merged.derived(name):
                    for part, sink in enumerate(sinks):
                        sink.append(rows[parts == part])


def _write_normalizer(path: Path, merged: Merged, moments: dict[str, Moments]) -> None:
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("names", "mean", "scale", "is_normalised")}
    for field in merged.of_role("feature"):
        if field["name"] in moments:
            mean, scale = _standardisation(field, moments[field["name"]])
            columns["names"].append(np.array(_column_names(field), np.str_))
            columns["mean"].append(mean.reshape(-1))
            columns["scale"].append(scale.reshape(-1))
            columns["is_normalised"].append(np.array(field["normalise"], bool))
    if moments:
        arrays.save_npz(path, {name: [np.concatenate(pieces)] for name, pieces in columns.items()})


def _column_names(field: dict[str, Any]) -> list[str]:
    """Return the column names of a feature; numbers where it has none."""
    return field["names"] or [f"{field['name']} {index}" for index in range(int(np.prod(field["shape"])))]


def _columns(merged: Merged) -> object:
    """Return the column names: a list for a dataset with one feature field, else a list per field; null without."""
    names = {field["name"]: field["names"] for field in merged.of_role("feature")}
    return next(iter(names.values())) if len(names) == 1 else names


def _counts(merged: Merged) -> dict[str, Any]:
    """Return what stats.json says first; the counts of labels and legal actions follow."""
    n_groups = np.bincount(merged.part, minlength=len(PARTS))[: len(PARTS)].tolist()
    return {
        "rows": dict(zip(PARTS, merged.n_rows(), strict=True)),
        "groups": dict(zip(PARTS, n_groups, strict=True)),
        "input_dim": sum(int(np.prod(field.get("bits") or field["shape"])) for field in merged.of_role("feature")),
        "split": merged.rule,
    }


def _head(field: dict[str, Any]) -> str:
    return str(field["name"]).removeprefix(f"{field['role']}_")


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    return ((name, index) for index, name in enumerate(names))


def _write_json(path: Path, content: object) -> None:
    path.write_text(stats.json_text(content), encoding="utf-8")


def main() -> int:
    """Run the verb from the command line."""
    return cli.on_dataset(
        "split",
        "Assign groups to train, val and test, and write data/processed/<dataset>/.",
        lambda params, dataset: split(dataset, params.split_of(dataset)),
    )


if __name__ == "__main__":
    sys.exit(main())
