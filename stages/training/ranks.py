"""The processes of one training, which torchrun starts: each learns from its share of every batch.

Without torchrun there is one. All that ranks tell each other is sums: of gradients, losses and counts.
"""

# mypy: disable-error-code="import-not-found, misc"

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from stages.loader import layout


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    n_ranks: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks of a tensor that each has in this shape; it may be changed in place."""
        if self.n_ranks > 1:
            torch.distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter], extra: Tensor) -> Tensor:
        """Sum gradients over all ranks in place, and some numbers (k,) with them, which are returned."""
        if self.n_ranks == 1:
            return extra
        gradients = [parameter.grad for parameter in parameters]
        flat = torch.cat([*(one.reshape(-1) for one in gradients), extra.to(gradients[0])])
        *parts, extra = self.sum(flat).split([*(one.numel() for one in gradients), extra.numel()])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return extra


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other processes that torchrun started, if it did, and part from them at the end."""
    here = layout.of_process(None)
    if here.n_ranks == 1:
        yield Ranks()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Ranks(here.rank, here.n_ranks)
    finally:
        torch.distributed.destroy_process_group()
