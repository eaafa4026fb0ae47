"""A raw file as a raw folder of its own, so that the finder of its dataset sees nothing else.

Names below a raw folder say what a file is: splendor wants `4_games/7.csv`, market takes the instrument from `NQ.csv`,
and units have them in their keys. A file below the dataset's own raw folder keeps its name there, another one the name
of the folder that it lies in and its own; a folder elsewhere is a raw folder itself.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import ExpectedError

logger = logging.getLogger("batchwise")


@dataclass(frozen=True)
class RawFile:
    """A file or folder `name` below `root`, which is what the pipeline would call its raw folder."""

    root: Path
    name: Path


def raw_file(path: Path, raw_dir: Path) -> RawFile:
    """Return what a file is in its raw folder.

    Parameters
    ----------
    path
        A file, or a folder with several.
    raw_dir
        The raw folder of the dataset.

    Raises
    ------
    ExpectedError
        When there is no such file.
    """
    if not path.exists():
        raise ExpectedError(f"{path}: not found, expected a raw file, or a folder of them; correct the name")
    here, own = path.absolute(), raw_dir.absolute()
    if here.is_relative_to(own):
        return RawFile(raw_dir, here.relative_to(own))
    if path.is_dir():
        return RawFile(path, Path())
    root = here.parent.parent
    return RawFile(root, here.relative_to(root))


@contextlib.contextmanager
def alone(file: RawFile, folder: Path) -> Iterator[Path]:
    """Give a raw folder that holds this file alone; what is said of the file within names it where it really lies.

    Parameters
    ----------
    file
        The file, or a folder with several.
    folder
        Where to make it; on the file's own disk it takes no room.

    Raises
    ------
    ExpectedError
        What was raised within, with the file's real name.
    """
    renaming = _Renaming(str(folder), str(file.root))
    source, target = file.root / file.name, folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
    else:
        _link(str(source), str(target))
    logger.addFilter(renaming)
    try:
        yield folder
    except ExpectedError as error:
        raise ExpectedError(*map(renaming.renamed, error.lines)) from error
    finally:
        logger.removeFilter(renaming)


def _link(source: str, target: str) -> None:
    """Link a file, or copy it where that cannot be; a link to it would lead out of the raw folder and be refused."""
    real = Path(source).resolve()
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)


class _Renaming(logging.Filter):
    """Lets warnings through, with the name of one folder in the place of another, and with LOG=debug all records."""

    def __init__(self, folder: str, name: str) -> None:
        super().__init__()
        self._folder, self._name = folder, name

    def renamed(self, text: str) -> str:
        """Return a text with the other name."""
        return text.replace(self._folder, self._name)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rename in a record, and say whether it is shown."""
        record.msg, record.args = self.renamed(record.getMessage()), ()
        return record.levelno > logging.INFO or logger.isEnabledFor(logging.DEBUG)
