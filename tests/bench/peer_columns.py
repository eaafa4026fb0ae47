"""What the programs of the peers share: the columns, which part a game belongs to, and the last steps, in NumPy.

A peer's own library reads the games, gives each column its type, fills what is empty and names the action; a user of
any of them then has a matrix of whole numbers, and what follows is NumPy for all of them (see `finish`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from baselines import MOVE_NAMES, PARTS, STATE_NAMES, base_columns, is_normalised, labels, raw_files

from stages.datasets.splendor import schema

NAMES = schema.RAW_COLUMNS
STATE = STATE_NAMES[1:]  # all but the game's id; a byte holds each
MOVE = MOVE_NAMES
KEYS = ("game_id", "turn_number", "current_player")  # which name a row
NOTHING = ("nan", "")  # how an empty field is written
MULTIPLIER, SHIFT, TENTHS = 2_654_435_761, 65_536, 10  # Knuth's: 2**32 by the golden ratio
VAL, TEST = 8, 9  # the tenth that a game belongs to, when it is not train's
CHUNK_ROWS = 8_192

__all__ = ["KEYS", "MOVE", "NAMES", "NOTHING", "PARTS", "STATE", "Games", "finish", "raw_files"]


class Games(NamedTuple):
    """All games as whole numbers, a row a move.

    Attributes
    ----------
    game
        int32 (N,): the game's id.
    state
        int8 (N, 382), C order: the columns `STATE`, 0 where empty.
    moves
        int8 (N, 19): the columns `MOVE`, -1 where empty.
    actions
        int8 (N,): the index of the action in `schema.ACTION_TYPES`.
    """

    game: np.ndarray
    state: np.ndarray
    moves: np.ndarray
    actions: np.ndarray


def part_of(game: np.ndarray) -> np.ndarray:
    """Return the part of each game, int64 (N,), index into `PARTS`, by a hash of its id: eight tenths, one and one."""
    tenth = game.astype(np.int64) * MULTIPLIER % 2**32 // SHIFT % TENTHS
    return np.maximum(tenth - VAL + 1, 0)


def features(state: np.ndarray) -> np.ndarray:
    """Return the 422 base columns, float32 (N, 422), of rows (N, 382) of the columns `STATE`."""
    return base_columns(np.insert(state, 0, 0, axis=1))


def heads(moves: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Return the labels, int16 (N,), by name."""
    return labels(moves, actions.astype(np.int16))


def keys(games: Games) -> np.ndarray:
    """Return what names each row, int32 (N, 3), the columns `KEYS`."""
    return np.stack([games.game, *(games.state[:, STATE.index(name)] for name in KEYS[1:])], axis=1, dtype=np.int32)


def moments(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is subtracted from and divides the columns of train, float32 (C,): 0 and 1 where nothing is to do."""
    chunks = range(0, len(train), CHUNK_ROWS)
    total = sum(train[at : at + CHUNK_ROWS].sum(0, dtype=np.float64) for at in chunks)
    mean = total / len(train)
    squares = sum(((train[at : at + CHUNK_ROWS] - mean) ** 2).sum(0) for at in chunks)
    return used(mean, np.sqrt(squares / len(train)))


def used(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation, float32 (C,), as they are used: not in columns of yes and no, nor in constant ones."""
    use = is_normalised()
    return np.where(use, mean, 0).astype(np.float32), np.where(use & (std > 0), std, 1).astype(np.float32)


def finish(games: Games, out_dir: Path) -> None:
    """Make features and labels, deal the games to the parts, standardise by train, and save all of it."""
    part = part_of(games.game)
    matrix, found = features(games.state), heads(games.moves, games.actions)
    names = keys(games)
    mean = scale = np.empty(0)
    for index, name in enumerate(PARTS):  # train is the first
        rows = np.flatnonzero(part == index)
        x = matrix[rows]
        if name == "train":
            mean, scale = moments(x)
        x -= mean
        x /= scale
        save(out_dir, name, {"X": x, "keys": names[rows], **{head: label[rows] for head, label in found.items()}})


def save(out_dir: Path, part: str, arrays: dict[str, np.ndarray]) -> None:
    """Save the arrays of a part: ``X_train.npy`` and so on."""
    for name, array in arrays.items():
        np.save(out_dir / f"{name}_{part}.npy", array)


def run_in_memory(read: Callable[[Path], Games], raw_dir: Path, out_dir: Path) -> None:
    """Run a peer that has all games in memory at once."""
    out_dir.mkdir(parents=True)
    finish(read(raw_dir), out_dir)
