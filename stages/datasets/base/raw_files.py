"""Which files below a raw folder a dataset reads, and a word of those that it does not read.

No file is passed over in silence: it is read, or of a kind that is left out on purpose (`is_ignored`), or named in one
warning.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import ExpectedError
from stages.datasets.base.compressed import MARKS, plain_name
from stages.runtime.text import printable

logger = logging.getLogger("batchwise")

MOST_NAMED: Final = 5  # of the files that are not read
# Of macOS, Windows and file servers, in lower case.
LEFT_OUT: Final = frozenset(
    ("__macosx", "icon\r", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir")
)


def is_ignored(name: str) -> bool:
    """Say whether a file or folder is left out on purpose, and so is all below it.

    Names that begin with a dot (macOS's ``._NQ.csv`` and ``.DS_Store``, Jupyter's ``.ipynb_checkpoints``, files that
    are still being written) or with ``~$`` (Excel's note of who has a sheet open), `*.tmp`, and what macOS and Windows
    leave in folders and archives.
    """
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower.endswith(".tmp") or lower in LEFT_OUT


@dataclass(frozen=True)
class FileNames:
    """The names of the files that a dataset reads.

    Attributes
    ----------
    endings
        Of the names, in lower case, with the dot; upper case counts as lower case.
    example
        A name that is read, for the warning.
    is_place
        Says whether the files of a folder, named by its path below the raw one (``.`` for that itself), are read.
    may_be_packed
        Whether ``.gz`` or ``.zst`` may follow the ending.
    of_others
        Paths below the raw folder that are known and not read, and that nobody need be told of.
    """

    endings: tuple[str, ...]
    example: str
    is_place: Callable[[str], bool] = lambda folder: True
    may_be_packed: bool = True
    of_others: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Say whether a name ends as those that are read."""
        lower = name.lower()
        return (plain_name(lower) if self.may_be_packed else lower).endswith(self.endings)


def raw_files(raw_dir: Path, names: FileNames) -> list[str]:
    """Return the files of a raw folder that a dataset reads, and name the others in one warning.

    Parameters
    ----------
    raw_dir
        The raw folder; files lie in it or in folders below.
    names
        Those of the files that are read.

    Returns
    -------
    list of str
        Paths relative to the raw folder, sorted. A folder with the name of a file, in which nothing is read, is among
        them: it is a unit that cannot be read.

    Raises
    ------
    ExpectedError
        When a folder is a link, into which the search does not go, or cannot be listed, or the name of a file that is
        read is not UTF-8.
    """
    read, others, folders = list[str](), list[str](), list[str]()
    for folder, below, found in os.walk(raw_dir, onerror=_refuse_hidden):
        below[:] = [name for name in below if not is_ignored(name)]
        files = [name for name in found if not is_ignored(name)]
        place = os.path.relpath(folder, raw_dir)
        _refuse_links(raw_dir, place, below)
        chosen = {name for name in files + below if names.has(name)} if names.is_place(place) else set[str]()
        read += [_joined(place, name) for name in files if name in chosen]
        others += [_joined(place, name) for name in files if name not in chosen]
        folders += [_joined(place, name) for name in below if name in chosen]
    read += [folder for folder in folders if not any(name.startswith(f"{folder}/") for name in read)]
    for name in read:
        _refuse_strange(raw_dir, name)
    others = [name for name in others if name not in names.of_others]
    if others:
        _tell(raw_dir, sorted(others), names)
    return sorted(read)


def _joined(place: str, name: str) -> str:
    """Return the path of a file below the raw folder, with `/` between its parts."""
    return name if place == os.curdir else f"{place.replace(os.sep, '/')}/{name}"


def _refuse_hidden(error: OSError) -> None:
    """Refuse a folder that cannot be listed: what is in it would be left out without a word."""
    raise ExpectedError(
        f"{error.filename}: not readable ({error.strerror}), expected a folder that can be listed; allow it "
        "(`chmod u+rx`) or move the folder away"
    ) from None


def _refuse_links(raw_dir: Path, place: str, folders: Sequence[str]) -> None:
    for name in sorted(folders):
        path = raw_dir / _joined(place, name)
        if path.is_symlink():
            raise ExpectedError(f"{path}: a link to a folder, expected a folder; copy it there")


def _refuse_strange(raw_dir: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None


def _tell(raw_dir: Path, others: Sequence[str], names: FileNames) -> None:
    """Name the files that are not read, the first ones by name, and say what to do."""
    first = ", ".join(map(printable, others[:MOST_NAMED])) + (", ..." if len(others) > MOST_NAMED else "")
    count = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
    also = f" (also {' or '.join(names.example + ending for ending in MARKS)})" if names.may_be_packed else ""
    cure = "rename it or move it away" if len(others) == 1 else "rename them or move them away"
    expected = f"expected names like {names.example}{also}"
    logger.warning("%s: %s not read: %s; %s; %s", raw_dir, count, first, expected, cure)
