"""Count the values of a feature's columns: how many lie above each cut, their sums and squares, by cluster of rows.

A cluster is what is counted together: whole groups of a part where drift is looked for, all rows where versions are
compared. Memory is that of the counts, and of the rows of one piece.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.core import bits
from stages.differences import bins
from stages.differences.rows import ChosenRows, is_valid
from stages.processed import Feature, Processed

PIECE_BYTES: Final = 1 << 22
SAMPLE_ROWS: Final = 2000


@dataclass(frozen=True)
class Columns:
    """A feature of a dataset's version, and how its values become those of the raw data.

    Attributes
    ----------
    names
        Of the columns; of one that is stored as bits one for each bit, with its place: ``board[0,3,12]``.
    mean, scale
        float64 (columns,): what split has taken off and divided by; 0 and 1 where it did not.
    packed
        Shape of a row that is stored as bits, None for others.
    """

    data: Processed
    field: str
    names: list[str]
    mean: np.ndarray
    scale: np.ndarray
    packed: tuple[int, ...] | None

    @classmethod
    def of(cls, data: Processed, field: str) -> "Columns":
        """Return those of a feature."""
        packed = data.packed_shapes().get(field)
        if packed is not None:
            places = np.stack(np.unravel_index(np.arange(math.prod(packed)), packed), axis=1).tolist()
            names = [f"{field}[{','.join(map(str, place))}]" for place in places]
        else:
            names = data.column_names(field)
        mean, scale = (packed is None and data.fit(field)) or (np.zeros(len(names)), np.ones(len(names)))
        return cls(data, field, names, mean, scale, packed)

    def pieces(self, chosen: ChosenRows) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the chosen rows as a trainer reads them, (n, columns), and which of them they are."""
        feature = self.data.feature(self.field, chosen.part)
        step = max(1, PIECE_BYTES // max(1, len(self.names) * 4))
        start = 0
        for rows in _read(feature, chosen, step):
            flat = rows if self.packed is None else bits.unpack(rows, self.packed)
            yield slice(start, start + len(rows)), flat.reshape(len(rows), len(self.names))
            start += len(rows)

    def cuts(self, chosen: ChosenRows) -> np.ndarray:
        """Return where to cut its columns, by a sample of the chosen rows: float64 (cuts, columns), in raw units."""
        valid = is_valid(self.data, chosen, self.field)
        usable = chosen.numbers if valid is None else chosen.numbers[valid]
        n_rows = min(len(usable), SAMPLE_ROWS)
        places = np.linspace(0, max(0, len(usable) - 1), n_rows).astype(np.int64)
        sample = ChosenRows(chosen.part, usable[places], chosen.n_all)
        pieces = [np.empty((0, len(self.names))), *(rows.astype(np.float64) for _, rows in self.pieces(sample))]
        return bins.cuts(np.concatenate(pieces) * self.scale + self.mean, self.mean)


def _read(feature: Feature, chosen: ChosenRows, step: int) -> Iterator[np.ndarray]:
    if chosen.are_all:
        yield from feature.chunks(step)
        return
    _announce(feature, chosen.numbers)
    for start in range(0, len(chosen.numbers), step):
        yield feature.at(chosen.numbers[start : start + step])


def _announce(feature: Feature, numbers: np.ndarray) -> None:
    """Tell the kernel which rows will be read, so that it fetches many at once.

    25,000 rows of 5 kB, scattered over a cold disk, took 7 s in place of 10.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    row_bytes = feature.header.n_bytes // max(1, feature.header.shape[0])
    with feature.path.open("rb") as file:
        for start in (feature.header.offset + numbers * row_bytes).tolist():
            os.posix_fadvise(file.fileno(), start, row_bytes, os.POSIX_FADV_WILLNEED)


@dataclass(frozen=True)
class ColumnCounts:
    """What was counted of the columns of a feature, by cluster.

    Attributes
    ----------
    n_rows
        int64 (clusters,): valid rows.
    above
        int64 (cuts, clusters, columns): rows with a value above a cut.
    total
        float64 (clusters, columns): sum of the values, in raw units.
    mean, spread
        float64 (columns,): mean and standard deviation over all rows, in raw units.
    """

    n_rows: np.ndarray
    above: np.ndarray
    total: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def in_bins(self) -> np.ndarray:
        """Return the rows in each bin, int64 (bins, columns)."""
        above = self.above.sum(axis=1)
        top = np.full((1, above.shape[1]), self.n_rows.sum())
        return -np.diff(np.concatenate([top, above, np.zeros_like(top)]), axis=0)


class _Sums:
    """What was counted by now, of values as they are read.

    Parameters
    ----------
    n_clusters
        How many clusters there are.
    cuts
        float32 (cuts, columns): of values as they are read.
    """

    def __init__(self, n_clusters: int, cuts: np.ndarray) -> None:
        n_cuts, width = cuts.shape
        self._cuts = cuts
        self._n_rows = np.zeros(n_clusters, np.int64)
        self._above = np.zeros((n_cuts, n_clusters, width), np.int64)
        self._total, self._square = np.zeros((n_clusters, width)), np.zeros(width)

    def add(self, rows: np.ndarray, cluster: np.ndarray) -> None:
        """Count some rows, (n, columns), and the cluster of each, ascending."""
        if not len(rows):
            return
        starts = np.flatnonzero(np.diff(cluster, prepend=-1))
        own = cluster[starts]
        self._n_rows += np.bincount(cluster, minlength=len(self._n_rows))
        self._total[own] += np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
        self._square += np.square(rows, dtype=np.float64).sum(axis=0)
        for i, cut in enumerate(self._cuts):
            self._above[i, own] += np.add.reduceat(rows > cut, starts, axis=0, dtype=np.int32)

    def result(self, mean: np.ndarray, scale: np.ndarray) -> ColumnCounts:
        """Return the counts; with the inverse of the standardisation, in raw units."""
        n_all = max(1, int(self._n_rows.sum()))
        own_mean = self._total.sum(axis=0) / n_all
        with np.errstate(invalid="ignore"):  # of columns with values that are not finite
            spread = np.sqrt(np.maximum(self._square / n_all - own_mean**2, 0.0))
        total = self._total * scale + self._n_rows[:, None] * mean
        return ColumnCounts(self._n_rows, self._above, total, own_mean * scale + mean, spread * scale)


def count(columns: Columns, chosen: ChosenRows, cuts: np.ndarray, cluster: np.ndarray | None = None) -> ColumnCounts:
    """Count the chosen rows.

    Parameters
    ----------
    cuts
        float64 (cuts, columns), in raw units.
    cluster
        int64 (k,): the cluster of each chosen row, from 0; None puts all into one.
    """
    cluster = np.zeros(len(chosen.numbers), np.int64) if cluster is None else cluster
    valid = is_valid(columns.data, chosen, columns.field)
    cuts_as_read = ((cuts - columns.mean) / columns.scale).astype(np.float32)
    sums = _Sums(int(cluster.max(initial=0)) + 1, cuts_as_read)
    for place, piece in columns.pieces(chosen):
        kept = np.arange(len(piece)) if valid is None else np.flatnonzero(valid[place])
        own = cluster[place][kept]
        order = np.argsort(own, kind="stable")
        sums.add(piece[kept[order]], own[order])
    return sums.result(columns.mean, columns.scale)
