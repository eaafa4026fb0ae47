"""What a user chooses about a stream, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.loader.layout import REMAINDERS, Remainder

Batch = dict[str, np.ndarray]
Transform = Callable[[Batch, np.ndarray], Batch]


@dataclass(frozen=True)
class Adaptive:
    """Bounds of a batch size that follows memory.

    `limit_mb` is what the process tree may use; None means the share of ``MEMORY_GB`` that work is planned for.
    """

    least: int
    most: int
    limit_mb: float | None = None

    def __post_init__(self) -> None:
        _check(1 <= self.least <= self.most, "adaptive", (self.least, self.most), "1 <= least <= most")
        _check(self.limit_mb is None or self.limit_mb > 0, "adaptive.limit_mb", self.limit_mb, "more than 0")


@dataclass(frozen=True)
class Settings:
    """How to stream.

    Attributes
    ----------
    batch_size
        Samples (rows or windows) of a batch, which several ranks share: see stages/loader/layout.py.
    shuffle_seed
        Order of the samples together with the epoch's number; None is the order of the files.
    epoch, epochs
        The first epoch, from 0, and how many there are; no batch spans two.
    fields
        Arrays to give: feature fields by name, ``label_<head>``, ``mask_<head>`` and keys. None means all features,
        labels and masks, or for windows the field that they are of.
    window
        The field whose windows are the samples: every array given gets an axis of rows after the first. None means
        that rows are the samples.
    ahead
        Whether a window comes with the rows behind it that `split.windows.<field>.ahead` keeps in its segment and part,
        for labels to be made of them: every array given is then (k, window + ahead, ...).
    packed
        Give fields of bits as they are stored, eight in a byte, instead of unpacked (see stages/core/bits.py).
    standardised
        Whether features that split stored as they were merged (``split.store: stored``) are standardised, to the bits
        that it writes otherwise. False gives the values as they are stored, and needs a folder that has them.
    verify
        Read every file once when it is opened, and compare it with its checksum in stats.json, at 3 GB/s; worker
        processes do not do it again.
    epoch_samples
        About how many samples an epoch has; the next epoch goes on where this one ended. None is all of them, or for
        weighted folders as many as their weights allow, see `Share`.
    prefetch
        Batches that are made ahead of the trainer, at least 1.
    adaptive
        None keeps `batch_size`.
    shard
        ``(i, n)``: this process is the i-th of n ranks and gets its slice of each batch. None asks torch.distributed,
        then the variables RANK and WORLD_SIZE; (0, 1) is all of each batch, whatever they say.
    remainder
        What becomes of the last samples of an epoch if they fill no batch: "drop" leaves them out, "pad" repeats the
        first ones of the epoch and adds the field ``repeated``, bool (k,), to each batch; "keep" gives them as a
        smaller batch. None is "drop" for several ranks, else "keep".
    transform
        A pure function of a batch and of one random uint64 for each sample, which depends on seed, epoch and sample
        alone; it runs in the background thread.
    checkpoint_dir, checkpoint_frequency
        Folder and number of batches between two checkpoints. A stream with a folder goes on where its newest
        checkpoint is.
    resume_from
        What `Stream.state` gave: go on there, whatever checkpoints there are.
    log
        File that gets a line of JSON for each finished batch.
    """

    batch_size: int = 64
    shuffle_seed: int | None = None
    epoch: int = 0
    epochs: int = 1
    fields: tuple[str, ...] | None = None
    window: str | None = None
    ahead: bool = False
    packed: bool = False
    standardised: bool = True
    verify: bool = False
    epoch_samples: int | None = None
    prefetch: int = 2
    adaptive: Adaptive | None = None
    shard: tuple[int, int] | None = None
    remainder: Remainder | None = None
    transform: Transform | None = None
    checkpoint_dir: Path | None = None
    checkpoint_frequency: int = 100
    resume_from: Mapping[str, Any] | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "prefetch", "checkpoint_frequency"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _check(self.epoch >= 0, "epoch", self.epoch, "at least 0")
        _check(self.epoch_samples is None or self.epoch_samples >= 1, "epoch_samples", self.epoch_samples, "at least 1")
        _check(not self.ahead or self.window is not None, "ahead", self.ahead, "False without window")
        _check(self.fields is None or len(self.fields) > 0, "fields", self.fields, "at least one, or None")
        is_rank = self.shard is None or 0 <= self.shard[0] < self.shard[1]
        _check(is_rank, "shard", self.shard, "(i, n) with 0 <= i < n, or None")
        _check(self.remainder in (None, *REMAINDERS), "remainder", self.remainder, f"one of {REMAINDERS}, or None")

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides which samples come in which order; the rest may change between a run and its resumption."""
        fields = None if self.fields is None else list(self.fields)
        seed = None if self.shuffle_seed is None else int(self.shuffle_seed)  # NumPy's numbers are no JSON
        return {"shuffle_seed": seed, "fields": fields, "window": self.window}


def _check(is_good: bool, name: str, found: object, expected: str) -> None:
    if not is_good:
        raise ExpectedError(f"loader: {name} is {found!r}, expected {expected}; correct it")
