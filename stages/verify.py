"""Read everything again and check it: bytes against dvc.lock, rows and groups through all stages, values.

- Every output and the object of DVC's cache behind it has the digest that dvc.lock records.
- Raw files are those of the manifests, and each NPZ holds the units of its manifest.
- Rows and groups agree from the NPZ files through merged to the parts; no group is in two parts.
- X has no NaN or infinity; masks are 0 or 1 and hold their labels.

Each fault is one line with the file and the command that repairs it.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages import arrays, cli, paths, units
from stages.errors import ExpectedError
from stages.params import DatasetParams, load
from stages.split import CHUNK_ROWS, PARTS
from stages.workers import ordered

LOCK = Path("dvc.lock")
HASH_CHUNK = 1 << 22


def verify(dataset: str, params: DatasetParams) -> list[str]:
    """Return one line per fault of a dataset, none if all is well."""
    faults = list(damaged_files(dataset))
    if faults:
        return faults
    checks = (_raw, _batches, _merged, _parts)
    for check in checks:
        try:
            faults += check(dataset, params)
        except ExpectedError as error:
            faults.append(str(error))
    return faults


def damaged_files(dataset: str) -> Iterator[str]:
    """Yield a line for each output of the dataset, or object of DVC's cache, whose bytes are not those of dvc.lock."""
    tracked = list(_tracked_files(dataset))
    for (path, expected, stage), found in zip(tracked, ordered(_md5_pair, tracked, "threading"), strict=True):
        workspace, cached = found
        if cached not in (expected, None):
            yield (
                f"{_cache_object(expected)}: DVC's copy of {path} is damaged; remove both files, then "
                f"`dvc fetch {stage}` if a remote holds it, and `dvc repro`"
            )
        elif workspace is None:
            yield f"{path}: missing, expected an output of {stage}; `dvc checkout {stage}`"
        elif workspace != expected:
            yield f"{path}: not what {stage} wrote; remove it, then `dvc checkout {stage}` or `dvc repro`"


def _tracked_files(dataset: str) -> Iterator[tuple[Path, str, str]]:
    """Yield path, MD5 and stage of every file that dvc.lock records as an output of the dataset's current stages."""
    if not LOCK.is_file():
        raise ExpectedError(f"{LOCK}: not found, expected the record of a run; `dvc repro`")
    listed = {f"process@{dataset}-{batch}" for batch in units.read_batch_list(dataset)}
    stages: dict[str, Any] = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        if name.partition("@")[2] != dataset and name not in listed:
            continue
        for out in stage.get("outs", []):
            path, md5 = Path(out["path"]), str(out["md5"])
            if path.name == paths.batch_list(dataset).name:
                continue
            if not md5.endswith(".dir"):
                yield path, md5, name
                continue
            yield from ((path / entry["relpath"], entry["md5"], name) for entry in _dir_entries(md5, path))


def _dir_entries(md5: str, path: Path) -> list[dict[str, str]]:
    listing = _cache_object(md5)
    try:
        content = listing.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            raise ExpectedError(f"{listing}: DVC's list of {path} is damaged; remove it and `dvc repro`")
        entries: list[dict[str, str]] = json.loads(content)
    except FileNotFoundError:
        raise ExpectedError(f"{listing}: DVC's list of {path} is missing; `dvc pull` or `dvc repro`") from None
    return entries


def _cache_object(md5: str) -> Path:
    return Path(".dvc/cache/files/md5", md5[:2], md5[2:])


def _md5_pair(tracked: tuple[Path, str, str]) -> tuple[str | None, str | None]:
    """Return the MD5 of a workspace file and of the cache's object, None for one that is not there."""
    path, expected, _ = tracked
    cached = _cache_object(expected)
    workspace_md5 = _md5(path)
    if workspace_md5 is not None and cached.exists() and path.samefile(cached):
        return workspace_md5, workspace_md5
    return workspace_md5, _md5(cached)


