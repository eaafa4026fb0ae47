"""Page-locked memory in which a batch waits to be copied to a device, and that is used again.

All fields of a batch lie in one piece of memory, each at a multiple of `ALIGNMENT`, and cross with one copy. What a
copy still reads from is not written to: the next batch there waits for the copy before.
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Mapping

import torch

ALIGNMENT = 256  # as CUDA aligns what it allocates
GROWTH = 1.25  # room for a batch that is somewhat larger, so that memory is not locked anew for each


class Crossing:
    """Memory for one batch at a time.

    Parameters
    ----------
    is_pinned
        Whether it is page-locked; a copy from other memory waits for the device.
    """

    def __init__(self, is_pinned: bool = True) -> None:
        self._is_pinned = is_pinned
        self._memory = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None

    def pack(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return some tensors of the CPU as bytes in a row, uint8 (n,), once the last copy of that memory is done."""
        if self._copied is not None:
            self._copied.synchronize()
        places, n_bytes = _places(fields)
        if n_bytes > len(self._memory):
            size = int(n_bytes * GROWTH)
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=self._is_pinned)
        for name, values in fields.items():
            _view(self._memory, places[name], values).copy_(values)
        return self._memory[:n_bytes]

    def copy(self, fields: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
        """Return some tensors on a device of CUDA, in new memory; the copy runs on the current stream.

        All views are of one piece of memory: a stream that uses one of them uses all.
        """
        packed = self.pack(fields)
        there = torch.empty(len(packed), dtype=torch.uint8, device=device)
        there.copy_(packed, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record(torch.cuda.current_stream(device))
        return views(there, fields)


def views(packed: torch.Tensor, fields: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors that were packed, as views of the bytes.

    Parameters
    ----------
    packed
        What `Crossing.pack` gave, or a copy of it anywhere.
    fields
        The tensors that were packed, for their names, dtypes and shapes.
    """
    places, _ = _places(fields)
    return {name: _view(packed, places[name], values) for name, values in fields.items()}


def _places(fields: Mapping[str, torch.Tensor]) -> tuple[dict[str, int], int]:
    """Return at which byte each field begins, and how many bytes all of them take."""
    places, end = {}, 0
    for name, values in fields.items():
        places[name] = end
        end += -(-values.numel() * values.element_size() // ALIGNMENT) * ALIGNMENT
    return places, end


def _view(memory: torch.Tensor, place: int, values: torch.Tensor) -> torch.Tensor:
    n_bytes = values.numel() * values.element_size()
    return memory[place : place + n_bytes].view(values.dtype).view(values.shape)
