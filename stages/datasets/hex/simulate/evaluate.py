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
from typing import NamedTuple, Protocol

import numpy as np

from stages.datasets.hex.schema import BLUE, N_CELLS, RED, SIZE

EMBEDDED = "distance"

_EMPTY, _BRIDGE, _FAR = 4, 1, 127  # costs; 2 * _FAR + _BRIDGE, a bridge from nowhere to a stone, is the largest uint8
_STRIDE = SIZE + 1  # one column of padding serves both sides of the board
_REACH = 2  # rows that a bridge leads up or down
_MARGIN = _REACH * _STRIDE
_INSIDE = SIZE * _STRIDE
_CHUNK = 576  # sides at a time: the arrays of a chunk are 1 MB, and the cost of a call counts little (measured)

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
    """Cut n boards into as few pieces of at most `size` as there may be, about equal ones."""
    step = math.ceil(n / max(1, math.ceil(n / size)))
    return [slice(start, start + step) for start in range(0, n, max(1, step))]


def _lengths(boards: np.ndarray) -> np.ndarray:
    """Return the cost of the cheapest path of each side, int64 (2, B)."""
    near, closed = _distances(_sides(boards), only_lengths=True)
    return _length(near, closed).reshape(2, -1).astype(np.int64)


def _policy(boards: np.ndarray) -> np.ndarray:
    """Return logits, float32 (B, 169)."""
    n = len(boards)
    sides = _sides(boards)
    near, _ = _distances(np.concatenate([sides, sides[:, ::-1, ::-1]], axis=3))
    cells = _inside(near).reshape(SIZE, _STRIDE, 4 * n)[:, :SIZE].astype(np.int16)
    from_here, from_there = cells[..., : 2 * n], cells[::-1, ::-1, 2 * n :]
    through = np.minimum(from_here + from_there - _EMPTY, _USELESS)
    cost = through[..., :n] + through[..., n:].swapaxes(0, 1)
    logits = cost.reshape(N_CELLS, n).T.astype(np.float32, order="C") * np.float32(-_SHARP)
    logits[boards.any(axis=1).reshape(n, N_CELLS)] = -np.inf
    return logits


def _sides(boards: np.ndarray) -> np.ndarray:
    """Return the boards as each side sees them, uint8 (2, 13, 13, 2 * B): blue's, then red's with rows for columns.

    Plane 0 has the stones of the side itself, which joins the rows. The boards come last, so that what is done to a
    cell is done to that cell of all of them at once.
    """
    blue = np.ascontiguousarray(boards.transpose(1, 2, 3, 0))
    red = blue[::-1].swapaxes(1, 2)
    return np.concatenate([blue, red], axis=3)


def _distances(sides: np.ndarray, *, only_lengths: bool = False) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return how far every cell is from row 0 for the stones of plane 0, and where `_terrain` finds no bridge.

    A cell's own cost is included. 127 is "never", or farther than anything depends on: `_USELESS` and `_CERTAIN` are
    less.

    Parameters
    ----------
    sides
        uint8 (2, 13, 13, N): the stones of the side that joins the rows, then the other side's.
    only_lengths
        Whether a cell that no cheapest path to row 12 crosses may be given too much, which takes fewer passes.

    Returns
    -------
    tuple
        uint8 (238, N), two rows of padding on either side, and a list of uint8 (182, N).
    """
    cost, closed = _terrain(*sides)
    near = np.full((_INSIDE + 2 * _MARGIN, sides.shape[3]), _FAR, np.uint8)
    near[_MARGIN - _STRIDE : _MARGIN] = 0
    _relax(near, cost, closed, only_lengths)
    return near, closed


def _length(near: np.ndarray, closed: list[np.ndarray]) -> np.ndarray:
    """Return the cost of the cheapest path to row 12, uint8 (N,), from what `_distances` returns."""
    row_11, row_12 = slice(-2 * _STRIDE, -_STRIDE), slice(-_STRIDE, None)
    over_bridges = np.maximum(_inside(near)[row_11], closed[_DOWN][row_11]).min(axis=0) + np.uint8(_BRIDGE)
    return np.minimum(_inside(near)[row_12].min(axis=0), over_bridges)


def _terrain(own: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what a step to a cell costs, and where no bridge is; planes are uint8 (13, 13, N).

    Returns
    -------
    tuple
        uint8 (182, N): 0, 4, or 127 at the other side's stones and off the board; one such array, 127 or 0, for each
        of `_BRIDGES`.
    """
    n = own.shape[2]
    taken = np.negative(own | other)  # all bits of a byte, or none
    cost = np.full((SIZE, _STRIDE, n), _FAR, np.uint8)
    cost[:, :SIZE] = (~taken & np.uint8(_EMPTY)) | (np.negative(other) & np.uint8(_FAR))
    full = np.full((_INSIDE + 2 * _MARGIN, n), _FAR, np.uint8)
    _inside(full).reshape(cost.shape)[:, :SIZE] = taken & np.uint8(_FAR)
    closed = [_shifted(full, one, _INSIDE) | _shifted(full, two, _INSIDE) for _, one, two in _BRIDGES]
    return cost.reshape(_INSIDE, n), closed


