"""The groups of all batches of a dataset: which of them stay, and in which order their rows come.

Of groups with one id the first stays, by unit key, then by place in the unit. Rows come by batch, then unit key; those
of a time series by unit key over all batches, so that the months of one series lie one after another and the order does
not depend on the size of the batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Groups:
    """The groups of all batches, one batch after another.

    `batch` int32 (G,), `group_id` uint64 (G,), `source` int64 (G,) an index into `units`, `sizes` int64 (G,) rows,
    `row_in_unit` int64 (G,) the row of its unit a group begins with, `units` (text), and `is_kept` bool (G,).
    """

    batch: np.ndarray
    group_id: np.ndarray
    source: np.ndarray
    sizes: np.ndarray
    row_in_unit: np.ndarray
    units: list[str]
    is_kept: np.ndarray

    def order(self, by_unit: bool) -> np.ndarray:
        """Return the groups that stay, int64 (K,), in the order of their rows."""
        kept = np.flatnonzero(self.is_kept)
        return kept[np.argsort(_ranks(self.units)[self.source[kept]], kind="stable")] if by_unit else kept

    def of_batch(self, batch: int) -> slice:
        """Return where the groups of one batch lie."""
        first, last = np.searchsorted(self.batch, (batch, batch + 1))
        return slice(int(first), int(last))


def join(
    group_ids: Sequence[np.ndarray],
    offsets: Sequence[np.ndarray],
    sources: Sequence[np.ndarray],
    units: Sequence[list[str]],
) -> Groups:
    """Join the group tables of batches, and decide which groups stay.

    Parameters
    ----------
    group_ids, offsets, sources
        ``group_id``, ``group_offsets`` and ``source`` of each batch.
    units
        The keys of each batch's units.
    """
    firsts = np.cumsum([0, *(len(keys) for keys in units)])
    all_units = [key for keys in units for key in keys]
    source = np.concatenate([s.astype(np.int64) + first for s, first in zip(sources, firsts[:-1], strict=True)])
    ids = np.concatenate(group_ids)
    order = np.argsort(_ranks(all_units)[source], kind="stable")
    is_kept = np.zeros(len(ids), bool)
    is_kept[order[np.unique(ids[order], return_index=True)[1]]] = True
    return Groups(
        batch=np.repeat(np.arange(len(group_ids), dtype=np.int32), [len(some) for some in group_ids]),
        group_id=ids,
        source=source,
        sizes=np.concatenate([np.diff(some) for some in offsets]),
        row_in_unit=np.concatenate([_row_in_unit(*table) for table in zip(offsets, sources, strict=True)]),
        units=all_units,
        is_kept=is_kept,
    )


def _ranks(units: Sequence[str]) -> np.ndarray:
    """Return the place of each unit among all keys in order, int64."""
    ranks = np.empty(len(units), np.int64)
    ranks[sorted(range(len(units)), key=units.__getitem__)] = np.arange(len(units))
    return ranks


def _row_in_unit(offsets: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the row of its unit that each group begins with, int64 (G,); a unit's groups are contiguous."""
    starts = offsets[:-1]
    is_first = np.diff(source, prepend=-1) != 0
    return starts - np.maximum.accumulate(np.where(is_first, starts, 0))
