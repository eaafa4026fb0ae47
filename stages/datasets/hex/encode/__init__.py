"""Hex games in `.trmph` files -> typed arrays; see `stages.datasets.base` for the interface.

One row is one position of a game; a group is a game; rows of a game come by ply. The policy label is the move that was
played next, the value label the winner of the game, from a fixed point of view and not from the mover's.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.base import Field, Finding, Unit
from stages.datasets.hex import schema
from stages.datasets.hex.encode import positions
from stages.datasets.hex.encode.games import Games, read_games
from stages.datasets.hex.encode.identity import group_ids

CHUNK_UNITS = 2  # 1,000 games, 70,000 positions, 10 MB of arrays: larger chunks are no faster, measured

BOARD_DOC = "stones as bits: the plane of blue, then that of red, each 13 rows (number 1 first) of 13 columns (a first)"
FIELDS = {
    "board": Field("uint8", (positions.N_BYTES,), "feature", BOARD_DOC, bits=(2, schema.SIZE, schema.SIZE)),
    "player_to_move": Field("uint8", (), "feature", "0 blue, 1 red: blue moves at even plies"),
    "label_policy": Field("int16", (), "label", "cell of the next move; -1 at the end of the game", schema.CELL_NAMES),
    "label_value": Field("uint8", (), "label", "winner of the game, the same at all of its positions", schema.PLAYERS),
    "ply": Field("int16", (), "key", "moves made before the position, 0..169"),
    "n_plies": Field("int16", (), "key", "moves of the game, 1..169"),
    "tier": Field("uint8", (), "key", "0..3: 5, 5, 10, and all other positions of a game, drawn; 0 if it has one"),
    "line": Field("int32", (), "key", "line, from 1, in the unit's own bytes"),
}


def read(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Games:
    """Read and check the games of some units.

    Raises
    ------
    BadUnit
        When too many lines of a unit are no games.
    ExpectedError
        When an option is wrong, or a raw file changed since discover.
    """
    return read_games(raw_dir, units, options)


def findings(table: Games) -> list[Finding]:
    """Return the lines that were left out or corrected."""
    return list(table.findings)


def encode(table: Games, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of some games.

    Parameters
    ----------
    table
        What `read` returned.
    options
        Of these `positions`, `duplicates` and `tier_seed`.

    Returns
    -------
    dict
        Every field of `FIELDS` with N rows, and the group arrays.
    """
    settings = schema.parse_options(options)
    n_plies = np.diff(table.offsets)
    rows = positions.rows(n_plies, settings.positions)
    has_next = rows.ply < n_plies[rows.game]
    policy = np.full(len(rows.ply), -1, np.int16)
    policy[has_next] = table.cells[(table.offsets[rows.game] + rows.ply)[has_next]]
    ids = group_ids(table.cells, table.offsets, table.winner, settings.duplicates)
    is_all = settings.positions == "all"
    return {
        "board": positions.boards(table.cells, table.offsets, settings.positions),
        "player_to_move": (rows.ply & 1).astype(np.uint8),
        "label_policy": policy,
        "label_value": table.winner[rows.game],
        "ply": rows.ply.astype(np.int16),
        "n_plies": n_plies.astype(np.int16)[rows.game],
        "tier": positions.tiers(ids, rows, settings.tier_seed) if is_all else np.zeros(len(rows.ply), np.uint8),
        "line": table.line[rows.game],
        "group_id": ids,
        "group_offsets": np.searchsorted(rows.game, np.arange(len(n_plies) + 1)),
        "source": table.unit,
    }


def line(row: int) -> int:
    """Return the line of the unit that row `row` is of, if each line is a game with one row; else see field `line`."""
    return row + 1
