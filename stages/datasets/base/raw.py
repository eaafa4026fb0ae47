"""The bytes of the raw folder: read, hashed, checked against what discover saw, and found again by line.

Of a compressed file all bytes, places and lines are those of what is in it (`stages.datasets.base.compressed`).
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.base import compressed
from stages.datasets.base.disguises import HEAD_BYTES, refuse_disguise
from stages.datasets.base.links import is_inside
from stages.runtime.notes import working_on
from stages.runtime.workers import ordered

HASH_CHUNK = 256  # files hashed per task
PIECE_BYTES = 1 << 20  # read at a time to hash
USUAL_TIMES = 10  # that a compressed file has of its bytes in it, until it is read


class Bytes(Protocol):
    """What bytes are read from."""

    def read(self, n_bytes: int = -1, /) -> bytes:
        """Return the next bytes, fewer only at the end; all that are left for -1."""


def file_units(
    raw_dir: Path, files: Iterable[str], most_bytes: int | None = None, content: str | None = None
) -> list[Unit]:
    """Make one unit of each file, keyed by its path, with its digest; hashing runs on threads.

    Parameters
    ----------
    raw_dir
        The dataset's raw folder.
    files
        Paths relative to it.
    most_bytes
        Size above which a file cannot be of this dataset; it is not read, a compressed one no further.
    content
        What stands in the lines of a file, such as ``one move a line``; a file that is no text is refused then.

    Returns
    -------
    list of Unit
        Sorted by key. A file that cannot be read, is too large or no text, has an empty digest and says why in its
        context.
    """
    names = sorted(files)
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None
    look = partial(_file_unit, raw_dir, most_bytes=most_bytes, content=content)
    tasks = [(look, names[i : i + HASH_CHUNK]) for i in range(0, len(names), HASH_CHUNK)]
    found = list[Unit]()
    for units in ordered(_file_units, tasks, "threading"):
        found += units
        working_on(f"{raw_dir / found[-1].key}")
    return found


def _file_units(task: tuple[partial[Unit], list[str]]) -> list[Unit]:
    look, names = task
    return [look(name) for name in names]


def _file_unit(raw_dir: Path, name: str, most_bytes: int | None, content: str | None) -> Unit:
    """Return the unit of a file; one that is not to be used says so in its context."""
    source, where = Source(name), f"{raw_dir}{os.sep}{name}"
    try:
        if compressed.ending(name):
            with open_bytes(raw_dir, source) as unpacked:
                return Unit(name, (source,), digest_of(_pieces_of_file(unpacked, where, most_bytes, content), {}))
        with open_source(raw_dir, source) as file:
            _refuse_large(os.fstat(file.fileno()).st_size, most_bytes, where)  # told without a read
            return Unit(name, (source,), digest_of(_pieces_of_file(file, where, most_bytes, content), {}))
    except BadUnit as error:
        return bad_unit(raw_dir, source, error)


def _pieces_of_file(file: Bytes, where: str, most_bytes: int | None, content: str | None) -> Iterator[bytes]:
    """Yield the bytes of a file, some at a time, and refuse it when it is too large or no text."""
    n_read = 0
    while piece := file.read(PIECE_BYTES):
        if content and not n_read:
            refuse_disguise(piece[:HEAD_BYTES], where, content)
        n_read += len(piece)
        _refuse_large(n_read, most_bytes, where)
        yield piece


def _refuse_large(n_bytes: int, most_bytes: int | None, where: str) -> None:
    if most_bytes is not None and n_bytes > most_bytes:
        raise BadUnit(f"{where}: {n_bytes:,} bytes, expected at most {most_bytes:,}; correct or remove the file")


def bad_unit(raw_dir: Path, source: Source, error: BadUnit) -> Unit:
    """Return the unit of a file that cannot be used, keyed by its path; its context says why."""
    reason = str(error).removeprefix(f"{raw_dir}{os.sep}")
    return Unit(source.path, (source,), "", {"bad": reason})


def read_source(raw_dir: Path, source: Source) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    BadUnit
        When it is no regular file or cannot be read.
    """
    with open_bytes(raw_dir, source) as file:
        return file.read(-1 if source.stop is None else source.stop - source.start)


def source_pieces(raw_dir: Path, source: Source) -> Iterator[bytes]:
    """Yield the bytes of one source, some at a time; it raises what `read_source` raises."""
    with open_bytes(raw_dir, source) as file:
        left = None if source.stop is None else source.stop - source.start
        while piece := file.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES)):
            left = None if left is None else left - len(piece)
            yield piece


@contextlib.contextmanager
def open_bytes(raw_dir: Path, source: Source) -> Iterator[Bytes]:
    """Open the file of a source at its first byte, one that is compressed at that of what is in it.

    Raises
    ------
    BadUnit
        As `open_source`, and when a compressed file is damaged or breaks off, also within the block.
    """
    if not compressed.ending(source.path):
        with open_source(raw_dir, source) as file:
            yield file
        return
    path = raw_dir / source.path
    with _named(path), compressed.unpacked(_opened(raw_dir, path), path, source.start) as content:
        yield content


