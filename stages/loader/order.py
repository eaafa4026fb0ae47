"""Which sample comes at which position of an epoch, computed for any position in constant memory.

A shuffled epoch is a permutation of 0..n-1 that is a function of (n, seed, epoch) alone. It is a Feistel network over
the smallest near-square grid with at least n cells: position p is the cell (p // columns, p % columns), and each round
adds to one coordinate, modulo its range, a keyed hash of the other. Each round can be undone, whatever the hash, so the
network is a bijection of the grid. A result of n or more goes through the network again: following a permutation's
cycle until it is back below n is a bijection of 0..n-1 and ends, since the start is below n. The grid has fewer than
one row too many cells, so that this is rare. No list of n numbers is ever held, and resuming at a position costs
nothing.

An epoch of a mixture (`Mixed`) takes so many samples from each source. Its slots are permuted as above, and those of
one source go on, epoch after epoch, through permutations of that source: whatever its share, each sample of a source
comes once before any of them comes again.

References
----------
Luby and Rackoff (1988): four rounds already look random; Black and Rogaway (2002): arbitrary ranges and cycle walking.
The hash is `mix` of stages/core/hashing.py.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.core.hashing import mix

ROUNDS = 8


class Order(Protocol):
    """A sequence of samples."""

    def __len__(self) -> int:
        """Return the number of positions."""

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the samples, int64 (k,), at some positions, int64 (k,)."""


@dataclass(frozen=True)
class FileOrder:
    """All samples as they lie in the files."""

    n_samples: int

    def __len__(self) -> int:
        return self.n_samples

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the positions."""
        return positions


class Permutation:
    """A pseudo-random permutation of ``n_samples`` samples, see the module."""

    def __init__(self, n_samples: int, seed: int | str, epoch: int) -> None:
        self._n_samples = n_samples
        self._n_rows = math.isqrt(max(n_samples, 1) - 1) + 1
        self._n_columns = max(1, -(-n_samples // self._n_rows))
        self._keys = _keys(f"order {seed} {epoch}", ROUNDS)

    def __len__(self) -> int:
        return self._n_samples

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the samples at some positions."""
        samples = self._permuted(positions.astype(np.uint64))
        while (outside := np.flatnonzero(samples >= self._n_samples)).size:
            samples[outside] = self._permuted(samples[outside])
        return samples.astype(np.int64)

    def _permuted(self, cells: np.ndarray) -> np.ndarray:
        row, column = np.divmod(cells, np.uint64(self._n_columns))
        for row_key, column_key in self._keys.reshape(-1, 2):
            row = _added(row, mix(column ^ row_key), self._n_rows)
            column = _added(column, mix(row ^ column_key), self._n_columns)
        return row * np.uint64(self._n_columns) + column


class Mixed:
    """One epoch of a mixture: `takes[i]` samples from source i, which has `sizes[i]`, see the module.

    Samples are numbered one source behind the other, from 0 to before the sum of the sizes, T. The number s + p T is
    sample s in pass p over its source: a sample that comes again has another number.
    """

    def __init__(self, sizes: Sequence[int], takes: Sequence[int], seed: int | None, epoch: int) -> None:
        self._sizes, self._takes = np.array(sizes, np.int64), np.array(takes, np.int64)
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return int(self._takes.sum())

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the numbers of the samples at some positions."""
        if self._seed is None:
            sources, slots = interleaved(positions, self._takes)
        else:
            slots = Permutation(len(self), self._seed, self._epoch).at(positions)
            sources = np.searchsorted(np.cumsum(self._takes), slots, side="right")
            slots -= firsts(self._takes)[sources]
        passes, places = np.divmod(self._epoch * self._takes[sources] + slots, self._sizes[sources])
        if self._seed is not None:
            places = self._shuffled(sources, passes, places)
        return firsts(self._sizes)[sources] + places + passes * self._sizes.sum()

    def _shuffled(self, sources: np.ndarray, passes: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the samples, from 0 in each source, at some places of the passes over the sources."""
        samples = np.empty_like(places)
        for source, n_pass in np.unique(np.stack([sources, passes]), axis=1).T.tolist():
            here = (sources == source) & (passes == n_pass)
            order = Permutation(int(self._sizes[source]), f"{self._seed} source {source}", n_pass)
            samples[here] = order.at(places[here])
        return samples


def interleaved(positions: np.ndarray, takes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the source and the slot of it, int64 (k,), at some positions of an even interleaving.

    The first source has floor(p m / M) of the first p of M positions, the second likewise of the others, and so on:
    ``takes`` of 3 and 1 give 1 0 0 0, again and again; 2, 1 and 1 give 2 0 1 0.
    """
    sources, slots = np.zeros_like(positions), np.array(positions)
    open_at, left = np.arange(len(positions)), int(takes.sum())
    for source, n in enumerate(takes.tolist()):
        before, after = slots[open_at] * n // left, (slots[open_at] + 1) * n // left
        is_here = after > before
        sources[open_at[is_here]], slots[open_at[is_here]] = source, before[is_here]
        open_at, left = open_at[~is_here], left - n
        slots[open_at] -= before[~is_here]
    return sources, slots


def firsts(sizes: np.ndarray) -> np.ndarray:
    """Return where each of some stretches, one behind the other, begins."""
    return np.cumsum(sizes) - sizes


def of_epoch(n_samples: int, seed: int | None, epoch: int) -> Order:
    """Return the order of one epoch of a single source."""
    return FileOrder(n_samples) if seed is None else Permutation(n_samples, seed, epoch)


def randoms(seed: int | None, epoch: int, samples: np.ndarray) -> np.ndarray:
    """Return a random number, uint64 (k,), for each sample: a function of seed, epoch and sample alone."""
    first, second = _keys(f"randoms {seed} {epoch}", 2)
    return mix(mix(samples.astype(np.uint64) ^ first) ^ second)


def _keys(text: str, n: int) -> np.ndarray:
    """Return n keys, uint64, which any machine derives from the text alike."""
    return np.frombuffer(hashlib.shake_256(text.encode()).digest(8 * n), "<u8").astype(np.uint64)


def _added(values: np.ndarray, hashes: np.ndarray, n: int) -> np.ndarray:
    """Return (values + hashes scaled to 0..n-1) modulo n; n is below 2**32."""
    total = values + ((hashes >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))
    return np.where(total >= n, total - np.uint64(n), total)
