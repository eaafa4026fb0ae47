"""What merge knows of a batch before it reads a row: headers, group table, units and fields, all checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, fields
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField

TABLE = ("group_id", "group_offsets", "source", "meta")
TABLE_DTYPES = {"group_id": np.dtype(np.uint64), "group_offsets": np.dtype(np.int64), "source": np.dtype(np.int32)}


@dataclass(frozen=True)
class Batch:
    """A batch without its rows.

    Attributes
    ----------
    path, headers
        The NPZ, and the headers of its arrays.
    group_id, offsets, source
        The group table: uint64 (G,), int64 (G+1,), int32 (G,) an index into `units`.
    units, fields
        The keys of the units and what the arrays are.
    bad_units, findings
        What process left out, with reasons: units, and what was wrong within units.
    """

    path: Path
    headers: dict[str, arrays.Header]
    group_id: np.ndarray
    offsets: np.ndarray
    source: np.ndarray
    units: list[str]
    fields: list[NamedField]
    bad_units: list[dict[str, Any]]
    findings: list[dict[str, Any]]

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each group, int64 (G,)."""
        return np.diff(self.offsets)


def open_batch(path: Path) -> Batch:
    """Read headers, group table and meta of a batch.

    Raises
    ------
    DamagedFile
        When they are missing or not what process writes.
    """
    headers = arrays.npz_headers(path)
    missing = set(TABLE) - set(headers)
    if missing:
        raise arrays.DamagedFile(f"{path}: no {sorted(missing)[0]}, expected a batch's arrays; remove it, `dvc repro`")
    table = {name: arrays.read_member(path, headers[name]) for name in TABLE}
    try:
        batch = _of_meta(path, headers, table, json.loads(table["meta"].tobytes()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        batch = None
    if batch is None:
        raise arrays.DamagedFile(f"{path}: its meta or groups are not what process writes; remove it and `dvc repro`")
    return batch


def _of_meta(
    path: Path, headers: dict[str, arrays.Header], table: Mapping[str, np.ndarray], meta: dict[str, Any]
) -> Batch | None:
    """Return the batch; None where units, lists or groups are not sound. A meta of another form is any error."""
    are_named = all(isinstance(unit, str) for unit in meta["units"])
    are_lists = isinstance(meta["bad_units"], list) and isinstance(meta["findings"], list)
    if not (are_named and are_lists and _is_table(table, len(meta["units"]))):
        return None
    return Batch(
        path=path,
        headers=headers,
        group_id=table["group_id"],
        offsets=table["group_offsets"],
        source=table["source"],
        units=meta["units"],
        fields=fields.from_json(meta["fields"]),
        bad_units=meta["bad_units"],
        findings=meta["findings"],
    )


def _is_table(table: Mapping[str, np.ndarray], n_units: int) -> bool:
    """Say whether the group table of a batch is whole: one offset more than groups, rising from 0, known units."""
    ids, offsets, source = table["group_id"], table["group_offsets"], table["source"]
    is_typed = all(table[name].dtype == dtype for name, dtype in TABLE_DTYPES.items())
    if not is_typed or ids.shape != source.shape or offsets.shape != (len(ids) + 1,) or ids.ndim != 1:
        return False
    is_rising = offsets[0] == 0 and bool((np.diff(offsets) >= 0).all())
    return is_rising and bool(((source >= 0) & (source < n_units)).all())


def common_fields(batches: Sequence[Batch]) -> list[NamedField]:
    """Return the fields all batches share, checked against the arrays they hold.

    Raises
    ------
    ExpectedError
        When batches differ in their fields.
    DamagedFile
        When an array is not what its field says.
    """
    first = batches[0]
    for batch in batches:
        if batch.fields != first.fields:
            raise ExpectedError(f"{batch.path}: fields differ from {first.path}; run `dvc repro` to rebuild both")
        for field in first.fields:
            header = batch.headers.get(field.name)
            expected = (field.dtype, (int(batch.offsets[-1]), *field.shape))
            if header is None or (header.dtype, header.shape) != expected:
                raise arrays.DamagedFile(f"{batch.path}: {field.name} is not {expected}; remove it, `dvc repro`")
    return first.fields
