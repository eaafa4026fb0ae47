"""Who takes what of each batch, so that ranks and workers together give what one process would.

The samples of an epoch, in its order, are cut into global batches of `Settings.batch_size`. That sequence is a function
of the arrays, the seed, the epoch and the batch size alone. A rank takes its slice of each global batch; of several
workers of a rank, worker w takes whole batches, w, w + W, w + 2 W and so on. So two layouts differ in who reads a
sample and never in when it comes::

    global batch          0        1        2        3
    rank 0                |..      |..      |..      |..      worker 0 reads those of 0 and 2, worker 1 of 1 and 3
    rank 1                |  ..    |  ..    |  ..    |  ..

Where an epoch is no multiple of the batch size, its last samples are dropped, padded or kept: see `Remainder`. Each
rank gets the same number of batches in any case, or a trainer that waits for the others would wait for ever.
"""

import logging
import os
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stages.core.errors import ExpectedError

# What becomes of the samples after the last whole batch: left out; filled up with the first ones of the epoch, which
# `repeated` marks; or given as a smaller batch, of which a rank may get a slice of no rows.
Remainder = Literal["drop", "pad", "keep"]
REMAINDERS: tuple[Remainder, ...] = ("drop", "pad", "keep")
REPEATED = "repeated"

logger = logging.getLogger("batchwise")
_told: set[str] = set()  # lines that this process has logged


@dataclass(frozen=True)
class Layout:
    """The place of one process among all that feed one training."""

    rank: int = 0
    n_ranks: int = 1
    worker: int = 0
    n_workers: int = 1

    def share(self, size: int) -> tuple[int, int]:
        """Return the slice of a global batch of `size` samples that is this rank's: first and behind the last."""
        return size * self.rank // self.n_ranks, size * (self.rank + 1) // self.n_ranks


@dataclass(frozen=True)
class Epoch:
    """An epoch of `n_samples`, cut into global batches of `batch_size`."""

    n_samples: int
    batch_size: int
    remainder: Remainder

    @property
    def n_batches(self) -> int:
        """Return the number of its batches, which is that of each rank."""
        return -(-self.end(0) // self.batch_size)

    def end(self, start: int) -> int:
        """Return the position behind the last batch, if the first one begins at `start`."""
        left = self.n_samples - start
        if self.remainder == "keep":
            return self.n_samples
        n_batches = left // self.batch_size if self.remainder == "drop" else -(-left // self.batch_size)
        return start + n_batches * self.batch_size

    def positions(self, first: int, behind: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions in the order, int64 (k,), from `first` to before `behind`, and which of them repeat."""
        positions = np.arange(first, behind)
        return positions % self.n_samples, positions >= self.n_samples


def remainder_of(layout: Layout, chosen: Remainder | None) -> Remainder:
    """Return what is chosen; else one process keeps the last samples, and several drop them."""
    return chosen or ("drop" if layout.n_ranks > 1 else "keep")


def of_process(shard: tuple[int, int] | None) -> Layout:
    """Return the place of this process: as it is set, else as torch.distributed, else as torchrun's variables say.

    Parameters
    ----------
    shard
        `Settings.shard`.

    Raises
    ------
    ExpectedError
        When RANK and WORLD_SIZE are no such numbers.
    """
    rank, n_ranks = shard or _in_torch() or _in_environment() or (0, 1)
    return Layout(rank, n_ranks)


def _in_torch() -> tuple[int, int] | None:
    """Return rank and number of ranks if torch.distributed is at work; then something has imported it."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _in_environment() -> tuple[int, int] | None:
    rank, n_ranks = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and n_ranks is None:
        return None
    are_numbers = rank is not None and n_ranks is not None and rank.isdecimal() and n_ranks.isdecimal()
    if rank is None or n_ranks is None or not are_numbers or int(rank) >= int(n_ranks):
        raise ExpectedError(
            f"loader: RANK is {rank!r} and WORLD_SIZE {n_ranks!r}, expected 0 <= RANK < WORLD_SIZE; "
            "correct them or set `shard`"
        )
    return int(rank), int(n_ranks)


def tell(layout: Layout, epoch: Epoch) -> None:
    """Say once in a process which share it takes, and what becomes of the last samples of an epoch."""
    if layout.n_ranks > 1:
        _tell_once(f"loader: rank {layout.rank} of {layout.n_ranks} takes its slice of each batch")
    extra = epoch.end(0) - epoch.n_samples
    if extra and layout.rank == 0:
        share = f"{abs(extra):,} of {epoch.n_samples:,} samples"
        does = "are left out of each epoch (remainder drop)" if extra < 0 else "come twice in an epoch (remainder pad)"
        _tell_once(f"loader: {share} {does}, as batches are of {epoch.batch_size}")


def _tell_once(line: str) -> None:
    if line not in _told:
        _told.add(line)
        logger.warning(line)
