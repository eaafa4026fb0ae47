"""The order of an epoch: a permutation that depends on seed and epoch alone."""

import numpy as np
import pytest

from stages.loader import Settings, batches
from stages.loader.order import Permutation, randoms
from tests.helpers.loader_parts import N_ROWS, WINDOW, write_part

GOLDEN_ORDER = [13537400191, 689482970412, 739093771279]
GOLDEN_RANDOMS = [9149820811325744099, 7961445619028394550]


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))


@pytest.mark.parametrize("n", [*range(1, 40), 1000, 4096, 4097])
def test_a_shuffled_order_holds_each_sample_once(n):
    """A permutation for any length, computed in pieces or at once."""
    order = Permutation(n, 7, 3)
    whole = order.at(np.arange(n))
    assert sorted(whole.tolist()) == list(range(n))
    pieces = [order.at(np.arange(start, min(n, start + 5))) for start in range(0, n, 5)]
    assert np.concatenate(pieces).tolist() == whole.tolist()


def test_a_shuffled_order_looks_random():
    """Every sample is equally likely at every position, and neighbours are not more alike than chance makes them."""
    n, n_epochs = 12, 6000
    seen = np.zeros((n, n))
    for epoch in range(n_epochs):
        seen[np.arange(n), Permutation(n, 1, epoch).at(np.arange(n))] += 1
    chi_square = ((seen - n_epochs / n) ** 2 / (n_epochs / n)).sum()
    assert chi_square < 121 + 6 * np.sqrt(2 * 121)
    large = Permutation(1_000_003, 1, 0).at(np.arange(100_000)).astype(float)
    assert abs(np.corrcoef(large[1:], large[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(large, np.arange(100_000))[0, 1]) < 0.02
    counts = np.histogram(large, 100, (0, 1_000_003))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 6 * np.sqrt(2 * 99)


def test_the_order_depends_on_seed_and_epoch_alone():
    """And is the same on every machine and in every version: resuming elsewhere would else go another way."""
    at = np.arange(50)
    assert not np.array_equal(Permutation(50, 1, 0).at(at), Permutation(50, 1, 1).at(at))
    assert not np.array_equal(Permutation(50, 1, 0).at(at), Permutation(50, 2, 0).at(at))
    assert Permutation(10**12, 42, 5).at(np.array([0, 1, 10**12 - 1])).tolist() == GOLDEN_ORDER
    assert randoms(42, 5, np.array([0, 1])).tolist() == GOLDEN_RANDOMS


def test_random_numbers_belong_to_samples(folder):
    """A sample gets the same number whatever batch it is in, another one in the next epoch."""

    def add(batch, numbers):
        return {**batch, "number": numbers}

    def numbers(batch_size, **settings):
        stream = batches(folder, "train", Settings(batch_size=batch_size, shuffle_seed=5, transform=add, **settings))
        return {row: n for b in stream for row, n in zip(b["X"][:, 0], b["number"].tolist(), strict=True)}

    assert numbers(10) == numbers(64)
    assert not set(numbers(64).values()) & set(numbers(64, epoch=1).values())
