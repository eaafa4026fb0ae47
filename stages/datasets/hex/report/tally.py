"""Count what the figures show, a chunk of rows at a time: memory does not grow with the number of games."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import bits
from stages.core.part_files import PARTS
from stages.datasets.hex.schema import N_CELLS, SIZE
from stages.processed import Processed

CHUNK_ROWS = 1 << 16
KEYS, LABELS = ("ply", "n_plies", "unit", "group_id"), ("policy", "value")
BOARD = (2, SIZE, SIZE)
SHOWN = (0.15, 0.5, 0.85, 1.0)  # of a game: how far the positions are that are drawn


@dataclass(frozen=True)
class Tally:
    """Counts over all parts.

    Attributes
    ----------
    lengths
        int64 (170, 2), games by their number of moves and their winner, 0 blue and 1 red.
    openings
        int64 (169, 2), games by the cell of the first move and their winner; all 0 without empty boards in the rows.
    moves
        int64 (2, 169), next moves by the player that makes them and by cell.
    units
        int64, games by unit, in the order of `names`.
    names
        The units' keys.
    """

    lengths: np.ndarray
    openings: np.ndarray
    moves: np.ndarray
    units: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class Position:
    """One row: `stones` uint8 (2, 13, 13), `ply` of `n_plies`, the next move's cell or -1, the winner."""

    stones: np.ndarray
    ply: int
    n_plies: int
    policy: int
    value: int


def count(folder: Path) -> Tally:
    """Count the rows of all parts."""
    data = Processed(folder)
    stats, names = data.stats(), data.units()
    # A game of n moves has n + 1 rows, or one where only final positions were taken.
    is_one_each = stats["rows"] == stats["groups"]
    lengths, openings = np.zeros((N_CELLS + 1, 2), np.int64), np.zeros((N_CELLS, 2), np.int64)
    moves, units = np.zeros((2, N_CELLS), np.int64), np.zeros(len(names), np.int64)
    for part in PARTS:
        for rows in data.chunks(part, CHUNK_ROWS, KEYS, LABELS):
            game = slice(None) if is_one_each else rows["ply"] == 0
            np.add.at(lengths, (rows["n_plies"][game], rows["value"][game]), 1)
            np.add.at(units, rows["unit"][game], 1)
            first, has_next = rows["ply"] == 0, rows["policy"] >= 0
            np.add.at(openings, (rows["policy"][first & has_next], rows["value"][first & has_next]), 1)
            np.add.at(moves, (rows["ply"][has_next] % 2, rows["policy"][has_next]), 1)
    return Tally(lengths, openings, moves, units, names)


def positions_of_a_game(folder: Path) -> list[Position]:
    """Return some positions of the game of the first train row: an early, a middle and a late one, and the last."""
    data = Processed(folder)
    found: dict[int, tuple[int, int, int, int]] = {}
    game, start = None, 0
    for rows in data.chunks("train", CHUNK_ROWS, KEYS, LABELS):
        game = rows["group_id"][0] if game is None else game
        for row in np.flatnonzero(rows["group_id"] == game).tolist():
            ply, n_plies, policy, value = (int(rows[name][row]) for name in ("ply", "n_plies", "policy", "value"))
            found[ply] = (start + row, n_plies, policy, value)
        start += len(rows["ply"])
    last = max(found, default=0)
    plies = sorted(found)
    chosen = sorted({min(plies, key=lambda ply: abs(ply - wanted * last)) for wanted in SHOWN}) if plies else []
    board = np.load(data.feature_path("board", "train"), mmap_mode="r")
    return [
        Position(bits.unpack(np.array(board[[row]]), BOARD)[0], ply, *labels)
        for ply in chosen
        for row, *labels in [found[ply]]
    ]
