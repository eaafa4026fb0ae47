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

Beside the folder lies a list for each file (`played_list`): a line for each game, the CRC-32 of the game's line in hex,
written after the game. Only games that are in it are kept by the next run. So what somebody edited, cut or exchanged is
played anew with all that follows, and so is a file without a list, such as one from a remote.
"""

import errno
import itertools
import os
import re
import zlib
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


def played_folder(folder: Path) -> Path:
    """Return the folder of the lists of a sample's files: beside it, since whatever lies in it is a raw file."""
    return folder.with_name(f".{folder.name}.played")


def played_list(folder: Path, path: Path) -> Path:
    """Return the list of the games that were played into a file of a sample's folder."""
    return played_folder(folder) / path.parent.name


def begin(path: Path, header: bytes, games: int, played: Path | None = None) -> int:
    """Bring a file into the state in which the next game can be appended, and return how many games it has.

    Its first `games` whole games, up to the first that is not in the list `played`, are kept if its header is `header`;
    else it is begun anew. A file that is a link, to DVC's cache for example, is replaced by a copy. Without a list all
    whole games are taken for played.
    """
    before = path.read_bytes() if path.is_file() else b""
    lines = _whole_games(before.removeprefix(header))[:games] if before.startswith(header) else []
    if played:
        lines = _played_games(lines, played)
        _put(played, b"".join(map(mark_of, lines)))
    _put(path, b"".join([header, *lines]))
    return len(lines)


def mark_of(line: bytes) -> bytes:
    r"""Return the line that stands in the list for the line of a game.

    Examples
    --------
    >>> mark_of(b"#13,a1m13 r\n")
    b'07ee7383\n'
    """
    return b"%08x\n" % zlib.crc32(line)


def _played_games(lines: list[bytes], played: Path) -> list[bytes]:
    """Return the first lines that are in the list, in its order."""
    marks = played.read_bytes().splitlines(keepends=True) if played.is_file() else []
    pairs = zip(lines, marks, strict=False)
    return [line for line, _ in itertools.takewhile(lambda pair: mark_of(pair[0]) == pair[1], pairs)]


def _put(path: Path, content: bytes) -> None:
    """Give a file its content, unless it has it and belongs to nobody else."""
    if path.is_file() and path.read_bytes() == content and not _is_shared(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_bytes(content)
    partial.replace(path)


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
