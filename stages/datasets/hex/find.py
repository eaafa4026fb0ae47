"""Which files the raw folder holds, and into which units they are cut: pieces of so many lines.

Pieces are counted from the file's beginning, so that lines that are appended change the last piece only, or begin a
new one.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit
from stages.datasets.base.disguises import HEAD_BYTES, refuse_disguise
from stages.datasets.base.raw import bad_unit, read_source
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.hex.reading.keys import key_of
from stages.datasets.hex.schema import parse_options
from stages.runtime.notes import working_on

logger = logging.getLogger("batchwise")

BLOCK_BYTES = 1 << 22
NAMES = FileNames((".trmph",), "selfplay.trmph")
LINE_BYTES = 1 << 16  # a game of 169 moves has 512


def find(raw_dir: Path, entry: Mapping[str, Any]) -> list[Unit]:
    """Return the pieces of all files, keyed like ``worker_0/games.trmph:000000501``.

    A file that cannot be read, that is no text or has a line too long for a game, is a unit of its own, keyed by its
    path, without a digest, whose context says why; discover counts it as bad.

    Parameters
    ----------
    raw_dir
        The raw folder; files lie in it or in folders below, compressed or not.
    entry
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no line, a name is not UTF-8, or a folder is a link.
    """
    checked = parse_options(entry)
    files = raw_files(raw_dir, NAMES)
    units = []
    for path in files:
        found = _units(raw_dir, path, checked.games_per_unit)
        if not found:
            logger.warning("%s: empty, expected one game a line; fill or remove the file", raw_dir / path)
        units += found
    if not units:
        raise ExpectedError(f"{raw_dir}: no games in {len(files)} files, expected files like selfplay.trmph; add some")
    return units


def _units(raw_dir: Path, path: str, n_lines: int) -> list[Unit]:
    """Return the pieces of a file, or the file as a unit without a digest if it cannot be used."""
    working_on(str(raw_dir / path))
    try:
        head = read_source(raw_dir, Source(path, 0, HEAD_BYTES))
        refuse_disguise(head, f"{raw_dir / path}", "one game a line")
        return list(_pieces(raw_dir, path, n_lines))
    except BadUnit as error:
        return [bad_unit(raw_dir, Source(path), error)]


@dataclass
class _Piece:
    """The piece that is being read: where it begins, and the digest of what has been read of it."""

    start: int = 0
    line: int = 1
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def unit(self, path: str, stop: int) -> Unit:
        return Unit(key_of(path, self.line), (Source(path, self.start, stop),), self.digest.hexdigest())


def _pieces(raw_dir: Path, path: str, n_lines: int) -> Iterator[Unit]:
    """Yield the units of one file, read once, a block in memory at a time.

    Parameters
    ----------
    raw_dir
        The raw folder.
    path
        The file, relative to it.
    n_lines
        Lines of a piece.

    Raises
    ------
    BadUnit
        When the file cannot be read, or a line is too long for one of a game.
    """
    piece = _Piece()
    offset, line = 0, 1  # the first byte of the block, and the line it is in
    line_start = 0  # the first byte of that line, maybe in an earlier block
    while block := read_source(raw_dir, Source(path, offset, offset + BLOCK_BYTES)):
        # Where the lines of the block end: that of number `line` at `ends[0]`.
        ends = offset + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
        next_offset = offset + len(block)
        _refuse_long(np.concatenate([[line_start], ends, [next_offset]]), line, f"{raw_dir / path}")
        # The pieces whose last line ends in the block.
        n_hashed = 0
        last_line = piece.line + n_lines - 1
        for i in range(last_line - line, len(ends), n_lines):
            stop = int(ends[i])
            piece.digest.update(block[n_hashed : stop - offset])
            yield piece.unit(path, stop)
            piece, n_hashed = _Piece(stop, line + i + 1), stop - offset
        # The rest is of a piece that goes on in the next block.
        piece.digest.update(block[n_hashed:])
        offset, line = next_offset, line + len(ends)
        line_start = int(ends[-1]) if len(ends) else line_start
    if offset > piece.start:
        yield piece.unit(path, offset)


def _refuse_long(edges: np.ndarray, line: int, where: str) -> None:
    """Refuse a line that is too long; `edges` are the first bytes of the lines from `line` on, int64."""
    is_long = np.diff(edges) > LINE_BYTES
    if is_long.any():
        raise BadUnit(
            f"{where}:{line + int(is_long.argmax())}: a line of more than {LINE_BYTES:,} bytes, expected one game a "
            "line; correct or remove the file"
        )
