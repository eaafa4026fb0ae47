"""The network: residual convolutions over the whole board, a move for each cell, and who wins."""

# mypy: disable-error-code="import-not-found, misc"

import os
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.datasets.hex.training.canonical import N_PLANES

NORM = os.environ.get("NORM", "batch")

def norm(c):
    if NORM == "batch":
        return nn.BatchNorm2d(c)
    if NORM == "group":
        return nn.GroupNorm(4, c)
    return nn.Identity()


class HexBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        b = NORM == "scale"
        self.a = nn.Conv2d(c, c, 3, padding=1, bias=b)
        self.b = nn.Conv2d(c, c, 3, padding=1, bias=b)
        self.na, self.nb = norm(c), norm(c)
        self.scale = nn.Parameter(torch.zeros(c, 1, 1)) if b else None

    def forward(self, x):
        y = self.nb(self.b(functional.relu(self.na(self.a(x)))))
        if self.scale is not None:
            y = y * self.scale
        return functional.relu(x + y)


class HexNet(nn.Module):
    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        c = channels
        self.stem = nn.Sequential(nn.Conv2d(N_PLANES, c, 5, padding=2, bias=NORM == "scale"), norm(c), nn.ReLU())
        self.body = nn.Sequential(*(HexBlock(c) for _ in range(blocks)))
        self.policy_head = nn.Conv2d(c, 1, 1)
        self.value_head = nn.Sequential(nn.Linear(2 * c, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        z = self.body(self.stem(planes))
        pooled = torch.cat([z.mean((2, 3)), z.amax((2, 3))], 1)
        return self.policy_head(z).flatten(1), self.value_head(pooled).squeeze(1)