class _Strip(NamedTuple):
    """The first rows of all boards: views of what a pass over them reads and writes, each uint8 (n_rows * 14, N).

    Attributes
    ----------
    near
        The distances so far.
    beside
        Those of the six cells next to each cell.
    bridges
        For each of `_BRIDGES`, those of the cells at its far end, and where there is none.
    cost
        Of a step to a cell.
    best, other
        Room to work in.
    """

    near: np.ndarray
    beside: list[np.ndarray]
    bridges: list[tuple[np.ndarray, np.ndarray]]
    cost: np.ndarray
    best: np.ndarray
    other: np.ndarray


def _relax(near: np.ndarray, cost: np.ndarray, closed: list[np.ndarray], only_lengths: bool) -> None:
    """Lower the distances in place until they are those of the cheapest paths; parameters as in `_distances`.

    A pass lowers those of all cells of all boards by what the cells around them have. The first ones go over no more
    rows than can be reached from row -1 by then. A pass over steps takes half the time of one over bridges too: both in
    turns end sooner than the latter alone (15 %, measured).
    """
    room = np.empty((2, *cost.shape), np.uint8)
    for n_rows in range(_REACH, SIZE, _REACH):
        strip = _strip(near, cost, closed, room, n_rows)
        np.minimum(strip.near, _by_all(strip), out=strip.near)
    board = _strip(near, cost, closed, room, SIZE)
    while True:
        np.minimum(board.near, _by_steps(board), out=board.near)
        best = _by_all(board)
        is_lower = best < board.near
        if only_lengths:  # a path through a cell costs at least the way to it
            is_lower &= best < _length(near, closed)
        if not is_lower.any():
            return
        np.minimum(board.near, best, out=board.near)


def _strip(near: np.ndarray, cost: np.ndarray, closed: list[np.ndarray], room: np.ndarray, n_rows: int) -> _Strip:
    """Return the strip of the first rows of the boards."""
    n_cells = n_rows * _STRIDE
    beside = [_shifted(near, step, n_cells) for step in _STEPS]
    behind = [_shifted(near, end, n_cells) for end, _, _ in _BRIDGES]
    bridges = [(cells, none[:n_cells]) for cells, none in zip(behind, closed, strict=True)]
    return _Strip(_shifted(near, 0, n_cells), beside, bridges, cost[:n_cells], room[0, :n_cells], room[1, :n_cells])


def _by_steps(strip: _Strip) -> np.ndarray:
    """Return how far each cell is by a step from a cell next to it, in `strip.best`."""
    best = strip.best
    best.fill(_FAR)
    return _stepped(best, strip)


def _by_all(strip: _Strip) -> np.ndarray:
    """Return how far each cell is by a step or over a bridge, in `strip.best`."""
    best = strip.best
    best.fill(_FAR)
    for behind, none in strip.bridges:
        np.minimum(best, np.maximum(behind, none, out=strip.other), out=best)
    best += np.uint8(_BRIDGE)
    return _stepped(best, strip)


def _stepped(best: np.ndarray, strip: _Strip) -> np.ndarray:
    """Lower `best` to the distances of the cells next to each cell, add what the step to it costs, and return it."""
    for beside in strip.beside:
        np.minimum(best, beside, out=best)
    best += strip.cost
    return best


def _shifted(padded: np.ndarray, step: int, n_cells: int) -> np.ndarray:
    """Return the rows of a padded array `step` places after those of the board's first cells, as a view."""
    return padded[_MARGIN + step : _MARGIN + step + n_cells]


def _inside(padded: np.ndarray) -> np.ndarray:
    """Return the rows of a padded array that are the board's, as a view."""
    return padded[_MARGIN:-_MARGIN]
