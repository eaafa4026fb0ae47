"""Totals that a meter keeps: named float64 tensors on the CPU, and all of them as one vector that ranks can add up.

Sums of float64 over whole parts, not means of batches, so that a metric is the same for any batch size and any number
of ranks, to the last few bits.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping

import torch
from torch import Tensor


class Sums:
    """Totals by name, zero at first.

    Parameters
    ----------
    shapes
        The shape of each, by name; their order is that of the vector.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._totals = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Return one total, float64 of its shape."""
        return self._totals[name]

    def add(self, name: str, rows: Tensor) -> None:
        """Add the sum over the first axis of `rows`, (n, ...) of any dtype and on any device."""
        self._totals[name] += rows.detach().to("cpu", torch.float64).sum(0)

    def state(self) -> Tensor:
        """Return all totals one after the other, float64 (k,)."""
        return torch.cat([total.flatten() for total in self._totals.values()])

    def load(self, state: Tensor) -> None:
        """Take what `state` gave, or a sum of several.

        Raises
        ------
        RuntimeError
            When it has another length.
        """
        totals = list(self._totals.values())
        pieces = state.to("cpu", torch.float64).split([total.numel() for total in totals])
        for total, piece in zip(totals, pieces, strict=True):
            total.copy_(piece.view_as(total))


def ratio(total: Tensor, count: Tensor) -> float:
    """Return a mean from a total and a count, NaN where nothing was counted."""
    return float(total / count)
