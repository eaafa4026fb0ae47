"""Assign whole groups to train, val and test, standardise the features, and write what a trainer reads.

In: data/merged/<dataset>/ and `split` of params.yaml. Out, in data/processed/<dataset>/, per part (train, val, test):

- X_<part>.npy: float32 (N, columns), one file per feature field; (x - mean) / scale where the field declares columns
  to standardise, else the field as it is;
- labels_<part>.npz: int16 (N,) per head; masks_<part>.npz: uint8 0/1 (N, classes) per head;
- keys_<part>.npz: ``group_id`` uint64 (N,), ``unit`` int32 (N,) an index into ``units`` (text), ``row_in_unit`` int64
  (N,), and the dataset's own keys;
- starts_<field>_<part>.npy: int64, the rows with which sliding windows of a feature begin (see stages/runs.py);

and for all parts feature_names.json, label_mappings.json (class name to index per head), normalizer.npz (``names``,
``mean``, ``scale``, ``is_normalised``; mean 0 and scale 1 where a column is not standardised) and stats.json. Beside
them the metrics and plots that stages/stats.py describes.

Mean and population standard deviation are taken over train rows only, in one pass; rows stay in merged order. Arrays
are read and written a chunk at a time.
"""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from stages import arrays, cli, paths, stats
from stages.display import Steps
from stages.errors import ExpectedError
from stages.memory_log import MemoryLog
from stages.moments import Moments
from stages.params import SplitParams, load
from stages.parts import PARTS, SCALAR_CHUNK_ROWS, Merged, open_merged
from stages.runs import write_starts

CHUNK_ROWS = 1024
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
    with arrays.atomic_dir(paths.processed_dir(dataset)) as folder:
        for field in merged.of_role("feature"):
            steps.begin(field["name"], int(merged.offsets[-1]))
            _write_feature(folder, merged, field, moments.get(field["name"]))
        log.record("features", n_rows=int(merged.offsets[-1]))
        counts = _counts(merged)
        windows = write_starts(folder, merged, params.windows)
        if windows:
            counts["windows"] = windows
        counts["labels"] = _write_scalars(folder, merged, "label", steps)
        counts["legal_actions"] = _write_scalars(folder, merged, "mask", steps)
        _write_keys(folder, merged)
        _write_normalizer(folder / "normalizer.npz", merged, moments)
        _write_json(folder / "feature_names.json", _columns(merged))
        heads = {_head(field): dict(_pairs(field["names"])) for field in merged.of_role("label")}
        _write_json(folder / "label_mappings.json", heads)
        summary = stats.summary(counts, report)
        _write_json(folder / "stats.json", summary)
    return summary, report


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
    derived = {"group_id": merged.group_id, "row_in_unit": merged.row_in_unit, "unit": merged.source}
    own = {field["name"]: field for role in KEY_ROLES for field in merged.of_role(role)}
    with ExitStack() as stack:
        writers = _part_writers(stack, folder, "keys")
        for name in sorted({*derived, *own, "units"}):
            if name == "units":
                for writer in writers:
                    with writer.member(name, merged.units.dtype, merged.units.shape) as sink:
                        sink.append(merged.units)
                continue
            field = own.get(name) or {"dtype": derived[name].dtype, "shape": ()}
            with ExitStack() as members:
                sinks = _part_members(members, writers, name, field, merged.n_rows())
                if name in own:
                    for rows, parts in merged.chunks(name):
                        for part, sink in enumerate(sinks):
                            sink.append(rows[parts == part])
                else:
                    _append_per_group(merged, derived[name], sinks, counts_up=name == "row_in_unit")


def _append_per_group(merged: Merged, values: np.ndarray, sinks: Sequence[arrays.ArraySink], counts_up: bool) -> None:
    """Append each group's value once per row, or counting up from it."""
    sizes = np.diff(merged.offsets)
    for part, sink in enumerate(sinks):
        groups = np.flatnonzero(merged.part == part)
        ends = np.cumsum(sizes[groups])
        cuts = np.searchsorted(ends, np.arange(SCALAR_CHUNK_ROWS, int(ends[-1]), SCALAR_CHUNK_ROWS))
        for chunk in np.split(groups, cuts):
            rows = np.repeat(values[chunk], sizes[chunk])
            if counts_up:
                first = np.repeat(np.cumsum(sizes[chunk]) - sizes[chunk], sizes[chunk])
                rows += np.arange(len(rows)) - first
            sink.append(rows)


def _write_normalizer(path: Path, merged: Merged, moments: dict[str, Moments]) -> None:
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("names", "mean", "scale", "is_normalised")}
    for field in merged.of_role("feature"):
        if field["name"] in moments:
            mean, scale = _standardisation(field, moments[field["name"]])
            columns["names"].append(np.array(field["names"], np.str_))
            columns["mean"].append(mean.reshape(-1))
            columns["scale"].append(scale.reshape(-1))
            columns["is_normalised"].append(np.array(field["normalise"], bool))
    if moments:
        arrays.save_npz(path, {name: [np.concatenate(pieces)] for name, pieces in columns.items()})


def _columns(merged: Merged) -> object:
    """Return the column names: a list for a dataset with one feature field, else a list per field."""
    names = {field["name"]: field["names"] for field in merged.of_role("feature")}
    return next(iter(names.values())) if len(names) == 1 else names


def _counts(merged: Merged) -> dict[str, Any]:
    """Return what stats.json says first; the counts of labels and legal actions follow."""
    n_groups = np.bincount(merged.part, minlength=len(PARTS))[: len(PARTS)].tolist()
    return {
        "rows": dict(zip(PARTS, merged.n_rows(), strict=True)),
        "groups": dict(zip(PARTS, n_groups, strict=True)),
        "input_dim": sum(int(np.prod(field["shape"])) for field in merged.of_role("feature")),
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
    parser = cli.parser("split", "Assign groups to train, val and test, and write data/processed/<dataset>/.")
    arguments = parser.parse_args()

    def action() -> None:
        params = load()
        params.dataset(arguments.dataset)
        split(arguments.dataset, params.split_of(arguments.dataset))

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
