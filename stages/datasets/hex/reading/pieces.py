"""How `.trmph` files are cut into units: pieces of so many lines, counted from the file's beginning.

Lines that are appended change the last piece only, or begin a new one. A unit's key is the file's path and the piece's
first line: `worker_0/games.trmph:000000501`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit
from stages.datasets.base.raw import read_source

BLOCK_BYTES = 1 << 22
LINE_BYTES = 1 << 16  # a game of 169 moves has 512


def first_line(unit: Unit) -> int:
    """Return the line, from 1, of the file that a unit begins with."""
    return int(unit.key.rpartition(":")[2])


@dataclass
class _Piece:
    """The piece that is being read: where it begins, and the digest of what has been read of it."""

    start: int = 0
    line: int = 1
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def unit(self, path: str, stop: int) -> Unit:
        return Unit(f"{path}:{self.line:09d}", (Source(path, self.start, stop),), self.digest.hexdigest())


def pieces(raw_dir: Path, path: str, n_lines: int) -> Iterator[Unit]:
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
        When the file cannot be read.
    ExpectedError
        When a line is too long for one of a game.
    """
    piece, offset, line, line_start = _Piece(), 0, 1, 0
    while block := read_source(raw_dir, Source(path, offset, offset + BLOCK_BYTES)):
        ends = offset + 1 + np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
        _refuse_long(np.concatenate([[line_start], ends, [offset + len(block)]]), line, f"{raw_dir / path}")
        done = offset
        for i in range(piece.line + n_lines - line - 1, len(ends), n_lines):
            stop = int(ends[i])
            piece.digest.update(block[done - offset : stop - offset])
            yield piece.unit(path, stop)
            piece, done = _Piece(stop, line + i + 1), stop
        piece.digest.update(block[done - offset :])
        offset, line = offset + len(block), line + len(ends)
        line_start = int(ends[-1]) if len(ends) else line_start
    if offset > piece.start:
        yield piece.unit(path, offset)


def _refuse_long(edges: np.ndarray, line: int, where: str) -> None:
    """Refuse a line that is too long; `edges` are the first bytes of the lines from `line` on, int64."""
    is_long = np.diff(edges) > LINE_BYTES
    if is_long.any():
        raise ExpectedError(
            f"{where}:{line + int(is_long.argmax())}: a line of more than {LINE_BYTES:,} bytes, expected one game a "
            "line; correct or remove the file"
        )
