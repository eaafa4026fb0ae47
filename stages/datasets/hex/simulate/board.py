"""Boards of games in progress: a move played, a side connected.

A batch of boards is uint8 (B, 2, 13, 13): plane 0 the blue stones, plane 1 the red ones. A cell is row * 13 + column;
blue (0) joins row 0 with row 12 and moves first, red (1) joins column 0 with column 12.
"""

import numpy as np

from stages.datasets.hex.schema import N_CELLS
from stages.datasets.hex.schema.connection import connected, words


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
    stones = words(boards)[np.arange(len(boards)), movers]
    result = stones.all(axis=1)
    hopeful = np.flatnonzero(result)
    if len(hopeful):
        result[hopeful] = connected(stones[hopeful])
    return result
