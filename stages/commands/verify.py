"""Read everything again and check it: bytes against dvc.lock, rows and groups through all stages, values.

- Every output and the object of DVC's cache behind it has the digest that dvc.lock records.
- Merged fields and the files of the parts have the checksums that merge and split took while they wrote them.
- Raw files are those of the manifests, and each NPZ holds the units of its manifest.
- Rows and groups agree from the NPZ files through merged to the parts; no group is in two parts.
- X has no NaN or infinity; masks are 0 or 1 and hold their labels, except in the rows that the key `refused` marks, if
  there is one; packed rows have no bit behind their last one.
- Rows that are shuffled are all there, each once, in the order of their hash.

Each fault is one line with the files and the command that repairs them; damaged bytes of all datasets are repaired by
one command, see stages/commands/verify_bytes.py.
"""

import json
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from stages.commands import push
from stages.commands.repair import look_first
from stages.commands.verify_bytes import Damage, OutputFile, damaged_files, faults
from stages.commands.verify_parts import file_faults, order_faults, part_faults, time_faults
from stages.core import arrays, checksum, fields, manifests, merged_files, part_files, paths
from stages.core.arrays import read_npz
from stages.core.errors import ExpectedError
from stages.core.merge_report import read_report
from stages.core.params import DatasetParams, Params
from stages.core.part_files import LEFT_OUT, PARTS
from stages.datasets import base
from stages.pipeline import verbs
from stages.pipeline.internals import open_store
from stages.processed import Processed
from stages.runtime import cli
from stages.runtime.text import printable


def verify(datasets: Sequence[str], params: Params) -> Iterator[tuple[str, bool]]:
    """Yield a line for each fault of some datasets and one for each sound dataset, each with whether it is a fault."""
    store = open_store()
    damaged: list[tuple[OutputFile, Damage]] = []
    for dataset in datasets:
        files, lines = damaged_files(dataset, params.takes_sample(dataset), store)
        damaged += files
        if not files and not lines:  # what the bytes already tell need not be told again
            lines = _check(dataset, params)
        yield from ((line, True) for line in lines)
        if not files and not lines:
            yield f"{dataset}: every file is as written; rows, groups, values and masks agree", False
    yield from ((line, True) for line in faults(damaged, store))


def _is_absent(dataset: str) -> bool:
    """Say whether nothing that the stages make of a dataset is in the workspace, as in a fresh clone."""
    places = (paths.manifest_dir, paths.intermediate_dir, paths.merged_dir, paths.processed_dir)
    return not any(place(dataset).exists() for place in places)


def _check(dataset: str, params: Params) -> list[str]:
    """Return a line for each fault that the values of a dataset tell."""
    found: list[str] = []
    checks = (_raw, _batches, _merged, _parts)
    for check in checks:
        try:
            found += check(dataset, params.dataset(dataset))
        except ExpectedError as error:
            found.append(str(error))
    return found


