"""The positions of games: which there are, their boards as bits, and their sampling tiers.

Position p of a game of n moves, 0 <= p <= n, is the board after the first p moves. `all` takes every one of them, from
the empty board on, `final` the last one, `penultimate` the one before the last move.

A board is 338 bits, the 13 x 13 cells of blue and then those of red, in 43 bytes as `numpy.packbits` packs them.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.base import mix, numbers, seeded
from stages.datasets.hex.schema import N_CELLS

N_BITS = 2 * N_CELLS
N_BYTES = -(-N_BITS // 8)
ROW_BYTES = -(-N_BYTES // 8) * 8  # whole 64-bit words: XOR of words is 3 times as fast as that of bytes, measured
TIER_ENDS = (5, 10, 20)  # tier 0 holds the first 5 positions of a game's random order, 1 the next 5, 2 the next 10


@dataclass(frozen=True)
class Rows:
    """Which positions are wanted: of each row its game, int64 (N,), and its ply, int64 (N,); games are contiguous."""

    game: np.ndarray
    ply: np.ndarray


def rows(n_plies: np.ndarray, positions: str) -> Rows:
    """Return the positions that are wanted of games of so many moves, int64 (G,), each at least 1."""
    games = np.arange(len(n_plies))
    if positions != "all":
        return Rows(games, n_plies - (positions == "penultimate"))
    sizes = n_plies + 1
    game = np.repeat(games, sizes)
    return Rows(game, np.arange(len(game)) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def boards(cells: np.ndarray, offsets: np.ndarray, positions: str) -> np.ndarray:
    """Return the boards of the wanted positions.

    Parameters
    ----------
    cells
        uint8 (M,), the cells of the moves of all games; no cell twice in a game.
    offsets
        int64 (G+1,), where each game begins in `cells`.
    positions
        `all`, `final` or `penultimate`.

    Returns
    -------
    numpy.ndarray
        uint8 (N, 43).
    """
    n_plies = np.diff(offsets)
    game = np.repeat(np.arange(len(n_plies)), n_plies)
    ply = np.arange(len(cells)) - offsets[game]
    bit = (ply & 1) * N_CELLS + cells
    if positions == "all":
        return _every_board(game, bit, offsets)
    is_on_board = ply < (n_plies - (positions == "penultimate"))[game]
    bits = np.zeros((len(n_plies), N_BITS), np.uint8)
    bits[game[is_on_board], bit[is_on_board]] = 1
    return np.packbits(bits, axis=1)


def _every_board(game: np.ndarray, bit: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the boards after 0, 1, ... moves of each game, uint8 (M+G, 43).

    Each row first holds only what changes there: the new stone, and at the first row of a game all stones of the game
    before, which this takes off. The XOR of all rows so far is then the board: no loop over games or positions.
    """
    n_games = len(offsets) - 1
    changes = np.zeros((len(bit) + n_games, ROW_BYTES), np.uint8)
    changes[np.arange(len(bit)) + game + 1, bit >> 3] = np.uint8(128) >> (bit & 7).astype(np.uint8)
    words = changes.view(np.uint64)
    first = offsets[:-1] + np.arange(n_games)
    last_boards = np.bitwise_xor.reduceat(words, first, axis=0)
    words[first[1:]] = last_boards[:-1]
    np.bitwise_xor.accumulate(words, axis=0, out=words)
    return np.ascontiguousarray(changes[:, :N_BYTES])


def tiers(group_id: np.ndarray, wanted: Rows, seed: int) -> np.ndarray:
    """Return the tier of every position of some games.

    The positions of a game are put in a random order that is a function of seed, group id and ply alone, so that a tier
    does not change when other games are added. Ranks 0..4 are tier 0, 5..9 tier 1, 10..19 tier 2, all others tier 3.

    Parameters
    ----------
    group_id
        uint64 (G,).
    wanted
        What `rows` returned for `all`.
    seed
        Any whole number.

    Returns
    -------
    numpy.ndarray
        uint8 (N,), 0..3.
    """
    keys = _order_keys(group_id, wanted, seed)
    width = max(int(wanted.ply.max(initial=0)) + 1, *TIER_ENDS)
    by_game = np.full((len(group_id), width), np.iinfo(np.uint64).max)
    by_game[wanted.game, wanted.ply] = keys
    ends = [end - 1 for end in TIER_ENDS]
    by_game.partition(ends, axis=1)  # only the places at the ends are wanted: half the time of sorting, measured
    tier = np.zeros(len(keys), np.uint8)
    for end in ends:
        tier += keys > by_game[:, end][wanted.game]
    return tier


def _order_keys(group_id: np.ndarray, wanted: Rows, seed: int) -> np.ndarray:
    """Return the numbers, uint64 (N,), that order the positions of a game; no two of a game are equal."""
    return numbers(mix(seeded(group_id, seed))[wanted.game], wanted.ply + 1)
