"""Who has joined his two edges, on many boards at once: the rule that encode judges by and simulate plays by.

The stones of one colour on one board are 13 words of 16 bits, the first word at the one edge, the last one at the
other: for blue a word is a row and its bit i column i; for red a word is a column and its bit i row i. The
neighbourhood is the same under this exchange, so one flood serves both: it starts with the stones of the first word
and goes on to stones next to it until nothing changes.
"""

import numpy as np

from stages.datasets.hex.schema import BLUE, RED, SIZE


def winner(boards: np.ndarray) -> np.ndarray:
    """Return who has won each board.

    Parameters
    ----------
    boards
        uint8 or bool (N, 2, 13, 13): blue stones, red stones; [row, column].

    Returns
    -------
    ndarray
        int8 (N,): -1 nobody, 0 blue, 1 red. Where both join, which no game can show, blue.
    """
    return winner_of_words(words(boards))


def winner_of_words(stones: np.ndarray) -> np.ndarray:
    """Return who has won each board, as `winner` does, from its stones as `words` gives them, uint16 (N, 2, 13)."""
    joined = connected(stones.reshape(-1, SIZE)).reshape(-1, 2)
    return np.where(joined[:, BLUE], BLUE, np.where(joined[:, RED], RED, -1)).astype(np.int8)


def words(boards: np.ndarray) -> np.ndarray:
    """Return the stones as words of bits.

    Parameters
    ----------
    boards
        uint8 or bool (N, 2, 13, 13).

    Returns
    -------
    ndarray
        uint16 (N, 2, 13), see the module.
    """
    stones = np.zeros((len(boards), 2, SIZE, 16), np.uint8)
    stones[:, BLUE, :, :SIZE] = boards[:, BLUE]
    stones[:, RED, :, :SIZE] = boards[:, RED].transpose(0, 2, 1)
    return np.packbits(stones, bitorder="little").view("<u2").reshape(-1, 2, SIZE)


def connected(stones: np.ndarray) -> np.ndarray:
    """Say which sets of stones join the first word with the last.

    Parameters
    ----------
    stones
        uint16 (N, 13): one colour on each of N boards, as `words` gives it.

    Returns
    -------
    ndarray
        bool (N,).
    """
    stones = np.ascontiguousarray(stones.T)  # (13, N): long inner loops
    spread = np.zeros_like(stones)
    spread[0] = stones[0]
    reach = np.zeros_like(stones)
    while not np.array_equal(spread, reach):
        reach = spread
        spread = _spread(reach, stones)
    return reach[-1] != 0


def _spread(reach: np.ndarray, stones: np.ndarray) -> np.ndarray:
    """Return the stones that are in `reach` or next to it, all uint16 (13, N)."""
    spread = reach | reach << 1 | reach >> 1
    spread[1:] |= reach[:-1] | reach[:-1] >> 1
    spread[:-1] |= reach[1:] | reach[1:] << 1
    spread &= stones
    return spread
