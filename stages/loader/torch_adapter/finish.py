"""What a stream of raw or packed values leaves to be done, done with tensors where they lie.

Features become what the stream gives with ``standardised=True``: the value as float32, less the mean, divided by the
scale, each of the three rounded by IEEE 754 as NumPy does, on the CPU and on CUDA. So they are the same bits. Fields of
bits become uint8 of 0 and 1.
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Mapping
from math import prod
from typing import Any

import torch

from stages.core import bits
from stages.core.errors import ExpectedError
from stages.core.standardise import Standard
from stages.loader.form import Left
from stages.loader.torch_adapter.batches import TensorBatch


class Finisher:
    """Finishes batches on one device.

    Parameters
    ----------
    left
        What is to be done; nothing for a `Left()`.
    device
        Where the batches are.
    dtype
        Of all fields of floating-point numbers afterwards, such as `torch.bfloat16`; None leaves them.
    """

    def __init__(self, left: Left, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self._left, self._dtype = left, dtype
        self._fits = {name: _on(device, standard) for name, standard in left.standards.items()}
        self._shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)  # the highest bit is the first cell

    def __call__(self, batch: Mapping[str, Any]) -> TensorBatch:
        """Return a batch that is finished; its own tensors stay as they are.

        Raises
        ------
        ExpectedError
            When a field is missing that says which rows are valid, or values are not as they were stored.
        """
        done = TensorBatch(batch)
        for name in self._left.standards:
            if name in batch:
                done[name] = self._standardised(name, batch)
        for name, shape in self._left.bits.items():
            if name in batch:
                done[name] = self._unpacked(name, batch[name], shape)
        if self._dtype is not None:
            done |= {name: value.to(self._dtype) for name, value in done.items() if _is_floating(value)}
        return done

    def _standardised(self, name: str, batch: Mapping[str, Any]) -> torch.Tensor:
        mean, scale = self._fits[name]
        found, stored = batch[name].dtype, self._left.stored[name]
        if f"{found}" != f"torch.{stored}":
            raise ExpectedError(
                f"loader: {name} is {found}, expected {stored}, as it is stored and still to be standardised; drop "
                "finish, or the transform that changes it"
            )
        values = (batch[name].to(torch.float32) - mean).div_(scale)
        flags = self._left.valid.get(name)
        if flags is None:
            return values
        if flags not in batch:
            raise ExpectedError(
                f"loader: no field {flags!r} in the batch, expected it, as it says which rows of {name!r} are valid; "
                "name it in `fields`"
            )
        is_not = batch[flags] == 0
        return values.masked_fill_(is_not.reshape(*is_not.shape, *[1] * mean.ndim), 0)

    def _unpacked(self, name: str, packed: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        if packed.dtype != torch.uint8 or packed.shape[-1] != bits.n_bytes(shape):
            found, expected = f"{packed.dtype} {tuple(packed.shape)}", f"uint8 (samples, {bits.n_bytes(shape)})"
            raise ExpectedError(f"loader: {name} is {found}, expected bits as stored, {expected}; drop finish")
        cells = (packed.unsqueeze(-1) >> self._shifts) & 1
        return cells.flatten(-2)[..., : prod(shape)].reshape(*packed.shape[:-1], *shape)


def _on(device: torch.device, standard: Standard) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(standard.mean).to(device), torch.from_numpy(standard.scale).to(device)


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
