"""Who is ahead on a board and which moves are worth a look: the evaluator that self-play searches with.

The embedded evaluator measures how far each side is from its connection. A path across the board costs 4 for every
empty cell that it must fill and 1 for every bridge that it leans on (two cells with two empty common neighbours: if the
opponent takes one, the other one remains). The side with the cheaper path is ahead, and a cell is worth a look where
cheap paths of both sides cross it. The costs are small integers and the cheapest cost is unique, so that what is said
about a board depends neither on the other boards of the batch nor on the machine.

One of another kind, for example a trained network, is named in the settings, see `foreign`.

References
----------
J. van Rijswijck, "Search and evaluation in Hex" (2002): distances between the edges as the evaluation of a board.
"""

import math
from typing import Protocol

import numpy as np

from stages.datasets.hex.schema import BLUE, N_CELLS, RED, SIZE

EMBEDDED = "distance"

_EMPTY, _BRIDGE, _FAR = 4, 1, 250  # costs; _FAR + _EMPTY + _BRIDGE is the largest uint8
_STRIDE = SIZE + 1  # one column of padding serves both sides of the board
_MARGIN = 2 * _STRIDE  # a bridge reaches two rows up and down
_INSIDE = SIZE * _STRIDE
_CHUNK = 256  # sides at a time: the arrays of a chunk, 0.5 MB, stay in the cache of a core

_STEPS = (1, -1, _STRIDE, -_STRIDE, _STRIDE - 1, 1 - _STRIDE)
# a bridge's far end and the two cells between
_BRIDGES = (
    (_STRIDE + 1, 1, _STRIDE),
    (-_STRIDE - 1, -1, -_STRIDE),
    (2 * _STRIDE - 1, _STRIDE, _STRIDE - 1),
    (1 - 2 * _STRIDE, -_STRIDE, 1 - _STRIDE),
    (_STRIDE - 2, -1, _STRIDE - 1),
    (2 - _STRIDE, 1, 1 - _STRIDE),
)
_DOWN = 2  # of _BRIDGES: the one that leads from row 11 to the far edge

_TEMPO = 2  # half a stone for the side to move
_SLOPE = 0.25  # logit of the value for one unit of distance: 1 for a stone
_SHARP = 0.25  # logit of a move for one unit of distance: 1 for a stone
_USELESS = 80  # no path of interest is as long: cells beyond are all alike
_CERTAIN = 60  # 1 - P is 3e-7 there: values stay apart from 0 and 1, which are for games that are over
_MOST = _FAR + _TEMPO
# P(red wins) by lead + _MOST; a table, because exp may round otherwise at the end of an array than in its middle
_LOGISTIC = np.array(
    [1 / (1 + math.exp(-_SLOPE * max(-_CERTAIN, min(_CERTAIN, lead)))) for lead in range(-_MOST, _MOST + 1)], np.float32
)


class Evaluator(Protocol):
    """What a search asks of an evaluator; values and policies are asked apart, since they differ in price.

    Attributes
    ----------
    name
        As in the settings.
    digest
        What it is made of, in a word: for a network, say, the SHA-256 of its weights. It stands in the header of every
        file, so that no games are continued with another one of the same name. None says that the name is enough.
    """

    name: str
    digest: str | None

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits over the cells, float32 (B, 169), finite, and -inf where a stone stands.

        Parameters
        ----------
        boards, movers
            uint8 (B, 2, 13, 13) and uint8 (B,), the side to move.
        """

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return the probability that red wins, float32 (B,), strictly between 0 and 1; parameters as for `policy`."""


