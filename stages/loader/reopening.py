"""Sources that are opened again in another process, and whether the arrays there are still the same.

A source travels as what opened it: a mapping cannot be sent. Between the two openings a run of the pipeline may have
put other files in the place of the first ones, and a worker would then give other samples than the others, without a
word. So the seals of the files travel along. A file of the same device, inode, size and times is the same; of any other
the CRC-32 decides, which stats.json had when the source was opened first. So a copy on another machine is taken, at
about 0.3 s a GB.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.loader.mapped_file import MappedFile
from stages.processed import Processed


@dataclass(frozen=True)
class Seal:
    """By what a file is known again; `crc` is None where stats.json had none."""

    path: str
    identity: str
    crc: int | None

    def is_of(self, file: MappedFile) -> bool:
        """Return whether an open file has the same content; reads it where its identity is another one."""
        return file.identity == self.identity or (self.crc is not None and file.crc32() == self.crc)


class Sealed(Protocol):
    """What can be opened again: a `PartArrays` or a `Mixture`."""

    @property
    def files(self) -> Iterable[MappedFile]:
        """The files in use."""

    @property
    def seals(self) -> tuple[Seal, ...]:
        """Their seals."""


Source = TypeVar("Source", bound=Sealed)


def known_crcs(folder: Path) -> dict[str, int]:
    """Return the checksums of a folder's files by name, as stats.json has them now; nothing where it has none."""
    try:
        return Processed(folder).crcs()
    except (FileNotFoundError, DamagedFile):
        return {}


def reopened(open_source: Callable[..., Source], recipe: tuple[object, ...], seals: tuple[Seal, ...]) -> Source:
    """Open a source again.

    Parameters
    ----------
    open_source, recipe
        What opens it, and with what.
    seals
        Of its files when it was opened first.

    Raises
    ------
    ExpectedError
        When a file is another one than then.
    """
    source, known = open_source(*recipe), {seal.path: seal for seal in seals}
    for file in source.files:
        seal = known.get(str(file.path))
        if seal is None or not seal.is_of(file):
            raise ExpectedError(
                f"{file.path}: replaced since the source was opened that this process got, expected the same content; "
                "open the source and make its DataLoader anew"
            )
    return source
