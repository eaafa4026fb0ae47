"""Where the numbers are made, and that they are the same ones each time."""

# mypy: disable-error-code="import-not-found, misc"

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from stages.core import hashing
from stages.core.errors import ExpectedError
from stages.loader.settings import Batch
from stages.training.settings import TrainSettings
from stages.training.task import TensorBatch

FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A CPU or GPU, and the numbers of the forward pass there."""

    kind: str = "cpu"
    number_format: str = "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self.number_format == "fp32":
            return nullcontext()
        return torch.autocast(self.kind, FORMATS[self.number_format])

    def send(self, batch: Batch) -> TensorBatch:
        """Return a batch as tensors there, without its arrays of text; a GPU copies them while others are worked on."""
        tensors = {name: torch.from_numpy(values) for name, values in batch.items() if values.dtype.kind not in "SU"}
        if self.kind == "cpu":
            return tensors
        return {name: tensor.pin_memory().to(self.kind, non_blocking=True) for name, tensor in tensors.items()}


def prepare(settings: TrainSettings) -> Device:
    """Make torch deterministic in this process, and return the device.

    Raises
    ------
    ExpectedError
        When there is no GPU and the settings want one.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ExpectedError("train: device is 'cuda' and torch finds no GPU here, expected one; set device to cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums with such a workspace only
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    return Device(settings.device, settings.number_format)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed all that is drawn in a step, such as dropout.

    So what is drawn is a function of seed, step and rank, and a checkpoint needs no generator's state.
    """
    stream = hashing.mix(hashing.seeded(np.array([rank], np.uint64), seed))
    torch.manual_seed(int(hashing.numbers(stream, np.array([step]))[0]))


def n_samples(batch: TensorBatch) -> int:
    """Return the number of samples of a batch."""
    return len(next(iter(batch.values())))
