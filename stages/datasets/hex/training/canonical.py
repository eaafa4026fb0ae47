"""Positions as their player to move sees them: he joins the rows, row 1 with row 13, whoever he is.

Blue sees the board as it lies; for red it is mirrored at the long diagonal, and the colours change places. So a network
learns one player's moves, not two's, and a position and its mirror image (symmetry 2 of `augment`) are the same input.
A turn of the board by 180 degrees is another input: that is what `augment` adds.
"""

# mypy: disable-error-code="import-not-found, misc"

import torch
from torch import Tensor

from stages.datasets.hex.schema import N_CELLS, RED, SIZE

N_PLANES = 5
EMPTY = 2  # the plane of empty cells
TURNED = torch.arange(N_CELLS).view(SIZE, SIZE).t().flatten()  # where a cell of one view lies in the other


def planes(board: Tensor, player: Tensor) -> Tensor:
    """Return what a network reads.

    Parameters
    ----------
    board, player
        (n, 2, 13, 13) of any dtype, blue's stones and red's; (n,), who is to move: 0 blue, 1 red.

    Returns
    -------
    Tensor
        float32 (n, 5, 13, 13): own stones, the other's, empty cells; 1 on the rows that the mover joins; 1 everywhere,
        which shows a convolution where the board ends.
    """
    is_red = (player == RED)[:, None, None, None]
    stones = torch.where(is_red, board.flip(1).transpose(2, 3), board).float()
    empty = 1 - stones.sum(1, keepdim=True)
    edge, ones = torch.zeros_like(empty), torch.ones_like(empty)
    edge[:, :, 0] = edge[:, :, -1] = 1
    return torch.cat([stones, empty, edge, ones], 1)


def cells(cell: Tensor, player: Tensor) -> Tensor:
    """Return cells int64 (n,), -1 for none, in the mover's view."""
    turned = TURNED.to(cell.device)[cell.clamp(min=0)]
    return torch.where((player == RED) & (cell >= 0), turned, cell)


def over_cells(values: Tensor, player: Tensor) -> Tensor:
    """Return a value for each cell, (n, 169), in the mover's view from the board's, or the other way round."""
    return torch.where((player == RED)[:, None], values[:, TURNED.to(values.device)], values)
