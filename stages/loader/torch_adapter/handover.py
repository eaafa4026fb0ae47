"""Batches from a worker process to the trainer, through memory that both have and that is used again.

torch sends each tensor of a batch in shared memory of its own, which is new for each: its pages are made and mapped
anew on both sides, and its file goes through a socket. That takes more CPU than to gather the rows. Here each worker
has a few slots for as long as it runs. It copies a batch, all fields, into one that is free, and sends what lies where.
The trainer gets tensors on that memory; the slot is free again when the last of them is dropped. While none is free, as
in a list of all batches, a batch goes torch's way.

A slot is a file in memory without a name: the first byte says whether it is in use, fields lie behind it, each at a
multiple of `ALIGNMENT`. It grows with the batches.
"""

# mypy: disable-error-code="import-not-found"

import itertools
import mmap
import os
import weakref
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from stages.loader.torch_adapter.batches import TensorBatch
from stages.loader.torch_adapter.crossing import ALIGNMENT, GROWTH

FREE, IN_USE = 0, 1
IS_POSSIBLE = hasattr(os, "memfd_create")  # Linux

_numbers = itertools.count()
_open: "weakref.WeakValueDictionary[int, HandOver]" = weakref.WeakValueDictionary()  # of this process, by number


class Stretch(NamedTuple):
    """Where an array lies in a slot: from which byte to before which, its dtype as NumPy writes it, its shape."""

    first: int
    behind: int
    dtype: str
    shape: tuple[int, ...]

    def of(self, memory: np.ndarray) -> np.ndarray:
        """Return the array as a view of the slot's bytes."""
        return memory[self.first : self.behind].view(self.dtype).reshape(self.shape)


def _stretches(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Stretch], int]:
    """Return where some arrays go, and the byte behind the last one."""
    stretches, end = {}, ALIGNMENT
    for name, values in arrays.items():
        stretches[name] = Stretch(end, end + values.nbytes, values.dtype.str, values.shape)
        end += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
    return stretches, end


class Slot:
    """Memory for one batch."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("loader")
            os.truncate(descriptor, ALIGNMENT)
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, 0)

    @property
    def is_free(self) -> bool:
        """Whether no batch is in it."""
        return self._memory[0] == FREE

    def take(self, n_bytes: int) -> np.ndarray:
        """Return the memory for so many bytes, uint8, which is in use from now on."""
        if len(self._memory) < n_bytes:
            os.truncate(self._descriptor, int(n_bytes * GROWTH))
        memory = self.bytes(n_bytes)
        memory[0] = IN_USE
        return memory

    def bytes(self, n_bytes: int) -> np.ndarray:
        """Return at least so many bytes as another process has taken them, uint8."""
        if len(self._memory) < n_bytes:
            self._memory = mmap.mmap(self._descriptor, 0)
        return np.frombuffer(self._memory, np.uint8)

    def free(self, process: int) -> None:
        """Leave it to the next batch; a copy that a fork made of the batch is not the one it waits for."""
        if os.getpid() == process:
            self._memory[0] = FREE

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the file along to a process that is being started."""
        return _slot, (DupFd(self._descriptor),)


def _slot(file: Any) -> Slot:
    return Slot(file.detach())


class HandOver:
    """What a DataLoader does with each batch in its workers, its `collate_fn`, for one start of them.

    Parameters
    ----------
    n_workers, n_slots
        How many workers there are, and how many slots each has.
    """

    def __init__(self, n_workers: int, n_slots: int) -> None:
        self._number = next(_numbers)
        self._slots = [[Slot() for _ in range(n_slots)] for _ in range(n_workers)]
        _open[self._number] = self

    def __call__(self, batch: TensorBatch) -> "TensorBatch | Sent":
        """Put a batch of this worker into a free slot; return it as it is while there is none."""
        worker = get_worker_info().id
        for i, slot in enumerate(self._slots[worker]):
            if slot.is_free:
                return Sent(self._number, (worker, i), *_put(batch, slot))
        return batch

    def received(self, where: tuple[int, int], content: Mapping[str, Any], n_bytes: int) -> TensorBatch:
        """Return a batch that lies in a worker's slot."""
        worker, i = where
        return received(self._slots[worker][i], content, n_bytes)


def received(slot: Slot, content: Mapping[str, Any], n_bytes: int) -> TensorBatch:
    """Return a batch on the memory of a slot, which is free when the last of its tensors is dropped.

    Parameters
    ----------
    slot
        Where it lies.
    content, n_bytes
        By field where its array lies, or what is not an array there; and how many bytes are in use.
    """
    memory = slot.bytes(n_bytes)  # an array of its own for each batch: the owner of all views of it
    weakref.finalize(memory, slot.free, os.getpid()).atexit = False
    fields = {name: torch.from_numpy(at.of(memory)) for name, at in content.items() if isinstance(at, Stretch)}
    return TensorBatch({**content, **fields})


def _put(batch: TensorBatch, slot: Slot) -> tuple[dict[str, Any], int]:
    """Copy the tensors of a batch; return what lies where, with all else, and how many bytes it takes."""
    arrays = {name: value.numpy() for name, value in batch.items() if isinstance(value, torch.Tensor)}
    stretches, end = _stretches(arrays)
    memory = slot.take(end)
    for name, stretch in stretches.items():
        stretch.of(memory)[...] = arrays[name]
    return {**batch, **stretches}, end


class Sent:
    """A batch that lies in a slot, on its way; where it arrives it is a `TensorBatch`."""

    def __init__(self, *what: Any) -> None:
        self._what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, self._what


def _arrived(number: int, where: tuple[int, int], content: Mapping[str, Any], n_bytes: int) -> TensorBatch:
    return _open[number].received(where, content, n_bytes)