def _raw(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check the raw files against the manifests."""
    for batch in manifests.read_batch_list(dataset):
        for unit in manifests.read_manifest(dataset, batch):
            try:
                base.check_unit(dataset, params.raw_dir, unit)
            except ExpectedError as error:
                yield f"{error}, or put back the file it was"


def _batches(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check that each NPZ reads whole and holds the units of its manifest."""
    for batch in manifests.read_batch_list(dataset):
        path = paths.intermediate(dataset, batch)
        members = read_npz(path)
        if "meta" not in members or "group_offsets" not in members:
            yield f"{path}: no meta or groups, expected a batch's arrays; {_redo('process', dataset, batch)}"
            continue
        meta = json.loads(members["meta"].tobytes())
        if meta["units"] != [unit.key for unit in manifests.read_manifest(dataset, batch)]:
            where = paths.manifest(dataset, batch)
            yield f"{path}: its units are not those of {where}; {_redo('process', dataset, batch)}"
        n_rows = int(members["group_offsets"][-1])
        for field in fields.from_json(meta["fields"]):
            found = len(members[field.name])
            if found != n_rows:
                again = _redo("process", dataset, batch)
                yield f"{path}: {field.name} has {found:,} rows, expected {n_rows:,}; {again}"


def _redo(verb: str, dataset: str, batch: str = "") -> str:
    """Return the command that runs a stage again though DVC sees nothing changed, and what depends on it."""
    return f"`dvc repro --force --single-item {verbs.stage_name(verb, dataset, batch)} && dvc repro`"


def _merged(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check that merged has the rows and groups of all batches but the duplicates."""
    report = read_report(dataset)
    n_rows, n_groups = -report["duplicates"]["rows"], -report["duplicates"]["groups"]
    for batch in manifests.read_batch_list(dataset):
        path = paths.intermediate(dataset, batch)
        offsets = arrays.read_member(path, arrays.npz_headers(path)["group_offsets"])
        n_rows, n_groups = n_rows + int(offsets[-1]), n_groups + len(offsets) - 1
    folder, again = paths.merged_dir(dataset), _redo("merge", dataset)
    for field in fields.read_fields(folder):
        path = folder / merged_files.array(field.name)
        found = arrays.npy_header(path).shape[0]
        if found != n_rows:
            yield f"{path}: {found:,} rows, expected {n_rows:,} as in the batches; {again}"
        elif checksum.of_file(path) != field.crc:
            yield f"{path}: checksum does not match {fields.FIELDS_FILE}, expected what merge wrote; {again}"
    groups = read_npz(folder / merged_files.GROUPS)
    found, end = len(np.unique(groups["group_id"])), int(groups["group_offsets"][-1])
    if (found, len(groups["group_id"]), end) != (n_groups, n_groups, n_rows):
        where = f"{folder / merged_files.GROUPS}: {found:,} groups with {end:,} rows"
        yield f"{where}, expected {n_groups:,} with {n_rows:,} as in the batches; {again}"


def _parts(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check rows, groups, values and masks of the three parts."""
    folder, again = paths.processed_dir(dataset), _redo("split", dataset)
    data = Processed(folder)
    stats = data.stats()
    yield from (f"{found}; {again}" for found in file_faults(data))
    table = read_npz(paths.merged_dir(dataset) / merged_files.GROUPS)
    merged = table["group_offsets"]
    is_by_time = stats["split"].get("by") == "time"
    left_out = sum(sum(stats["split"][reason].values()) for reason in LEFT_OUT) if is_by_time else 0
    found = sum(stats["rows"].values()) + left_out
    if found != merged[-1]:
        where = f"{folder / part_files.STATS}: {found:,} rows in or between parts"
        yield f"{where}, expected {merged[-1]:,} as merged; {again}"
    groups: dict[int, str] | None = None if is_by_time else {}
    for part in PARTS:
        yield from (f"{found}; {again}" for found in part_faults(data, part, stats["rows"][part], groups))
        if stats["split"].get("shuffle"):
            yield from (f"{found}; {again}" for found in order_faults(data, part, table, stats["split"]["seed"]))
    if is_by_time:
        yield from (f"{found}; {again}" for found in time_faults(data, stats["split"]["boundaries"]))
    elif groups is not None and len(groups) != len(merged) - 1:
        yield f"{folder}: {len(groups):,} groups, expected {len(merged) - 1:,} as merged; {again}"


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        look_first(params, datasets)
        if all(map(_is_absent, datasets)):
            raise ExpectedError(
                f"{', '.join(datasets)}: nothing is here, expected arrays to verify; `make preprocess` makes them, "
                "`make pull` brings them"
            )
        n_faults = push.remote_faults()
        for line, is_fault in verify(datasets, params):
            n_faults += is_fault
            sys.stdout.write(f"{printable(line)}\n")
        if n_faults:
            raise ExpectedError(f"{n_faults} faults, see above; type what is printed and run `make verify` again")

    return cli.on_datasets("commands.verify", "Read everything again and check it.", action)


if __name__ == "__main__":
    sys.exit(main())
