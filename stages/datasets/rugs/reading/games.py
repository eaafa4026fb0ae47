"""The game that a row names: in its column, or else in its payload."""

import dataclasses

import numpy as np

from stages.datasets.rugs.reading import payload
from stages.datasets.rugs.reading.store import Reader, Rows
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE


def name_games(reader: Reader, rows: Rows) -> Rows:
    """Return needed rows with the game that the payload names, where the column names none."""
    game = rows.game.copy()
    for kind in (GSU, PLAYER, TRADE, PRESS, OTHER):
        chosen = np.flatnonzero((game < 0) & (rows.kind == kind))
        payloads = payload.decode(kind, rows.raw.take(chosen).to_pylist())
        game[chosen] = [reader.code_of_game(getattr(found, "game", None)) for found in payloads]
    return dataclasses.replace(rows, game=game)
