"""Drop the workspace copies of intermediate and merged arrays that DVC's cache still holds.

A later `dvc repro` runs nothing for them: it takes them from the cache when a stage needs them. A file that the cache
does not hold is kept, and named: one that is not as its stage wrote it, or whose object is missing or damaged. To tell
these, every file and its object is read, a file that is a link to its object once.
"""

import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from stages.commands.repair import look_first
from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.pipeline import lock, verbs
from stages.pipeline.internals import CachedFile, Store, open_store
from stages.runtime import cli
from stages.runtime.workers import ordered

logger = logging.getLogger("batchwise")


def slim(dataset: str) -> list[Path]:
    """Remove the intermediate and merged arrays of a dataset that DVC's cache holds; return the files that are kept.

    Raises
    ------
    ExpectedError
        When there are arrays, and no dvc.lock that says what they are.
    """
    folders = (paths.intermediate_dir(dataset), paths.merged_dir(dataset))
    files = {path for folder in folders for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    held = _held(dataset, files)
    found = [path.lstat() for path in held if not path.is_symlink()]
    own = sum(one.st_blocks * 512 for one in found if one.st_nlink == 1)
    for path in held:
        path.unlink()
    kept = sorted(files - held)
    for path in kept:
        logger.warning("slim %s: kept %s, which DVC's cache does not hold", dataset, path)
    for folder in folders:
        _remove_empty_folders(folder)
    logger.info("slim %s: removed %d files of %s and %s%s", dataset, len(held), *folders, _freed(len(held), own))
    return kept


def _freed(n_files: int, n_bytes: int) -> str:
    """Say what was freed; links to DVC's cache take no space, and `dvc gc` alone frees what the cache holds.

    Parameters
    ----------
    n_files
        How many files were removed.
    n_bytes
        What those of them took on the disk that were no links.
    """
    if not n_files:
        return ""
    if n_bytes:
        return f"; {n_bytes / 1e6:,.1f} MB of copies are freed (of clones, as reflinks make them, less)"
    return (
        "; they were links to DVC's cache, so no space is freed: `dvc gc --workspace --all-commits` drops "
        "from the cache what no commit uses, data/README.md says more"
    )


def _held(dataset: str, files: Collection[Path]) -> set[Path]:
    """Return those of some files that are as their stage wrote them, and so is their object in DVC's cache."""
    if not files:
        return set()
    recorded = [file for file in _recorded(dataset, open_store()) if file.path in files]
    digests = ordered(CachedFile.digests, recorded, "threading")
    return {file.path for file, found in zip(recorded, digests, strict=True) if found == (file.md5, file.md5)}


def _recorded(dataset: str, store: Store) -> Iterator[CachedFile]:
    """Yield the files that dvc.lock records of the listed batches and of merge."""
    entries = lock.read()
    for stage in verbs.stage_names(("process", "merge"), dataset, manifests.read_batch_list(dataset)):
        for output in lock.outputs(entries, stage) if stage in entries else ():
            try:
                yield from store.files(output.path, output.md5)
            except ExpectedError as error:  # DVC could not put the folder together again, so none of its files is held
                logger.warning("slim %s: %s", dataset, error)


def _remove_empty_folders(folder: Path) -> None:
    """Remove a folder and those below it, as far as they hold no file."""
    below = sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True)
    for path in (*below, folder):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        look_first(params, datasets)
        n_kept = sum(len(slim(dataset)) for dataset in datasets)
        if n_kept:
            raise ExpectedError(
                f"files kept: {n_kept}, see above; run `dvc repro`, and `make verify` if they are again"
            )

    return cli.on_datasets("commands.slim", "Drop arrays that DVC's cache holds.", action)


if __name__ == "__main__":
    sys.exit(main())
