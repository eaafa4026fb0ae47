"""Which differences between two sets of clusters are more than chance gives, with many columns looked at.

Rows of a group depend on each other, so a part of 1,000 rows in 20 groups says no more than 20 numbers. What is
compared is therefore whole clusters of groups: had the clusters been dealt otherwise, how large would the largest
difference of any column be? That is tried `N_DEALS` times, and a column differs if hardly any deal has a difference of
that size in any column [1]_. This holds for any dependence within groups and between columns, and for any number of
columns, as far as the clusters could have been dealt otherwise.

References
----------
.. [1] P. Westfall, S. Young, Resampling-Based Multiple Testing, 1993: the step of the largest statistic.
"""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

N_DEALS: Final = 999
LEVEL: Final = 0.005  # how often any column at all is reported where nothing differs
FEW_DEALS: Final = 10_000  # with fewer different ones there is no telling
BLOCK: Final = 2048  # columns at a time: 8 MB of the deals


def too_few(n_first: int, n_second: int) -> bool:
    """Say whether so many clusters on each side are too few to tell anything.

    Examples
    --------
    >>> too_few(200, 2), too_few(16, 2), too_few(16, 6)
    (False, True, False)
    """
    return math.comb(n_first + n_second, min(n_first, n_second)) < FEW_DEALS


class Deals:
    """Differences of some columns beside those of other deals of the clusters.

    Parameters
    ----------
    is_second
        bool (clusters,): the side of each cluster.
    """

    def __init__(self, is_second: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        self._n, self._n_second = len(is_second), int(is_second.sum())
        dealt = np.stack([is_second, *(rng.permutation(is_second) for _ in range(N_DEALS))])
        self._dealt = dealt.astype(np.float32)
        self._largest = np.zeros(N_DEALS, np.float32)

    def add(self, values: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
        """Take in the sums of some columns.

        Parameters
        ----------
        values
            float64 (clusters, columns): sums of a quantity over the rows of a cluster.
        n_rows
            (clusters,): the rows themselves.

        Returns
        -------
        numpy.ndarray
            float32 (columns,): how far the means of both sides are apart, in standard deviations of that over all
            deals; 0 where nothing varies.
        """
        blocks = [values[:, start : start + BLOCK] for start in range(0, values.shape[1], BLOCK)]
        return np.concatenate([np.empty(0, np.float32), *(self._block(block, n_rows) for block in blocks)])

    def _block(self, values: np.ndarray, n_rows: np.ndarray) -> np.ndarray:
        mean = values.sum(axis=0) / max(1, n_rows.sum())
        left = values - n_rows[:, None] * mean  # what each cluster has more than its rows would let expect
        size = np.abs(values).max(axis=0, initial=0)
        variance = np.square(left).sum(axis=0) * self._n_second * (self._n - self._n_second) / (self._n * (self._n - 1))
        usable = np.isfinite(variance) & (variance > (1e-6 * size) ** 2)
        scaled = np.where(usable, left, 0.0) / np.sqrt(np.where(usable, variance, 1.0))
        distance = np.abs(self._dealt @ scaled.astype(np.float32))
        np.maximum(self._largest, distance[1:].max(axis=1, initial=0), out=self._largest)
        return distance[0]

    def chance(self, distance: np.ndarray) -> np.ndarray:
        """Return how often another deal has a difference of this size in any column taken in, float64 (columns,)."""
        largest = np.sort(self._largest)
        n_larger = len(largest) - np.searchsorted(largest, distance * (1 - 1e-5), side="left")
        return (1 + n_larger) / (1 + N_DEALS)


def clusters(groups: np.ndarray, n_groups_each: int) -> tuple[np.ndarray, int]:
    """Return the cluster of each row, and the number of groups.

    Parameters
    ----------
    groups
        (rows,): the group of each row.
    n_groups_each
        About how many groups a cluster has.

    Returns
    -------
    tuple
        int64 (rows,), from 0; every cluster has as many groups as the others or one more.
    """
    known, place = np.unique(groups, return_inverse=True)
    n_clusters = max(1, round(len(known) / n_groups_each))
    return place * n_clusters // max(1, len(known)), len(known)


def groups_each(n_groups: Iterable[int], most: int) -> int:
    """Return how many groups make a cluster, so that all parts together have no more clusters than `most`."""
    return max(1, -(-sum(n_groups) // most))
