"""Find the range of each feature column over the train rows, and columns that say nothing.

In: data/processed/<dataset>/<field>_train.npy, feature_names.json and normalizer.npz. The arrays are read once, a chunk
at a time, and standardised where split left that to the reader, after a sample of `SAMPLE_ROWS` rows: a value that
nearly all rows hold is the median of the sample, so one comparison with it counts it exactly. Features that packed.json
names are bits, eight in a byte: their bytes have no range that says anything, so they are left out.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.part_files import PARTS
from stages.processed import Feature, Processed

TRAIN = PARTS[0]
CHUNK_BYTES = 1 << 22
SAMPLE_ROWS = 1000
NEAR_CONSTANT = 0.999


@dataclass(frozen=True)
class ColumnRange:
    """One column of a feature over the train rows.

    Attributes
    ----------
    field, name, index
        The array, the column's name and its place in a flattened row.
    low, high, mean
        In the units of the raw data.
    scale
        What split divided by; 1 where it did not standardise.
    stored_low, stored_high
        What a trainer reads.
    common, share
        A value, raw, and the share of rows that hold it; exact, and the most common one if the share is above a half.
    """

    field: str
    name: str
    index: int
    low: float
    high: float
    mean: float
    scale: float
    stored_low: float
    stored_high: float
    common: float
    share: float

    @property
    def kind(self) -> str:
        """One of not finite, constant, near-constant and varies."""
        if not (math.isfinite(self.stored_low) and math.isfinite(self.stored_high)):
            return "not finite"
        if self.stored_low == self.stored_high:
            return "constant"
        return "near-constant" if self.share >= NEAR_CONSTANT else "varies"


def read_columns(folder: Path) -> list[ColumnRange]:
    """Return the columns of all feature fields, by field.

    Raises
    ------
    DamagedFile
        When an array is not complete.
    """
    result: list[ColumnRange] = []
    data = Processed(folder)
    packed = data.packed_shapes()
    for field in data.features(TRAIN):
        if field not in packed:
            names = data.column_names(field)
            fit = data.fit(field) or (np.zeros(len(names)), np.ones(len(names)))
            result += _columns(field, data.feature(field, TRAIN), names, fit)
    return result


def _columns(field: str, values: Feature, names: list[str], fit: tuple[np.ndarray, np.ndarray]) -> list[ColumnRange]:
    n_rows, width = values.header.shape[0], len(names)
    if not n_rows or not width:
        return []
    common = _sample_median(values)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    total, n_common = np.zeros(width), np.zeros(width, np.int64)
    with np.errstate(invalid="ignore"):
        for chunk in values.chunks(_chunk_rows(values)):
            rows = chunk.reshape(len(chunk), width)
            np.minimum(low, rows.min(axis=0), out=low)
            np.maximum(high, rows.max(axis=0), out=high)
            total += rows.sum(axis=0, dtype=np.float64)
            n_common += (rows == common).sum(axis=0)
        mean, scale = fit
        raw = [_raw(values, mean, scale) for values in (low, high, total / n_rows, common)]
        table = [*raw[:3], scale, low, high, raw[3], n_common / n_rows]
    by_column = np.stack([np.asarray(values, np.float64) for values in table], axis=1)
    named = zip(names, by_column.tolist(), strict=True)
    return [ColumnRange(field, name, i, *values) for i, (name, values) in enumerate(named)]


def _chunk_rows(values: Feature) -> int:
    """Return how many rows are read at a time."""
    row_bytes = values.dtype.itemsize * math.prod(values.header.shape[1:])
    return max(1, CHUNK_BYTES // max(1, row_bytes))


def _raw(stored: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Undo the standardisation; what float32, which holds seven digits, leaves of a 0 becomes 0."""
    raw = stored * scale + mean
    noise = 1e-6 * (np.abs(stored * scale) + np.abs(mean)) * (mean != 0)
    return np.where(np.abs(raw) < noise, 0.0, raw)


def _sample_median(values: Feature) -> np.ndarray:
    """Return the lower median of each column over rows at equal distances."""
    n_rows = values.header.shape[0]
    wanted = np.unique(np.linspace(0, n_rows - 1, min(n_rows, SAMPLE_ROWS)).astype(np.int64))
    sample = values.at(wanted).reshape(len(wanted), -1)
    middle = (len(wanted) - 1) // 2
    return np.partition(sample, middle, axis=0)[middle]