class DistanceEvaluator:
    """The embedded evaluator; see the module."""

    name = EMBEDDED
    digest: str | None = None

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return minus the costs of both sides' cheapest paths through each cell, as logits, whoever is to move."""
        logits = np.empty((len(boards), N_CELLS), np.float32)
        for part in _chunks(len(boards), _CHUNK // 4):
            logits[part] = _policy(boards[part])
        return logits

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return the logistic function of the difference of both sides' distances, half a stone for the mover added."""
        lead = np.where(movers == RED, _TEMPO, -_TEMPO)
        for part in _chunks(len(boards), _CHUNK // 2):
            lengths = _lengths(boards[part])
            lead[part] += lengths[BLUE] - lengths[RED]
        return _LOGISTIC[lead + _MOST]


def _chunks(n: int, size: int) -> list[slice]:
    """Cut n boards into pieces of at most `size`."""
    return [slice(start, start + size) for start in range(0, n, size)]


def _lengths(boards: np.ndarray) -> np.ndarray:
    """Return the cost of the cheapest path of each side, int64 (2, B)."""
    red = boards.swapaxes(2, 3)[:, ::-1]
    _, length = _distances(np.concatenate([boards, red]))
    return length.reshape(2, -1).astype(np.int64)


def _policy(boards: np.ndarray) -> np.ndarray:
    """Return logits, float32 (B, 169)."""
    n = len(boards)
    red = boards.swapaxes(2, 3)[:, ::-1]
    sides = np.concatenate([boards, red])
    near, _ = _distances(np.concatenate([sides, sides[:, :, ::-1, ::-1]]))
    through = np.minimum(near[: 2 * n] + near[2 * n :, ::-1, ::-1] - _EMPTY, _USELESS)
    cost = (through[:n] + through[n:].swapaxes(1, 2)).reshape(n, N_CELLS)
    taken = boards.any(axis=1).reshape(n, N_CELLS)
    return np.where(taken, np.float32(-np.inf), cost.astype(np.float32) * np.float32(-_SHARP))


def _distances(sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far every cell is from row 0 for the stones of plane 0, and the cost of the cheapest path to row 12.

    All cells of all boards are relaxed at once until nothing changes; 250 is "never".

    Parameters
    ----------
    sides
        uint8 (N, 2, 13, 13): the stones of the side that joins the rows, then the other side's.

    Returns
    -------
    tuple of numpy.ndarray
        int16 (N, 13, 13), the cell's own cost included, and uint8 (N,).
    """
    own, other = np.ascontiguousarray(sides.transpose(1, 2, 3, 0))
    cost, wall, bridges = _terrain(own, other)
    n = len(sides)
    near = np.full((_INSIDE + 2 * _MARGIN, n), _FAR, np.uint8)
    near[_MARGIN - _STRIDE : _MARGIN] = 0
    _relax(near, cost, wall, bridges)
    inside = near[_MARGIN:-_MARGIN]
    below = np.maximum(inside[-2 * _STRIDE : -_STRIDE], bridges[_DOWN][-2 * _STRIDE : -_STRIDE]) + np.uint8(_BRIDGE)
    length = np.minimum(inside[-_STRIDE:].min(axis=0), below.min(axis=0))
    cells = inside.reshape(SIZE, _STRIDE, n)[:, :SIZE].transpose(2, 0, 1).astype(np.int16)
    return cells, np.minimum(length, np.uint8(_FAR))


def _terrain(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return what a step to a cell costs, where none is possible, and where no bridge is; planes are uint8 (13, 13, N).

    Returns
    -------
    tuple
        uint8 (182, N) 4 or 0; uint8 (182, N) 250 or 0; one such array for each of `_BRIDGES`.
    """
    shape = (SIZE, _STRIDE, own.shape[2])
    cost, wall = np.zeros(shape, np.uint8), np.full(shape, _FAR, np.uint8)
    np.multiply(other, np.uint8(_FAR), out=wall[:, :SIZE])
    full = np.ones((_INSIDE + 2 * _MARGIN, shape[2]), np.uint8)
    full[_MARGIN:-_MARGIN].reshape(shape)[:, :SIZE] = own | other
    np.subtract(1, full[_MARGIN:-_MARGIN].reshape(shape), out=cost)
    cost *= np.uint8(_EMPTY)
    bridges = [(_shifted(full, one) | _shifted(full, two)) * np.uint8(_FAR) for _, one, two in _BRIDGES]
    return cost.reshape(_INSIDE, -1), wall.reshape(_INSIDE, -1), bridges


def _relax(near: np.ndarray, cost: np.ndarray, wall: np.ndarray, bridges: list[np.ndarray]) -> None:
    """Lower the distances in place until they are those of the cheapest paths."""
    inside = near[_MARGIN:-_MARGIN]
    best, other = np.empty_like(inside), np.empty_like(inside)
    while True:
        best.fill(_FAR)
        for (end, _, _), closed in zip(_BRIDGES, bridges, strict=True):
            np.minimum(best, np.maximum(_shifted(near, end), closed, out=other), out=best)
        best += np.uint8(_BRIDGE)
        for step in _STEPS:
            np.minimum(best, _shifted(near, step), out=best)
        best += cost
        np.minimum(np.maximum(best, wall, out=best), inside, out=best)
        if np.array_equal(best, inside):
            return
        inside[:] = best


def _shifted(padded: np.ndarray, step: int) -> np.ndarray:
    """Return the rows of a padded array `step` places after those of the board, as a view."""
    return padded[_MARGIN + step : _MARGIN + step + _INSIDE]
