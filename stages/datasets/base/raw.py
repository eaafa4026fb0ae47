"""The bytes of the raw folder: read, hashed, checked against what discover saw, and found again by line."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.base.links import is_inside
from stages.runtime.notes import working_on
from stages.runtime.workers import ordered

HASH_CHUNK = 256  # files hashed per task
PIECE_BYTES = 1 << 20  # read at a time to hash


def file_units(raw_dir: Path, files: Iterable[str], most_bytes: int | None = None) -> list[Unit]:
    """Make one unit of each file, keyed by its path, with its digest; hashing runs on threads.

    Parameters
    ----------
    raw_dir
        The dataset's raw folder.
    files
        Paths relative to it.
    most_bytes
        Size above which a file cannot be of this dataset; it is not read.

    Returns
    -------
    list of Unit
        Sorted by key. A file that cannot be read, or is too large, has an empty digest.
    """
    names = sorted(files)
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None
    tasks = [(raw_dir, names[i : i + HASH_CHUNK], most_bytes) for i in range(0, len(names), HASH_CHUNK)]
    found = list[Unit]()
    for units in ordered(_file_units, tasks, "threading"):
        found += units
        working_on(f"{raw_dir / found[-1].key}")
    return found


def _file_units(task: tuple[Path, list[str], int | None]) -> list[Unit]:
    raw_dir, names, most_bytes = task
    return [_file_unit(raw_dir, Source(name), most_bytes) for name in names]


def _file_unit(raw_dir: Path, source: Source, most_bytes: int | None) -> Unit:
    """Return the unit of a file; one that is too large says so in its context."""
    digest, context = "", {}
    with contextlib.suppress(BadUnit), open_source(raw_dir, source) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if most_bytes is not None and n_bytes > most_bytes:
            why = f"{n_bytes:,} bytes, expected at most {most_bytes:,}; correct or remove the file"
            context = {"bad": f"{source.path}: {why}"}
        else:
            digest = digest_of(iter(partial(file.read, PIECE_BYTES), b""), {})
    return Unit(source.path, (source,), digest, context)


def read_source(raw_dir: Path, source: Source) -> bytes:
    """Return the bytes of one source.

    Raises
    ------
    BadUnit
        When it is no regular file or cannot be read.
    """
    with open_source(raw_dir, source) as file:
        return file.read(-1 if source.stop is None else source.stop - source.start)


def source_pieces(raw_dir: Path, source: Source) -> Iterator[bytes]:
    """Yield the bytes of one source, some at a time; it raises what `read_source` raises."""
    with open_source(raw_dir, source) as file:
        left = None if source.stop is None else source.stop - source.start
        while piece := file.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES)):
            left = None if left is None else left - len(piece)
            yield piece


@contextlib.contextmanager
def open_source(raw_dir: Path, source: Source) -> Iterator[BinaryIO]:
    """Open the file of a source at its first byte.

    Raises
    ------
    BadUnit
        When it is no regular file or cannot be read, also within the block.
    """
    path = raw_dir / source.path
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadUnit(f"{path}: not a regular file, expected one; remove it from the raw folder")
        if not is_inside(raw_dir, path):
            raise BadUnit(f"{path}: a link to {path.resolve()}, expected a file of the raw folder; copy it there")
        with path.open("rb") as file:
            file.seek(source.start)
            yield file
    except OSError as error:
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
        content = b"".join(read_source(raw_dir, source) for source in unit.sources)
    except BadUnit as error:
        if not unit.digest:
            raise
        raise ExpectedError(f"{error}; discover could read it: run `dvc repro` again") from None
    if digest_of(content, unit.context) != unit.digest:
        raise ExpectedError(f"{where}: changed since discover listed it; run `dvc repro` again")
    return content


def raw_mb(raw_dir: Path, unit: Unit) -> float:
    """Return the size in MB of the bytes of a unit's sources; those that cannot be read count nothing."""
    total = 0
    for source in unit.sources:
        stop = source.stop
        if stop is None:
            with contextlib.suppress(OSError):
                stop = (raw_dir / source.path).stat().st_size
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
            above = read_source(raw_dir, Source(source.path, 0, start)).count(b"\n")
            source_of[is_here], found[is_here] = number, wanted[is_here] - n_before + above
        n_before += n_lines
    is_behind = wanted > n_before
    found[is_behind] = wanted[is_behind] - n_before
    paths = [raw_dir / source.path for source in unit.sources]
    return [(paths[number], line) for number, line in zip(source_of.tolist(), found.tolist(), strict=True)]
