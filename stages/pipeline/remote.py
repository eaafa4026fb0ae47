"""Compare the remote with what `dvc push` should have sent there, and make DVC send again what is not whole.

DVC takes a `.dir` object on the remote for all files of that folder, and any object that is there for a whole one; what
is on the remote it knows from a record of its own. So a push that was killed, or a file that was lost there later, is
mended by no further push. Here the remote is listed afresh; what is wrong is removed there, with every `.dir` that
stands for it, and DVC's record is emptied, after which the next `dvc push` sends it.

An object is removed only if it can be sent again: DVC's cache must hold it with the right digest.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stages.core.errors import ExpectedError
from stages.pipeline import internals
from stages.pipeline.internals import CachedFile, Store
from stages.runtime.workers import ordered

PIECE: Final = 1 << 20  # bytes of a remote object that are in memory at once


@dataclass(frozen=True)
class Shared:
    """What the remote should hold: an object, and the MD5s of the `.dir` objects that stand for it."""

    file: CachedFile
    folders: frozenset[str] = frozenset()

    @property
    def md5(self) -> str:
        """The object's digest, by which the remote knows it."""
        return self.file.md5


@dataclass(frozen=True)
class RemoteFault:
    """An object that the remote lacks or holds wrongly."""

    shared: Shared
    what: str  # "missing", or "7 bytes, expected 9", or "its bytes are not those of its digest"
    is_there: bool

    def __str__(self) -> str:
        """Return it as a user is told of it."""
        return f"{self.shared.file.path}: {self.what}"

    @property
    def can_be_sent(self) -> bool:
        """Whether DVC's cache holds the object as it should be."""
        return self.shared.file.digests()[1] == self.shared.md5.removesuffix(".dir")


@dataclass(frozen=True)
class RemoteStore:
    """The default remote: its name, its file system and the folder there."""

    name: str
    fs: Any
    root: str

    def address(self, md5: str) -> str:
        """Path of an object there."""
        return str(self.fs.join(self.root, *internals.object_parts(md5)))

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each object there, by MD5."""
        return internals.remote_sizes(self.fs, self.root)

    def sizes_of(self, md5s: Iterable[str]) -> dict[str, int]:
        """Return the bytes of some objects, as far as they are there: a few, of a remote that may hold millions."""
        found = {md5: internals.remote_size(self.fs, self.address(md5)) for md5 in md5s}
        return {md5: size for md5, size in found.items() if size is not None}

    def digest(self, md5: str) -> str:
        """Return the MD5 of an object's bytes as the remote gives them."""
        digest = hashlib.md5(usedforsecurity=False)
        with self.fs.open(self.address(md5), mode="rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def remove(self, md5s: Iterable[str]) -> None:
        """Remove objects, and make DVC forget that they were there."""
        for md5 in md5s:
            self.fs.rm_file(self.address(md5))
        internals.forget_remote_index()


def open_remote() -> RemoteStore:
    """Open the default remote.

    Raises
    ------
    ExpectedError
        When none is set.
    """
    fs, root = internals.default_remote()
    return RemoteStore(internals.remote_name(), fs, root)


def expected(store: Store, stages: Collection[str] = ()) -> list[Shared]:
    """Return each object that the remote should hold, of all outputs or of those of some stages, once.

    DVC's list of a folder is fetched where it is not here. Of a folder without one only the list itself is expected.

    Raises
    ------
    ExpectedError
        When DVC's list of a folder is damaged: then nothing can be said of the folder's files.
    """
    outputs = internals.outputs_to_push(stages)
    internals.fetch_missing(store, [md5 for _, md5 in outputs if md5.endswith(".dir")])
    files: dict[str, CachedFile] = {}
    folders: dict[str, set[str]] = {}
    for path, md5 in outputs:
        for file in _objects(store, path, md5):
            files.setdefault(file.md5, file)
            folders.setdefault(file.md5, set()).update({md5} if md5.endswith(".dir") else ())
    return [Shared(file, frozenset(folders[md5])) for md5, file in files.items()]


def _objects(store: Store, path: Path, md5: str) -> list[CachedFile]:
    """Return the objects of an output: itself, and of a folder its files."""
    itself = CachedFile(path, md5, store.object(md5))
    is_listed = md5.endswith(".dir") and itself.object.exists()
    return [itself, *store.files(path, md5)] if is_listed else [itself]


def size_faults(objects: Iterable[Shared], sizes: Mapping[str, int]) -> list[RemoteFault]:
    """Return the objects that are missing on the remote or have another size than in DVC's cache."""
    faults = []
    for shared in objects:
        held = shared.file.object
        there = sizes.get(shared.md5)
        if there is None:
            faults.append(RemoteFault(shared, "missing", is_there=False))
        elif held.is_file() and held.stat().st_size != there:
            size = held.stat().st_size
            faults.append(RemoteFault(shared, f"{there:,} bytes, expected {size:,}", is_there=True))
    return faults


def byte_faults(objects: Iterable[Shared], remote: RemoteStore) -> list[RemoteFault]:
    """Return the objects whose bytes on the remote are not those of their digest; all of them are read."""
    read = list(objects)
    digests = ordered(remote.digest, [shared.md5 for shared in read], "threading")
    wrong = [shared for shared, digest in zip(read, digests, strict=True) if digest != shared.md5.removesuffix(".dir")]
    return [RemoteFault(shared, "its bytes are not those of its digest", is_there=True) for shared in wrong]


def make_way(faults: Iterable[RemoteFault], sizes: Mapping[str, int], remote: RemoteStore) -> None:
    """Remove from the remote what keeps `dvc push` from sending the objects of faults again.

    An object that is wrong stays if this machine could not send it again: another one may, and a `.dir` must go then.
    """
    doomed: set[str] = set()
    for fault in faults:
        doomed |= fault.shared.folders
        if fault.is_there and fault.can_be_sent:
            doomed.add(fault.shared.md5)
        elif fault.is_there:
            doomed.discard(fault.shared.md5)
    remote.remove(sorted(md5 for md5 in doomed if md5 in sizes))


def refuse(faults: list[RemoteFault], n_objects: int, remote: RemoteStore) -> None:
    """Say which objects the remote still lacks.

    Raises
    ------
    ExpectedError
        If there are any.
    """
    if not faults:
        return
    told = "; ".join(map(str, faults[:3])) + ("; ..." if len(faults) > 3 else "")
    where = f"{n_objects - len(faults):,} of {n_objects:,} objects are in {remote.name}, expected all"
    raise ExpectedError(
        f"{where}: {told}; `dvc repro --pull` or `make pull` gets what DVC's cache here lacks, then push"
    )
