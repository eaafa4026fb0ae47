"""The four symmetries of a position, for a trainer; the files hold each position once.

==  ===============  ========================  ==================================================
0   identity         (row, col)
1   rotation         (12 - row, 12 - col)      by 180 degrees: each player still joins its own sides
2   long diagonal    (col, row)                mirrored: the players' sides change places, and so do
                                               colours, player to move and winner (value v: 1 - v)
3   short diagonal   (12 - col, 12 - row)      likewise
==  ===============  ========================  ==================================================

The next move goes with its cell; -1, no next move, stays. How to use it::

    from stages.datasets.hex.training.augment import augment, model_input
    from stages.loader import batches

    with batches("data/processed/hex", "train", shuffle_seed=42, epochs=4, transform=augment) as stream:
        for batch in stream:
            x = model_input(batch["board"], batch["player_to_move"])

`augment` gives each sample one symmetry, drawn anew in each epoch from the sample's random number, so that a resumed
run sees the same ones. `augment_all` gives all four one after the other: a batch of 64 samples has 256 rows.

References
----------
Symmetries 2 and 3 swap the colours because blue joins top and bottom, red left and right.
"""

from collections.abc import Callable

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import N_CELLS, RED, SIZE

SYMMETRIES = ("identity", "rotation", "long diagonal", "short diagonal")
SWAPS = np.array([False, False, True, True])  # colours
PLANES = (2, SIZE, SIZE)

Arrays = dict[str, np.ndarray]


def _targets() -> np.ndarray:
    """Return for each symmetry where each cell goes, int16 (4, 169), and so where it comes from: each undoes itself."""
    row, col = np.divmod(np.arange(N_CELLS), SIZE)
    last = SIZE - 1
    pairs = ((row, col), (last - row, last - col), (col, row), (last - col, last - row))
    return np.stack([r * SIZE + c for r, c in pairs]).astype(np.int16)


def _bits() -> np.ndarray:
    """Return for each symmetry which bit of [blue, red] comes to each place, int16 (4, 338)."""
    planes = [np.where(SWAPS, 1 - plane, plane)[:, None] for plane in range(2)]
    return np.concatenate([TARGETS + N_CELLS * plane for plane in planes], axis=1).astype(np.int16)


TARGETS = _targets()
BITS = _bits()


def boards(board: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return boards (n, 2, 13, 13), of any dtype, each under its symmetry, 0..3 (n,).

    Raises
    ------
    ExpectedError
        When the boards have another shape, as packed ones.
    """
    if board.shape[1:] != PLANES:
        raise ExpectedError(f"augment: boards are {board.shape}, expected (n, 2, 13, 13); stream without packed=True")
    return np.take_along_axis(board.reshape(-1, 2 * N_CELLS), BITS[which], axis=1).reshape(board.shape)


def policies(policy: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return next moves, int (n,): cells or -1, each under its symmetry."""
    return np.where(policy < 0, policy, TARGETS[which, policy]).astype(policy.dtype)


def players(player: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return players or winners, 0 or 1 (n,), of any dtype, each under its symmetry; a chance v becomes 1 - v."""
    return np.where(SWAPS[which], 1 - player, player).astype(player.dtype)


FIELDS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "board": boards,
    "player_to_move": players,
    "label_policy": policies,
    "label_value": players,
}


def augment(batch: Arrays, randoms: np.ndarray) -> Arrays:
    """Return a batch with each sample under one symmetry, a `Settings.transform`; other fields stay.

    Parameters
    ----------
    batch
        As the loader gives it, not packed.
    randoms
        uint64 (n,): a random number for each sample.
    """
    return _transformed(batch, (randoms % np.uint64(len(SYMMETRIES))).astype(np.intp))


def augment_all(batch: Arrays, randoms: np.ndarray) -> Arrays:
    """Return a batch with all four symmetries of each sample, one after the other, a `Settings.transform`.

    Parameters
    ----------
    batch
        n samples, as the loader gives them, not packed. Fields of other names are repeated.
    randoms
        uint64 (n,), not used but for their number.
    """
    n = len(SYMMETRIES)
    repeated = {name: np.repeat(values, n, axis=0) for name, values in batch.items()}
    return _transformed(repeated, np.tile(np.arange(n), len(randoms)))


def model_input(board: np.ndarray, player: np.ndarray) -> np.ndarray:
    """Return what a network reads.

    Parameters
    ----------
    board
        (n, 2, 13, 13).
    player
        (n,): who is to move, 0 blue, 1 red.

    Returns
    -------
    numpy.ndarray
        float32 (n, 3, 13, 13): blue stones, red stones, and a plane of 1 where red is to move.
    """
    planes = np.empty((len(board), 3, SIZE, SIZE), np.float32)
    planes[:, :2] = board
    planes[:, 2] = (player == RED)[:, None, None]
    return planes


def _transformed(batch: Arrays, which: np.ndarray) -> Arrays:
    return {name: FIELDS[name](values, which) if name in FIELDS else values for name, values in batch.items()}
