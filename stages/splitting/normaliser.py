"""Standardise features: what to subtract and divide by, fitted on train rows only.

normalizer.npz keeps it, the columns of all standardised features one behind the other: ``names``, ``mean``, ``scale``
and ``is_normalised``; mean 0 and scale 1 where a column is not standardised.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.part_files import NORMALIZER, PARTS
from stages.core.standardise import Standard
from stages.splitting.moments import Moments
from stages.splitting.parts import FEATURE_CHUNK_ROWS, Merged
from stages.splitting.written_folder import WrittenFolder


@dataclass(frozen=True)
class Normaliser:
    """What is subtracted from and divides each column of a feature: float64, of the shape of a row."""

    field: NamedField
    mean: np.ndarray
    scale: np.ndarray

    @property
    def standard(self) -> Standard:
        """What standardises rows."""
        return Standard.of(self.mean, self.scale)


def fit(merged: Merged, field: NamedField) -> Normaliser:
    """Fit a feature's columns on its train rows that are valid, in one pass; a constant column keeps scale 1.

    Raises
    ------
    ExpectedError
        When a mean or a deviation is no number: what it standardised would be none, in every row.
    """
    moments = Moments(field.shape, field.dtype, FEATURE_CHUNK_ROWS)
    for rows, parts, is_valid in merged.feature_chunks(field.name, FEATURE_CHUNK_ROWS):
        is_train = parts == PARTS.index("train")
        moments.add(rows[is_train if is_valid is None else is_train & is_valid])
    is_normalised = np.array(field.normalise).reshape(field.shape)
    std = moments.std()
    scale = np.where(is_normalised & (std > 0), std, 1.0)
    mean = np.where(is_normalised, moments.mean(), 0.0)
    is_wrong = is_normalised & ~(np.isfinite(mean) & np.isfinite(std))
    if is_wrong.any():
        column = int(np.flatnonzero(is_wrong)[0])
        raise ExpectedError(
            f"{field.name}: mean {mean.reshape(-1)[column]} and deviation {std.reshape(-1)[column]} of "
            f"{field.column_names[column]} over the train rows, expected numbers; correct the values that process gave"
        )
    return Normaliser(field, mean, scale)


def stored(fits: Mapping[str, Normaliser]) -> dict[str, dict[str, Any]]:
    """Return what stats.json says of features that are not standardised yet, by name: dtype and shape of a row.

    ``first`` is the first of its columns in normalizer.npz, where they lie in C order.
    """
    described: dict[str, dict[str, Any]] = {}
    first = 0
    for name, found in fits.items():
        field = found.field
        described[name] = {"dtype": field.dtype.name, "shape": list(field.shape), "first": first}
        first += field.n_columns
    return described


def write_normalizer(folder: WrittenFolder, fits: Mapping[str, Normaliser]) -> None:
    """Write what was fitted; no file where no feature is standardised."""
    if not fits:
        return
    columns = {
        "names": [np.array(found.field.column_names, np.str_) for found in fits.values()],
        "mean": [found.mean.reshape(-1) for found in fits.values()],
        "scale": [found.scale.reshape(-1) for found in fits.values()],
        "is_normalised": [np.array(found.field.normalise, bool) for found in fits.values()],
    }
    with folder.npz(NORMALIZER) as archive:
        for name, pieces in sorted(columns.items()):
            values = np.concatenate(pieces)
            with archive.member(name, values.dtype, values.shape) as sink:
                sink.append(values)
