"""Batches on the device of a trainer, copied there while it computes.

What `to_device` does with a device of CUDA, for each batch:

1. the batch is written into page-locked memory, which is used again (`crossing`);
2. it is copied on a stream beside the trainer's, all fields at once, `prefetch` batches before it is asked for;
3. there it is finished (`finish`): int8 features are standardised and packed boards unpacked where they are used, so
   that a Splendor row crosses as 1.3 kB and not 5.2, a board of hex as 43 bytes and not 338;
4. the trainer's stream is told to wait for that, its host is not.

Memory of the device is marked as used by the trainer's stream, so that it is not given to another batch before. With
any other device, batches are finished and moved when they are asked for; on the CPU nothing else is done, and a batch
that needs no finish is the stream's own.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch

from stages.core.errors import ExpectedError
from stages.loader import checkpoint
from stages.loader.form import Left
from stages.loader.settings import Batch
from stages.loader.stream import Place, Stream
from stages.loader.torch_adapter.batches import TensorBatch, tensors
from stages.loader.torch_adapter.crossing import Crossing
from stages.loader.torch_adapter.finish import Finisher
from stages.loader.torch_adapter.loader import TorchLoader

Batches = Iterable[Batch] | Iterable[TensorBatch]


def to_device(
    batches: Batches,
    device: str | torch.device,
    prefetch: int = 2,
    *,
    finish: bool = True,
    dtype: torch.dtype | None = None,
) -> "DeviceBatches":
    """Return the batches of a loader as tensors on a device.

    Parameters
    ----------
    batches
        A `Stream` or a `TorchLoader`, or any other iterable of dicts of arrays or tensors.
    device
        As torch names it: "cuda", "cuda:1", "cpu".
    prefetch
        Batches that are copied ahead to a device of CUDA, at least 1; each takes its size of page-locked memory and of
        the device's.
    finish
        Whether what a stream of ``packed=True`` or ``standardised=False`` leaves to be done is done on the device:
        values are then those of a stream without these settings, float32 to the bit. False gives them as they are.
    dtype
        Of all fields of floating-point numbers, such as `torch.bfloat16`, set on the device; None leaves them.

    Returns
    -------
    DeviceBatches
        To be iterated as often as `batches` can be, with its ``len``.

    Raises
    ------
    ExpectedError
        When `prefetch` is not at least 1, or the stream writes checkpoints: it would count batches as finished that
        were only copied ahead.
    """
    if prefetch < 1:
        raise ExpectedError(f"loader: prefetch is {prefetch!r}, expected at least 1; correct it")
    if isinstance(batches, Stream) and batches.has_checkpoints:
        raise ExpectedError(
            "loader: checkpoint_dir for a stream that is copied ahead of the trainer, expected none; save "
            "to_device(...).state_dict() beside the model, and set resume_from"
        )
    target = torch.device(device)
    if target.type == "cuda" and target.index is None:
        target = torch.device("cuda", torch.cuda.current_device())
    return DeviceBatches(batches, target, prefetch, (_left(batches) if finish else Left(), dtype))


class DeviceBatches:
    """See `to_device`."""

    def __init__(
        self, batches: Batches, device: torch.device, prefetch: int, finish: tuple[Left, torch.dtype | None]
    ) -> None:
        self.batches, self.device = batches, device
        self._prefetch, self._finish = prefetch, finish
        self._pass: _Pass | None = None

    def __len__(self) -> int:
        """Return the number of batches of a pass, where `batches` has one."""
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[TensorBatch]:
        """Begin a pass; of a stream, go on with the batches that were copied ahead."""
        if self._pass is None or not isinstance(self.batches, Iterator):
            kind = _Copied if self.device.type == "cuda" else _Pass
            self._pass = kind(self.batches, self.device, self._prefetch, self._finish)
        return self._pass

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass of a `TorchLoader` be an epoch, from its begin."""
        self._loader().set_epoch(epoch)
        self._pass = None

    def state_dict(self) -> checkpoint.State:
        """Return where the trainer is behind the batch in hand, not where the batches are that were copied ahead.

        It is what `Stream.state` and `TorchLoader.state_dict` give.

        Raises
        ------
        ExpectedError
            When `batches` is neither of them.
        """
        if not isinstance(self.batches, Stream):
            self._loader()
        is_current = self._pass is not None and self._pass.n_set == _n_set(self.batches)
        place = self._pass.place if is_current else None  # type: ignore[union-attr]
        return self.batches.state_at(place or self.batches.place)  # type: ignore[union-attr]

    def load_state_dict(self, state: checkpoint.State) -> None:
        """Let the next pass of a `TorchLoader` go on where a state says; a stream has `resume_from`."""
        self._loader().load_state_dict(state)
        self._pass = None

    def _loader(self) -> TorchLoader:
        if not isinstance(self.batches, TorchLoader):
            raise ExpectedError(
                f"loader: {type(self.batches).__name__} has no epochs or states to set, expected a TorchLoader; give "
                "to_device one"
            )
        return self.batches


