"""Which sample comes at which position of an epoch, computed for any position in constant memory.

A shuffled epoch is a permutation of 0..n-1 that is a function of (n, seed, epoch) alone. It is a Feistel network over
the smallest near-square grid with at least n cells: position p is the cell (p // columns, p % columns), and each round
adds to one coordinate, modulo its range, a keyed hash of the other. Each round can be undone, whatever the hash, so the
network is a bijection of the grid. A result of n or more goes through the network again: following a permutation's
cycle until it is back below n is a bijection of 0..n-1 and ends, since the start is below n. The grid has fewer than
one row too many cells, so that this is rare. No list of n numbers is ever held, and resuming at a position costs
nothing.

References
----------
Luby and Rackoff (1988): four rounds already look random; Black and Rogaway (2002): arbitrary ranges and cycle walking.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

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


class Shuffled:
    """A pseudo-random permutation of ``n_samples`` samples, see the module."""

    def __init__(self, n_samples: int, seed: int, epoch: int) -> None:
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


@dataclass(frozen=True)
class Shard:
    """Every n-th position of an order, from the i-th on."""

    order: Order
    i: int
    n: int

    def __len__(self) -> int:
        return max(0, -(-(len(self.order) - self.i) // self.n))

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the samples at some positions."""
        return self.order.at(positions * self.n + self.i)


def of_epoch(n_samples: int, seed: int | None, epoch: int, shard: tuple[int, int]) -> Order:
    """Return the order of one epoch, or of this shard's share of it."""
    order: Order = FileOrder(n_samples) if seed is None else Shuffled(n_samples, seed, epoch)
    return order if shard[1] == 1 else Shard(order, *shard)


def randoms(seed: int | None, epoch: int, samples: np.ndarray) -> np.ndarray:
    """Return a random number, uint64 (k,), for each sample: a function of seed, epoch and sample alone."""
    first, second = _keys(f"randoms {seed} {epoch}", 2)
    return mix(mix(samples.astype(np.uint64) ^ first) ^ second)


def mix(values: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each value, uint64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def _keys(text: str, n: int) -> np.ndarray:
    """Return n keys, uint64, which any machine derives from the text alike."""
    return np.frombuffer(hashlib.shake_256(text.encode()).digest(8 * n), "<u8").astype(np.uint64)


def _added(values: np.ndarray, hashes: np.ndarray, n: int) -> np.ndarray:
    """Return (values + hashes scaled to 0..n-1) modulo n; n is below 2**32."""
    total = values + ((hashes >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))
    return np.where(total >= n, total - np.uint64(n), total)
