"""Folders that `dvc add` tracks: their files by name and digest, and three versions of one merged into one.

A ``.dvc`` file names the `.dir` object, DVC's list of the folder's files. Each file of the folder goes by itself: what
one side changed, added or removed is taken; what both changed differently is a conflict, and only that.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml

from stages.core.errors import ExpectedError
from stages.core.files import atomic
from stages.pipeline import internals
from stages.pipeline.internals import Store

Files = Mapping[str, str]  # MD5 by relative path
Side = Literal["ours", "theirs"]

PUSH_FIRST = "whoever has it types `make push`, then you `make merge`"


class Conflict(ExpectedError):
    """Both sides changed the same files."""


def tracked(text: str, where: str) -> tuple[Path, str]:
    """Return the folder that the text of a ``.dvc`` file tracks, relative to that file, and the MD5 of its list.

    Raises
    ------
    ExpectedError
        When it is no such text, or tracks a single file.
    """
    try:
        outs = yaml.safe_load(text)["outs"]
        path, md5 = Path(outs[0]["path"]), str(outs[0]["md5"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise ExpectedError(f"{where}: no readable .dvc file, expected one of `dvc add`; `make merge`") from None
    if len(outs) != 1 or not md5.endswith(".dir"):
        raise ExpectedError(f"{where}: tracks a single file, expected a folder; take one of both versions by hand")
    return path, md5


def files(store: Store, text: str, where: str) -> dict[str, str]:
    """Return the files of the folder that the text of a ``.dvc`` file tracks; none for an empty text.

    Raises
    ------
    ExpectedError
        When DVC's list of them is neither here nor on the remote.
    """
    if not text.strip():
        return {}
    folder, md5 = tracked(text, where)
    internals.fetch_missing(store, [md5])
    if not store.object(md5).exists():
        raise ExpectedError(f"{where}: one version of {folder} is in neither DVC's cache nor the remote; {PUSH_FIRST}")
    return {str(file.path): file.md5 for file in store.files(Path(), md5)}


def merged(base: Files, ours: Files, theirs: Files, take: Side | None = None) -> dict[str, str]:
    """Return the files of both sides.

    Parameters
    ----------
    base, ours, theirs
        The version from which both started, and those of each side.
    take
        Whose version of a file counts that both changed.

    Raises
    ------
    Conflict
        When both changed the same file and `take` does not say whose counts; with the names.
    """
    result, both = {}, []
    for name in sorted({*base, *ours, *theirs}):
        before, one, other = base.get(name), ours.get(name), theirs.get(name)
        chosen = other if one == before else one
        if before != one != other != before:
            both.append(name)
            chosen = other if take == "theirs" else one
        if chosen is not None:
            result[name] = chosen
    if both and take is None:
        names = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
        raise Conflict(f"both changed {names}; `make merge TAKE=ours` or `make merge TAKE=theirs` says whose count")
    return result


def to_be_kept(base: Files, ours: Files, theirs: Files) -> set[str]:
    """Return the names that a merge must have: those of either side that the other did not remove."""
    removed = {name for name in base if name not in ours or name not in theirs}
    return {*ours, *theirs} - removed


def merge_texts(base: str, ours: str, theirs: str, where: str, take: Side | None = None) -> str:
    """Return the text of a ``.dvc`` file in which both sides' changes of the folder are; put its list into the cache.

    Parameters
    ----------
    base, ours, theirs
        The three texts; that of `base` is empty where both began to track the folder.
    where
        The file's name, for messages.
    take
        As for `merged`.

    Raises
    ------
    ExpectedError
        When a list, or a file of theirs, is neither here nor on the remote, or both changed the same file.
    """
    store = internals.open_store()
    base_files, our_files, their_files = (files(store, text, where) for text in (base, ours, theirs))
    return text_of(store, merged(base_files, our_files, their_files, take), ours, where)


def text_of(store: Store, content: Files, text: str, where: str) -> str:
    """Return the text of a ``.dvc`` file with other files in its folder; put the folder's list into the cache.

    Raises
    ------
    ExpectedError
        When a file is in neither DVC's cache nor the remote.
    """
    internals.fetch_missing(store, content.values())
    missing = sorted(name for name, md5 in content.items() if not store.object(md5).exists())
    if missing:
        raise ExpectedError(
            f"{where}: {len(missing)} files, as {missing[0]}, are in neither DVC's cache nor the remote; {PUSH_FIRST}"
        )
    size = sum(store.object(md5).stat().st_size for md5 in content.values())
    values = {"md5": _write_list(store, content), "size": size, "nfiles": len(content)}
    return _with_values(text, values)


def _write_list(store: Store, content: Files) -> str:
    """Put DVC's list of a folder into the cache, as DVC writes it; return its MD5 with ``.dir``."""
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(content.items())]
    text = json.dumps(entries, sort_keys=True).encode()
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
    path = store.object(md5)
    if not path.exists():
        with atomic(path) as temporary:
            temporary.write_bytes(text)
        path.chmod(0o444)  # as DVC leaves what it has checked
    return md5


def _with_values(text: str, values: Mapping[str, object]) -> str:
    """Return the text of a ``.dvc`` file with other values of some keys, and everything else as it is."""
    for key, value in values.items():
        text = re.sub(rf"^([- ] {key}: ).*$", rf"\g<1>{value}", text, count=1, flags=re.MULTILINE)
    return text
