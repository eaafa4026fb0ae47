"""The versions that are compared: the workspace, a folder, or a commit, whose files are taken from DVC's cache.

Of a commit, dvc.lock names what its outputs were. A temporary folder with links to those objects of the cache stands
for its data/; so nothing is checked out and nothing is copied. What the cache lacks is got from the remote, if one is
set, and only what is asked for.
"""

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import part_files, paths
from stages.core.errors import ExpectedError
from stages.pipeline import git, internals, lock, verbs
from stages.pipeline.internals import CachedFile, Store
from stages.processed import Processed

WORKSPACE = "the workspace"


@dataclass(frozen=True)
class DataVersion:
    """A version of the data: what a user calls it, and the folder that its data/ is in.

    Attributes
    ----------
    alone
        The folder is not that of a repository but of one dataset's parts; its units have names and no digests.
    """

    name: str
    root: Path
    alone: bool = False

    def datasets(self) -> list[str]:
        """Return the datasets whose parts are there."""
        if self.alone:
            return [self.root.resolve().name]
        return sorted(path.parent.name for path in self.root.glob(f"data/processed/*/{part_files.STATS}"))

    def processed(self, dataset: str) -> Processed:
        """Return the parts of a dataset."""
        return Processed(self.root if self.alone else self.root / paths.processed_dir(dataset))

    def has(self, dataset: str) -> bool:
        """Whether the parts of a dataset are there."""
        return (self.processed(dataset).folder / part_files.STATS).is_file()

    def units(self, dataset: str) -> dict[str, str]:
        """Return the digest of each unit by its key, an empty one where it is not known.

        Raises
        ------
        ExpectedError
            When a manifest is not what discover writes.
        """
        manifests = [] if self.alone else sorted((self.root / paths.manifest_dir(dataset)).glob("*.json"))
        if not manifests:
            return dict.fromkeys(self.processed(dataset).units(), "")
        return {key: digest for path in manifests for key, digest in _units(path)}

    def get(self, dataset: str, names: Collection[str]) -> None:
        """See that files of a dataset's parts are there, as far as they can be got."""


@dataclass(frozen=True)
class RecordedVersion(DataVersion):
    """The version that a dvc.lock names, in a temporary folder; `files` are those not got yet, by their path there."""

    store: Store = field(default_factory=internals.open_store)
    files: Mapping[Path, CachedFile] = field(default_factory=dict)

    def get(self, dataset: str, names: Collection[str]) -> None:
        """Link files of a dataset's parts, after getting from the remote what the cache lacks."""
        wanted = [paths.processed_dir(dataset) / name for name in names]
        _link(self.store, self.root, [self.files[path] for path in wanted if path in self.files])


def _units(path: Path) -> Iterator[tuple[str, str]]:
    try:
        for entry in json.loads(path.read_bytes())["units"]:
            yield str(entry["key"]), str(entry["digest"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExpectedError(f"{path}: not a manifest ({error!r}), expected one of discover; `dvc repro`") from None


@contextmanager
def opened(name: str, datasets: Collection[str] = ()) -> Iterator[DataVersion]:
    """Give a version.

    Parameters
    ----------
    name
        A folder with data/processed or with a dataset's parts, or what git knows for a commit; empty is the workspace.
    datasets
        What of a commit is wanted; default: all it has.

    Raises
    ------
    ExpectedError
        When it is none of these, or the record of it is neither in DVC's cache nor on the remote.
    """
    folder = Path(name or ".")
    if (folder / part_files.STATS).is_file():
        yield DataVersion(name, folder, alone=True)
    elif any(folder.glob(f"data/processed/*/{part_files.STATS}")):
        yield DataVersion(name or WORKSPACE, folder)
    else:
        shown, text = _recorded(name)
        with tempfile.TemporaryDirectory(prefix="batchwise-diff-") as temporary:
            yield _of_lock(shown, lock.parsed(text, f"{lock.LOCK} of {shown}"), Path(temporary), datasets)


def _recorded(name: str) -> tuple[str, str]:
    """Return what a commit, or the workspace that has no parts, is called, and the text of its dvc.lock."""
    if not name:
        text = lock.LOCK.read_text(encoding="utf-8") if lock.LOCK.is_file() else ""
        shown = WORKSPACE
    else:
        commit = git.commit_id(name)
        if not commit:
            what = "a folder without data/processed" if Path(name).is_dir() else "neither a commit of git nor a folder"
            raise ExpectedError(f"REV: {name!r} is {what}, expected such as HEAD~1, a branch, or a folder with arrays")
        shown = name if commit.startswith(name) else f"{name} ({commit[:7]})"
        text = git.show(commit, f"./{lock.LOCK}")
    if not text:
        raise ExpectedError(
            f"{shown}: no {lock.LOCK}, expected the record of a run; name another commit or `dvc repro`"
        )
    return shown, text


def _of_lock(shown: str, entries: Mapping[str, Any], root: Path, datasets: Collection[str]) -> RecordedVersion:
    """Link the small files of the parts, and the manifests, of a dvc.lock's outputs below a folder."""
    outs = [
        out
        for stage, entry in entries.items()
        if (of := verbs.parsed(stage)).verb in ("discover", "split") and (not datasets or of.dataset in datasets)
        for out in entry.get("outs", ())
        if Path(out["path"]) in (paths.manifest_dir(of.dataset), paths.processed_dir(of.dataset))
    ]
    store = internals.open_store()
    store = Store(store.folder.absolute(), store.repro)
    internals.fetch_missing(store, [out["md5"] for out in outs])
    files: dict[Path, CachedFile] = {}
    for out in outs:
        if not store.object(out["md5"]).exists():
            raise ExpectedError(
                f"{shown}: DVC's list of {out['path']} is neither in its cache nor on a remote, expected it there; "
                "`dvc fetch --all-commits`, or name another commit"
            )
        files |= {file.path: file for file in store.files(Path(out["path"]), out["md5"])}
    small = [file for path, file in files.items() if path.suffix == ".json" or not _is_large(path.name)]
    _link(store, root, small)
    lacking = [file for file in small if not file.object.exists()]
    if lacking:
        raise ExpectedError(
            f"{shown}: {len(lacking)} files, as {lacking[0].path}, are neither in DVC's cache nor on a remote, "
            "expected them there; `dvc fetch --all-commits`, or name another commit"
        )
    return RecordedVersion(shown, root, store=store, files=files)


def _is_large(name: str) -> bool:
    """Whether a file of the parts is got only when it is asked for: rows of features, labels, masks, keys."""
    return any(name.endswith((f"_{part}.npy", f"_{part}.npz")) for part in part_files.PARTS)


def _link(store: Store, root: Path, files: Collection[CachedFile]) -> None:
    """Link objects of the cache as files below a folder; what is neither here nor on the remote is left out."""
    internals.fetch_missing(store, [file.md5 for file in files])
    for file in files:
        link = root / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        if file.object.exists() and not link.is_symlink():
            link.symlink_to(file.object)