class _Pass:
    """One pass over batches, which are moved when they are asked for.

    `place` is where the batch begins that comes behind the one in hand; None before the first and behind the last one.
    `n_set` is how often the loader had been set when that was so.
    """

    place: Place | None = None
    n_set = 0

    def __init__(
        self, batches: Batches, device: torch.device, prefetch: int, finish: tuple[Left, torch.dtype | None]
    ) -> None:
        self._batches, self._device, self._prefetch, self._finish = batches, device, prefetch, finish
        self._iterator = iter(batches)
        self._finisher: Finisher | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TensorBatch:
        try:
            batch, self.place = self._pull()
            self.n_set = _n_set(self._batches)
        except StopIteration:
            self.place = None
            raise
        return self._finished(TensorBatch((name, _moved(value, self._device)) for name, value in batch.items()))

    def _pull(self) -> tuple[TensorBatch, Place | None]:
        """Return the loader's next batch, and where the one behind it begins if it knows."""
        batch = tensors_of(next(self._iterator))
        return batch, getattr(self._batches, "place", None)

    def _finished(self, batch: TensorBatch) -> TensorBatch:
        if self._finisher is None:
            left, dtype = self._finish
            self._finisher = Finisher(left, self._device, dtype)
        return self._finisher(batch)


class _Copied(_Pass):
    """One pass over batches that are copied ahead to a device of CUDA."""

    def __init__(
        self, batches: Batches, device: torch.device, prefetch: int, finish: tuple[Left, torch.dtype | None]
    ) -> None:
        super().__init__(batches, device, prefetch, finish)
        self._stream = torch.cuda.Stream(device)
        self._ahead: deque[tuple[TensorBatch, Place | None, torch.cuda.Event]] = deque()
        self._free = deque(Crossing() for _ in range(prefetch))
        self._is_at_end = False

    def __next__(self) -> TensorBatch:
        while len(self._ahead) < self._prefetch and not self._is_at_end:
            self._copy_next()
        if not self._ahead:
            self.place = None
            raise StopIteration
        batch, self.place, is_ready = self._ahead.popleft()
        self.n_set = _n_set(self._batches)
        trainers = torch.cuda.current_stream(self._device)
        trainers.wait_event(is_ready)
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(trainers)
        return batch

    def _copy_next(self) -> None:
        try:
            batch, place = self._pull()
        except StopIteration:
            self._is_at_end = True
            return
        on_host = {name: value for name, value in batch.items() if _is_on_host(value)}
        crossing = self._free.popleft()  # the one that was used longest ago: its copy is most likely done
        self._free.append(crossing)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            there = self._finished(TensorBatch({**batch, **crossing.copy(on_host, self._device)}))
            is_ready = torch.cuda.Event()
            is_ready.record(self._stream)
        self._ahead.append((there, place, is_ready))


def tensors_of(batch: Mapping[str, Any]) -> TensorBatch:
    """Return a batch of arrays or of tensors as tensors, and its text as arrays."""
    arrays = {name: value for name, value in batch.items() if isinstance(value, np.ndarray)}
    return TensorBatch({**batch, **tensors(arrays)})


def _n_set(batches: Batches) -> int:
    """Return how often it was set where a loader's next pass begins; no other iterable can be set."""
    return batches.n_set if isinstance(batches, TorchLoader) else 0


def _is_on_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _left(batches: Batches) -> Left:
    """Return what a stream, or a loader of `TorchBatches`, leaves to be done; nothing for any other iterable."""
    source = getattr(batches, "source", None) or getattr(getattr(batches, "dataset", None), "source", None)
    return getattr(source, "left", None) or Left()
