"""Read everything again and check it: bytes against dvc.lock, rows and groups through all stages, values.

- Every output and the object of DVC's cache behind it has the digest that dvc.lock records.
- Raw files are those of the manifests, and each NPZ holds the units of its manifest.
- Rows and groups agree from the NPZ files through merged to the parts; no group is in two parts.
- X has no NaN or infinity; masks are 0 or 1 and hold their labels; packed rows have no bit behind their last one.
- Rows that are shuffled are all there, each once, in the order of their hash.

Each fault is one line with the file and the command that repairs it. An output may be a hard link to its object in the
cache, so that both are damaged; then both must go. The output of a stage that still has its object is checked out
again; else the stage runs again, or is pulled where a remote is set.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stages.commands import push
from stages.commands.verify_parts import order_faults, part_faults, time_faults
from stages.core import arrays, fields, manifests, part_files, paths
from stages.core.arrays import read_npz
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, Params
from stages.core.part_files import LEFT_OUT, PARTS
from stages.datasets import base
from stages.pipeline import lock, verbs
from stages.pipeline.internals import CachedFile, Store, open_store
from stages.processed import Processed
from stages.runtime import cli
from stages.runtime.workers import ordered


class Output(NamedTuple):
    """A file, the stage that wrote it, and whether it is the batch list, which git holds and not DVC's cache."""

    stage: str
    file: CachedFile
    is_list: bool = False


def verify(dataset: str, params: Params) -> list[str]:
    """Return one line per fault of a dataset, none if all is well."""
    faults = list(damaged_files(dataset, dataset in params.simulate, open_store()))
    if faults:  # what the bytes already tell need not be told again
        return faults
    checks = (_raw, _batches, _merged, _parts)
    for check in checks:
        try:
            faults += check(dataset, params.dataset(dataset))
        except ExpectedError as error:
            faults.append(str(error))
    return faults


def damaged_files(dataset: str, is_simulated: bool, store: Store) -> Iterator[str]:
    """Yield a line for each output of the dataset, or object of DVC's cache, whose bytes are not those of dvc.lock."""
    files: list[Output] = []
    for recorded in _recorded(dataset, is_simulated):
        is_list = recorded.path == paths.batch_list(dataset)
        try:
            files += [Output(recorded.stage, file, is_list) for file in store.files(recorded.path, recorded.md5)]
        except ExpectedError as error:
            yield str(error)
    digests = ordered(CachedFile.digests, [output.file for output in files], "threading")
    for output, found in zip(files, digests, strict=True):
        if fault := _fault(output, *found, store.repro):
            yield fault


def _recorded(dataset: str, is_simulated: bool) -> Iterator[lock.Output]:
    """Yield every output that dvc.lock records for the dataset's current stages."""
    entries = lock.read()
    present = [verb for verb in verbs.VERBS if is_simulated or verb != "simulate"]
    for name in verbs.stage_names(present, dataset, manifests.read_batch_list(dataset)):
        yield from lock.outputs(entries, name)


def _fault(output: Output, workspace: str | None, cached: str | None, repro: str) -> str | None:
    """Return what is wrong with an output, given the MD5 of the workspace file and of the object, None if absent."""
    path, held, stage = output.file.path, output.file.object, output.stage
    if output.is_list:  # DVC cannot start without it
        again = f"rm -f {path} && python -m stages.{stage.replace('@', ' ')} && dvc repro"
        return None if workspace == output.file.md5 else f"{path}: not the list that {stage} wrote; `{again}`"
    if cached not in (output.file.md5, None):
        return f"{held}: DVC's copy of {path} is damaged; `rm -f {held} {path} && {repro}`"
    if workspace == output.file.md5:
        return None
    again = repro if cached is None else f"dvc checkout --force {stage}"
    if workspace is None:
        return f"{path}: missing, expected an output of {stage}; `{again}`"
    return f"{path}: not what {stage} wrote; `rm -f {path} && {again}`"


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
    report = json.loads(paths.report(dataset).read_text(encoding="utf-8"))
    n_rows, n_groups = -report["duplicates"]["rows"], -report["duplicates"]["groups"]
    for batch in manifests.read_batch_list(dataset):
        path = paths.intermediate(dataset, batch)
        offsets = arrays.read_member(path, arrays.npz_headers(path)["group_offsets"])
        n_rows, n_groups = n_rows + int(offsets[-1]), n_groups + len(offsets) - 1
    folder, again = paths.merged_dir(dataset), _redo("merge", dataset)
    for field in fields.read_fields(folder):
        path = folder / f"{field.name}.npy"
        found = arrays.npy_header(path).shape[0]
        if found != n_rows:
            yield f"{path}: {found:,} rows, expected {n_rows:,} as in the batches; {again}"
    groups = read_npz(folder / "groups.npz")
    found, end = len(np.unique(groups["group_id"])), int(groups["group_offsets"][-1])
    if (found, len(groups["group_id"]), end) != (n_groups, n_groups, n_rows):
        where = f"{folder / 'groups.npz'}: {found:,} groups with {end:,} rows"
        yield f"{where}, expected {n_groups:,} with {n_rows:,} as in the batches; {again}"


def _parts(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check rows, groups, values and masks of the three parts."""
    folder, again = paths.processed_dir(dataset), _redo("split", dataset)
    data = Processed(folder)
    stats = data.stats()
    table = read_npz(paths.merged_dir(dataset) / "groups.npz")
    merged = table["group_offsets"]
    is_by_time = stats["split"].get("by") == "time"
    left_out = sum(sum(stats["split"][reason].values()) for reason in LEFT_OUT) if is_by_time else 0
    found = sum(stats["rows"].values()) + left_out
    if found != merged[-1]:
        where = f"{folder / part_files.STATS}: {found:,} rows in or between parts"
        yield f"{where}, expected {merged[-1]:,} as merged; {again}"
    groups: dict[int, str] | None = None if is_by_time else {}
    for part in PARTS:
        yield from (f"{fault}; {again}" for fault in part_faults(data, part, stats["rows"][part], groups))
        if stats["split"].get("shuffle"):
            yield from (f"{fault}; {again}" for fault in order_faults(data, part, table, stats["split"]["seed"]))
    if is_by_time:
        yield from (f"{fault}; {again}" for fault in time_faults(data, stats["split"]["boundaries"]))
    elif groups is not None and len(groups) != len(merged) - 1:
        yield f"{folder}: {len(groups):,} groups, expected {len(merged) - 1:,} as merged; {again}"


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        n_faults = push.remote_faults()
        for dataset in datasets:
            faults = verify(dataset, params)
            n_faults += len(faults)
            sys.stdout.writelines(f"{line}\n" for line in faults)
            if not faults:
                sys.stdout.write(f"{dataset}: every file is as written; rows, groups, values and masks agree\n")
        if n_faults:
            raise ExpectedError(f"{n_faults} faults, see above; repair the first and run `make verify` again")

    return cli.on_datasets("commands.verify", "Read everything again and check it.", action)


if __name__ == "__main__":
    sys.exit(main())
