"""The files of self-play: whole games only, in order, also when their writer is killed at any moment.

A worker has one file, ``worker_<i>/selfplay_<stamp>.trmph``: header lines, then a line for each finished game::

    # Self-play games - 2025-01-01T00:00:00.000000
    # Model: two_distance
    # Engine: fixed-tree minimax 2
    # Search widths: [13, 8]
    # Temperature: 0.5
    # Temperature decay: exponential to 0.01 within 50 moves
    # Openings: 35
    # Random seed: 42
    # Worker: 0 of 16
    # Format: trmph_string winner
    #13,g1a7g2b7...m7g7 b

The header holds all that decides the games, so a file with another one is begun anew. After ``Model`` come, where there
are any, ``Model digest``, what the evaluator says it is made of, and ``Weights``, the SHA-256 of their file. A game is
appended with a single write to a file that is opened for it and closed after it; so a killed writer leaves at most half
a line, which the next run cuts off.
"""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path

from stages.datasets.hex.schema import BLUE, CELL_NAMES, LETTERS, N_CELLS, RED

_GAME = re.compile(rb"#13,(?:[a-m](?:[1-9]|1[0-3])){1,%d} [br]\n" % N_CELLS)
_WINNERS = "br"
_LETTERS = LETTERS.encode()


def game_line(cells: Sequence[int], winner: int) -> bytes:
    r"""Return the line of a game.

    Parameters
    ----------
    cells
        Of the stones in order, blue first; row * 13 + column.
    winner
        `BLUE` or `RED`.

    Examples
    --------
    >>> game_line([0, 168], 1)
    b'#13,a1m13 r\n'
    """
    return f"#13,{''.join(CELL_NAMES[cell] for cell in cells)} {_WINNERS[winner]}\n".encode("ascii")


def winner_of(line: bytes) -> int:
    """Return `BLUE` or `RED`, the winner that a game's line gives."""
    return RED if line.endswith(b" r\n") else BLUE


def n_moves(line: bytes) -> int:
    r"""Return the number of moves of a game's line.

    Examples
    --------
    >>> n_moves(b"#13,a1m13b2 b\n")
    3
    """
    moves = line.partition(b",")[2].partition(b" ")[0]
    return len(moves) - len(moves.translate(None, _LETTERS))


def begin(path: Path, header: bytes, games: int) -> int:
    """Bring a file into the state in which the next game can be appended, and return how many games it has.

    Its first `games` whole games are kept if its header is `header`; else it is begun anew. A file that is a link, to
    DVC's cache for example, is replaced by a copy.
    """
    before = path.read_bytes() if path.is_file() else b""
    lines = _whole_games(before.removeprefix(header))[:games] if before.startswith(header) else []
    content = b"".join([header, *lines])
    if content != before or _is_shared(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.tmp")
        partial.write_bytes(content)
        partial.replace(path)
    return len(lines)


def _whole_games(content: bytes) -> list[bytes]:
    """Return the lines of games up to the first that is none."""
    lines = content.splitlines(keepends=True)
    n_whole = next((i for i, line in enumerate(lines) if not _GAME.fullmatch(line)), len(lines))
    return lines[:n_whole]


def _is_shared(path: Path) -> bool:
    return path.is_symlink() or path.stat().st_nlink > 1 or not os.access(path, os.W_OK)


def append(path: Path, line: bytes) -> None:
    """Append the line of a finished game, with one write.

    Raises
    ------
    OSError
        When the disk is full; the next run cuts off what was written.
    """
    with path.open("ab", buffering=0) as file:
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def games_of(path: Path) -> list[bytes]:
    """Return the lines of the games of a file."""
    with path.open("rb") as file:
        return [line for line in file if not line.startswith(b"# ")]