@contextlib.contextmanager
def open_source(raw_dir: Path, source: Source) -> Iterator[BinaryIO]:
    """Open the file of a source at its first byte, as it is, compressed or not.

    Raises
    ------
    BadUnit
        When it is no regular file or cannot be read, also within the block.
    """
    path = raw_dir / source.path
    with _named(path), _opened(raw_dir, path) as file:
        file.seek(source.start)
        yield file


def _opened(raw_dir: Path, path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadUnit(f"{path}: not a regular file, expected one; remove it from the raw folder")
    if not is_inside(raw_dir, path):
        raise BadUnit(f"{path}: a link to {path.resolve()}, expected a file of the raw folder; copy it there")
    return path.open("rb")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file an error of the system is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of a library, which says what it found in the file
            raise
        raise BadUnit(
            f"{path}: not readable ({error.strerror}), expected a readable file; correct or remove it"
        ) from None


def read_unit(raw_dir: Path, unit: Unit) -> bytes:
    """Return the bytes of a unit, checked against the digest that discover recorded.

    Raises
    ------
    BadUnit
        When a source cannot be read, or discover refused the unit.
    ExpectedError
        When the bytes are not those that discover saw.
    """
    if not unit.digest and "bad" in unit.context:
        raise BadUnit(f"{raw_dir}/{unit.context['bad']}")
    where = raw_dir / unit.sources[0].path
    working_on(unit.key)
    try:
        content = b"".join([read_source(raw_dir, source) for source in _joined(unit.sources)])
    except BadUnit as error:
        if not unit.digest:
            raise
        raise ExpectedError(f"{error}; discover could read it: run `dvc repro` again") from None
    if digest_of(content, unit.context) != unit.digest:
        raise ExpectedError(f"{where}: changed since discover listed it; run `dvc repro` again")
    return content


def _joined(sources: Sequence[Source]) -> list[Source]:
    """Return sources that say the same bytes, those that follow each other in a file as one: a file is opened once."""
    runs = list[Source]()
    for source in sources:
        last = runs[-1] if runs else None
        if last and last.path == source.path and last.stop == source.start:
            runs[-1] = Source(last.path, last.start, source.stop)
        else:
            runs.append(source)
    return runs


def content_bytes(raw_dir: Path, path: str) -> int:
    """Return how many bytes a file has, one that is compressed in it: that one is read for it.

    Raises
    ------
    BadUnit
        As `read_source`.
    """
    if not compressed.ending(path):
        with open_source(raw_dir, Source(path)) as file:
            return os.fstat(file.fileno()).st_size
    return sum(map(len, source_pieces(raw_dir, Source(path))))


def raw_mb(raw_dir: Path, unit: Unit) -> float:
    """Return the size in MB of the bytes of a unit's sources; those that cannot be read count nothing.

    Of a whole file that is compressed it is a guess: what is in it shows when it is read.
    """
    total = 0
    for source in unit.sources:
        stop = source.stop
        if stop is None:
            with contextlib.suppress(OSError):
                times = USUAL_TIMES if compressed.ending(source.path) else 1
                stop = times * (raw_dir / source.path).stat().st_size
        total += max(0, (stop or 0) - source.start)
    return total / 2**20


def locate(raw_dir: Path, unit: Unit, lines: Sequence[int]) -> list[tuple[Path, int]]:
    """Return for some lines, from 1, of a unit's own bytes the file that each is in, and its line there.

    A unit's own bytes are those after the first ``context["own"]`` ones, which came before only to be looked back on.
    """
    wanted = np.array(lines, np.int64)
    source_of, found = np.full(len(wanted), len(unit.sources) - 1), wanted.copy()
    skip, n_before = int(unit.context.get("own", 0)), 0
    for number, source in enumerate(unit.sources):
        content = read_source(raw_dir, source)
        own, skip = content[skip:], max(0, skip - len(content))
        n_lines = own.count(b"\n") + (own[-1:] not in (b"\n", b""))
        is_here = (wanted > n_before) & (wanted <= n_before + n_lines)
        if is_here.any():
            start = source.start + len(content) - len(own)
            above = sum(piece.count(b"\n") for piece in source_pieces(raw_dir, Source(source.path, 0, start)))
            source_of[is_here], found[is_here] = number, wanted[is_here] - n_before + above
        n_before += n_lines
    is_behind = wanted > n_before
    found[is_behind] = wanted[is_behind] - n_before
    paths = [raw_dir / source.path for source in unit.sources]
    return [(paths[number], line) for number, line in zip(source_of.tolist(), found.tolist(), strict=True)]
