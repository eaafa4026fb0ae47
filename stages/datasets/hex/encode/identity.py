"""What makes two games one: their moves and their winner, or these under the board's half turn."""

import numpy as np

from stages.datasets.base import group_id
from stages.datasets.hex.schema import N_CELLS


def group_ids(cells: np.ndarray, offsets: np.ndarray, winner: np.ndarray, duplicates: str) -> np.ndarray:
    """Return the id of each game.

    With `duplicates` `symmetric` the identity is that of the game or of its 180-degree rotation (cell c becomes
    168 - c, colours and winner stay), whichever has the lexicographically smaller moves.

    Parameters
    ----------
    cells
        uint8 (M,), the cells of the moves of all games.
    offsets
        int64 (G+1,), where each game begins in `cells`.
    winner
        uint8 (G,), 0 blue, 1 red.
    duplicates
        `exact` or `symmetric`.

    Returns
    -------
    numpy.ndarray
        uint64 (G,).
    """
    moves, turned = cells.tobytes(), (N_CELLS - 1 - cells).tobytes()
    is_symmetric = duplicates == "symmetric"
    ids = []
    for start, stop, won in zip(offsets[:-1].tolist(), offsets[1:].tolist(), winner.tolist(), strict=True):
        game = moves[start:stop]
        if is_symmetric:
            game = min(game, turned[start:stop])
        ids.append(group_id(f"hex {game.hex()} {won}"))
    return np.array(ids, np.uint64)
