"""Boards of games in progress: stones to planes, legal moves, a move played, a side connected.

A batch of boards is uint8 (B, 2, 13, 13): plane 0 the blue stones, plane 1 the red ones. A cell is row * 13 + column;
blue (0) joins row 0 with row 12 and moves first, red (1) joins column 0 with column 12.
"""

from collections.abc import Sequence

import numpy as np

from stages.datasets.hex.schema import BLUE, N_CELLS, RED, SIZE
from stages.datasets.hex.schema.connection import winner


def boards_of(games: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Return the boards after the moves of some games.

    Parameters
    ----------
    games
        The cells of each game in the order of play, blue first.

    Returns
    -------
    numpy.ndarray
        uint8 (B, 2, 13, 13).
    """
    boards = np.zeros((len(games), 2, N_CELLS), np.uint8)
    for board, cells in zip(boards, games, strict=True):
        moves = np.asarray(cells, np.intp)
        board[BLUE, moves[::2]] = 1
        board[RED, moves[1::2]] = 1
    return boards.reshape(-1, 2, SIZE, SIZE)


def movers_of(boards: np.ndarray) -> np.ndarray:
    """Return who moves next, uint8 (B,): blue where both sides have as many stones."""
    stones = boards.sum(axis=(2, 3), dtype=np.int64)
    return (stones[:, BLUE] > stones[:, RED]).astype(np.uint8)


def legal(boards: np.ndarray) -> np.ndarray:
    """Return the empty cells of boards, bool (B, 169)."""
    return ~boards.any(axis=1).reshape(-1, N_CELLS)


def played(boards: np.ndarray, movers: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return copies of boards with one stone more each.

    Parameters
    ----------
    boards, movers, cells
        uint8 (B, 2, 13, 13), uint8 (B,) whose stone, integers (B,) where.
    """
    after = boards.copy()
    after.reshape(-1, 2, N_CELLS)[np.arange(len(boards)), movers, cells] = 1
    return after


def won(boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
    """Return where the side that has just moved is connected, bool (B,).

    Most boards of a search have fewer than 13 stones of that side, or a row (a column for red) without any: they are
    decided without the connection test.
    """
    stones = boards[np.arange(len(boards)), movers]
    lines = np.where((movers == BLUE)[:, None], stones.any(axis=2), stones.any(axis=1))
    hopeful = np.flatnonzero(lines.all(axis=1))
    result = np.zeros(len(boards), bool)
    if len(hopeful):
        result[hopeful] = winner(boards[hopeful]) == movers[hopeful]
    return result
