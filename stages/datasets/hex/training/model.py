"""The network: residual convolutions over the whole board, a number for each cell, and who wins.

No stride and no pooling before the end: a move is a cell. Norms are of groups of a sample's own channels, not of the
batch: what a sample's answer is, and what is learnt from it, then depends neither on the samples beside it nor on how a
batch is cut among micro-batches and ranks. Batch norm learns a little faster (test top-1 .65 against .62 after six
epochs of the sample, value .68 both) and keeps none of that.
"""

# mypy: disable-error-code="import-not-found, misc"

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.datasets.hex.training.canonical import N_PLANES

GROUP_CHANNELS = 8
N_HIDDEN = 64  # of the value's head


def _conv(n_in: int, n_out: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=False)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP_CHANNELS, channels)


class HexBlock(nn.Module):
    """Two convolutions whose result is added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.first_norm = _conv(channels, channels, 3), _norm(channels)
        self.second, self.second_norm = _conv(channels, channels, 3), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, 13, 13) for the same."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(inner)))


class HexNet(nn.Module):
    """See the module.

    Parameters
    ----------
    channels, blocks
        Planes between two convolutions, a multiple of `GROUP_CHANNELS`, and residual blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(N_PLANES, channels, 5), _norm(channels), nn.ReLU())
        self.body = nn.Sequential(*(HexBlock(channels) for _ in range(blocks)))
        self.policy_head = nn.Conv2d(channels, 1, 1)
        self.value_head = nn.Sequential(nn.Linear(2 * channels, N_HIDDEN), nn.ReLU(), nn.Linear(N_HIDDEN, 1))

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is said of positions in the mover's view.

        Parameters
        ----------
        planes
            float32 (n, 5, 13, 13), see `canonical.planes`.

        Returns
        -------
        tuple of Tensor
            Logits of the cells, (n, 169), taken ones too; the logit of "the mover wins", (n,), which sees the mean and
            the largest value of each channel.
        """
        x = self.body(self.stem(planes.contiguous(memory_format=torch.channels_last)))
        of_board = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return self.policy_head(x).flatten(1), self.value_head(of_board).squeeze(1)