def _md5(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _raw(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check the raw files against the manifests."""
    for batch in units.read_batch_list(dataset):
        for unit in units.read_manifest(dataset, batch):
            try:
                units.read_unit(params.raw_dir, unit)
            except ExpectedError as error:
                yield str(error)


def _batches(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check that each NPZ reads whole and holds the units of its manifest."""
    for batch in units.read_batch_list(dataset):
        path = paths.intermediate(dataset, batch)
        headers = arrays.npz_headers(path)
        for header in headers.values():
            arrays.read_member(path, header)
        meta = json.loads(arrays.read_member(path, headers["meta"]).tobytes())
        if meta["units"] != [unit.key for unit in units.read_manifest(dataset, batch)]:
            yield f"{path}: its units are not those of {paths.manifest(dataset, batch)}; remove it and `dvc repro`"


def _merged(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check that merged has the rows of all batches but the duplicates."""
    report = json.loads(paths.report(dataset).read_text(encoding="utf-8"))
    n_rows = -report["duplicates"]["rows"]
    for batch in units.read_batch_list(dataset):
        path = paths.intermediate(dataset, batch)
        n_rows += int(arrays.read_member(path, arrays.npz_headers(path)["group_offsets"])[-1])
    for path in sorted(paths.merged_dir(dataset).glob("*.npy")):
        found = arrays.npy_header(path).shape[0]
        if found != n_rows:
            yield f"{path}: {found:,} rows, expected {n_rows:,} as in the batches; remove it and `dvc repro`"


def _parts(dataset: str, params: DatasetParams) -> Iterator[str]:
    """Check rows, groups, values and masks of the three parts."""
    folder = paths.processed_dir(dataset)
    stats = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
    groups: dict[int, str] = {}
    for part in PARTS:
        keys = np.load(folder / f"keys_{part}.npz", allow_pickle=False)
        n_rows = stats["rows"][part]
        for group in np.unique(keys["group_id"]).tolist():
            if group in groups:
                where = f"group {group:016x} is in {groups[group]} and {part}"
                yield f"{folder}: {where}; `dvc repro --force split@{dataset}`"
            groups[group] = part
        for path in sorted(folder.glob(f"*_{part}.npy")):
            yield from _feature_faults(path, n_rows)
        yield from _mask_faults(folder, part, n_rows)
    merged = arrays.npz_headers(paths.merged_dir(dataset) / "groups.npz")["group_id"].shape[0]
    if len(groups) != merged:
        yield f"{folder}: {len(groups):,} groups, expected {merged:,} as merged; `dvc repro --force split@{dataset}`"


def _feature_faults(path: Path, n_rows: int) -> Iterator[str]:
    found = arrays.npy_header(path).shape[0]
    if found != n_rows:
        yield f"{path}: {found:,} rows, expected {n_rows:,} as in stats.json; remove it and `dvc repro`"
    start = 0
    for rows in arrays.npy_chunks(path, CHUNK_ROWS):
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            row = start + int(np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(1))[0])
            yield f"{path}: row {row} is not finite; remove it and `dvc repro`"
            return
        start += len(rows)


def _mask_faults(folder: Path, part: str, n_rows: int) -> Iterator[str]:
    labels = np.load(folder / f"labels_{part}.npz", allow_pickle=False)
    masks = np.load(folder / f"masks_{part}.npz", allow_pickle=False)
    for head in masks.files:
        mask, label = masks[head], labels[head]
        where = f"{folder}: {head} of {part}"
        if len(mask) != n_rows or len(label) != n_rows:
            yield f"{where} has {len(label):,} labels and {len(mask):,} masks, expected {n_rows:,} rows"
        elif mask.size and mask.max() > 1:
            yield f"{where} has a mask value {mask.max()}, expected 0 or 1"
        else:
            rows = np.flatnonzero(label >= 0)
            illegal = rows[mask[rows, label[rows]] == 0]
            if len(illegal):
                yield f"{where}: the mask of row {illegal[0]} refuses its label ({len(illegal):,} such rows)"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m stages.verify", description="Read everything again and check it.")
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        n_faults = 0
        for dataset in chosen or sorted(params.datasets):
            faults = verify(dataset, params.dataset(dataset))
            n_faults += len(faults)
            sys.stdout.writelines(f"{line}\n" for line in faults)
            if not faults:
                sys.stdout.write(f"{dataset}: every file is as written; rows, groups, values and masks agree\n")
        if n_faults:
            raise ExpectedError(f"{n_faults} faults, see above; repair the first and run `make verify` again")

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
