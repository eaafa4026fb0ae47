"""The samples of batches, looked up for several at once, are those of each alone."""

from itertools import product

import numpy as np
import pytest

from stages.loader.layout import REMAINDERS, Epoch, Layout
from stages.loader.order import of_epoch
from stages.loader.samples import Samples


class Counted:
    """An order that counts how often it is asked."""

    def __init__(self, order):
        self.order, self.n_asked = order, 0

    def at(self, positions):
        self.n_asked += 1
        return self.order.at(positions)


@pytest.mark.parametrize(("remainder", "n_workers"), [*product(REMAINDERS, [1, 3])])
def test_each_batch_has_its_samples(remainder, n_workers):
    """For each rank and worker, from any batch on, to the last one."""
    epoch, order = Epoch(1000, 48, remainder), of_epoch(1000, 7, 2)
    for rank, worker, start in product(range(2), range(n_workers), (0, 96)):
        here = Layout(rank, 2, worker, n_workers)
        end = epoch.end(start)
        samples = Samples(order, epoch, here, end, is_steady=True)
        for first in range(start + 48 * worker, end, 48 * n_workers):
            behind = min(first + 48, end)
            mine, last = here.share(behind - first)
            positions, is_repeated = epoch.positions(first + mine, first + last)
            found = samples.of(first, behind)
            assert np.array_equal(found[0], order.at(positions))
            assert np.array_equal(found[1], is_repeated)


@pytest.mark.parametrize(("is_steady", "n_asked"), [(True, 1), (False, 21)])
def test_the_order_is_asked_for_many_batches_at_once(is_steady, n_asked):
    """Not where their sizes change, as it would be asked in vain."""
    epoch, order = Epoch(1000, 48, "keep"), Counted(of_epoch(1000, 7, 0))
    samples = Samples(order, epoch, Layout(), 1000, is_steady=is_steady)
    found = [samples.of(first, min(first + 48, 1000))[0] for first in range(0, 1000, 48)]
    assert sorted(np.concatenate(found)) == list(range(1000))
    assert order.n_asked == n_asked
