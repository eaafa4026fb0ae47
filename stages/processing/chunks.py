"""A chunk of units, and what a worker makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import units
from stages.core.errors import BadUnit, ExpectedError
from stages.datasets import base

GROUP_DTYPES = {"group_id": np.uint64, "group_offsets": np.int64, "source": np.int32}


class UnitFailed(ExpectedError):
    """The encoder of a dataset failed on a unit, and not with a `BadUnit`: a defect, or no memory."""


@dataclass(frozen=True)
class Chunk:
    """What a worker needs to encode some units; `first` is the index of the first one in its batch."""

    dataset: str
    raw_dir: Path
    options: Mapping[str, Any]
    units: Sequence[units.Unit]
    first: int
    raw_mb: float


@dataclass(frozen=True)
class Encoded:
    """The arrays of a chunk, the units left out with the reason, by key, and what was left out within units."""

    arrays: dict[str, np.ndarray]
    bad: dict[str, str]
    findings: list[dict[str, Any]]


def encode_chunk(chunk: Chunk) -> Encoded:
    """Read and encode the units of a chunk; a bad one costs only itself.

    Raises
    ------
    ExpectedError
        When a raw file changed since discover.
    UnitFailed
        With the unit's name, from the original error, when the dataset's encoder raises anything unexpected.
    """
    try:
        return _encode(chunk)
    except ExpectedError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnitFailed(
            f"{_culprit(chunk)}: {what}; the encoder of {chunk.dataset} cannot read it or has a defect; "
            "LOG=debug shows where"
        ) from error


def _culprit(chunk: Chunk) -> str:
    """Return the path of the unit that fails by itself, or the first and the last of the chunk."""
    for unit in chunk.units:
        try:
            _encode(replace(chunk, units=[unit]))
        except Exception:  # noqa: BLE001 - whatever it is, it was caught before and is told with this unit's name
            return f"{chunk.raw_dir / unit.sources[0].path}: {unit.key}"
    return f"{chunk.raw_dir}: {chunk.units[0].key} to {chunk.units[-1].key}, together"


def _encode(chunk: Chunk) -> Encoded:
    encoder = base.encoder(chunk.dataset)
    good, bad = list(chunk.units), dict[str, str]()
    try:
        table = encoder.read(chunk.raw_dir, good, chunk.options)
    except BadUnit:
        bad = _bad_units(encoder, chunk)
        good = [unit for unit in chunk.units if unit.key not in bad]
        if not good:
            return Encoded({}, bad, [])
        table = encoder.read(chunk.raw_dir, good, chunk.options)
    findings = [
        {**{name: value for name, value in asdict(found).items() if value != ""}, "unit": good[found.unit].key}
        for found in base.findings(chunk.dataset, table)
    ]
    result = encoder.encode(table, chunk.options)
    place = {unit.key: chunk.first + i for i, unit in enumerate(chunk.units)}
    result["source"] = np.array([place[unit.key] for unit in good], np.int32)[result["source"]]
    _check(encoder.FIELDS, result)
    _refuse_not_finite(encoder.FIELDS, result, chunk)
    return Encoded(result, bad, findings)


def _bad_units(encoder: base.Encoder, chunk: Chunk) -> dict[str, str]:
    reasons = {}
    for unit in chunk.units:
        try:
            encoder.read(chunk.raw_dir, [unit], chunk.options)
        except BadUnit as error:
            reasons[unit.key] = str(error)
    return reasons


def _check(fields: Mapping[str, base.Field], result: Mapping[str, np.ndarray]) -> None:
    """Check that a dataset's encoder gives the arrays it declares."""
    if set(result) != {*fields, *GROUP_DTYPES}:
        raise TypeError(f"encode gave {sorted(result)}, expected {sorted([*fields, *GROUP_DTYPES])}")
    n_rows = int(result["group_offsets"][-1])
    for name, field in fields.items():
        array = result[name]
        if array.dtype != field.dtype or array.shape != (n_rows, *field.shape):
            raise TypeError(f"encode gave {name} as {array.dtype}{array.shape}, expected {field} for {n_rows} rows")


def _refuse_not_finite(fields: Mapping[str, base.Field], result: Mapping[str, np.ndarray], chunk: Chunk) -> None:
    """Refuse NaN and infinity in rows that are valid: a mean over them would be NaN, and all rows that it standardises.

    Raises
    ------
    ExpectedError
        With the unit, the field and the column of the first such value.
    """
    for name, field in fields.items():
        array = result[name]
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        rows = np.isfinite(array).reshape(len(array), -1)
        if f"valid_{name}" in result:
            rows |= ~result[f"valid_{name}"].astype(bool)[:, None]
        if rows.all():
            continue
        row, column = (int(place) for place in np.argwhere(~rows)[0])
        group = int(np.searchsorted(result["group_offsets"], row, side="right")) - 1
        unit = chunk.units[int(result["source"][group]) - chunk.first]
        what = field.names[column] if field.names else column
        raise ExpectedError(
            f"{chunk.raw_dir}: {unit.key}: {name} ({what}) is {array.reshape(rows.shape)[row, column]} in "
            f"{int((~rows).any(axis=1).sum()):,} rows, expected numbers that {array.dtype} holds; correct them"
        )
