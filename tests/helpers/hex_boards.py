"""Boards of Hex for tests: built from moves, and walked cell by cell."""

from collections.abc import Sequence

import numpy as np

from stages.datasets.hex.schema import BLUE, N_CELLS, RED, SIZE

STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, -1), (-1, 1))  # rows and columns to the six neighbours of a cell


def neighbours(cell: int) -> tuple[int, ...]:
    """Return the cells next to a cell, two to six of them."""
    row, column = divmod(cell, SIZE)
    around = ((row + down, column + right) for down, right in STEPS)
    return tuple(r * SIZE + c for r, c in around if 0 <= r < SIZE and 0 <= c < SIZE)


def is_joined(cells: set[int], player: int) -> bool:
    """Say whether a player's cells join his two edges, walking from one to the next."""
    place = [divmod(cell, SIZE)[player] for cell in range(N_CELLS)]  # the row for blue, the column for red
    seen = todo = {cell for cell in cells if place[cell] == 0}
    while todo:
        todo = {other for cell in todo for other in neighbours(cell)} & cells - seen
        seen = seen | todo
    return any(place[cell] == SIZE - 1 for cell in seen)


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
