"""The columns of an export: Arrow's type of each, its Hugging Face feature, and its values.

A feature whose columns have names is a column for each of them; another one is a column of fixed-size lists of its
shape, a board [2][13][13]. A mask is a list of true and false, a class each. Labels are dictionaries of the class
names, null where a head does not apply; Hugging Face knows them as ClassLabel, whose missing value is -1. Text keys are
strings, the unit its name, the time of a row, where it has one, a timestamp in UTC; other keys are as they are stored.

Where windows of a feature are the rows, that feature is a list of its rows, [48][13], ``first_row`` says where in the
part the window begins, and every other column is that of the window's last row.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from stages.look import Choice, LookField, PartRows
from stages.look.columns import numbered
from stages.look.part import UNIT
from stages.report import hub

Format = Literal["parquet", "hf"]
FORMATS: tuple[Format, ...] = ("parquet", "hf")
FIRST_ROW = "first_row"


@dataclass(frozen=True)
class ExportColumns:
    """Columns of one field.

    Attributes
    ----------
    schema
        Arrow's fields of them.
    features
        By column what Hugging Face calls its type, as hub.py has it.
    row_bytes
        About the bytes of a row in memory.
    arrays
        Makes them of rows: first rows of windows where windows are the rows, else the rows.
    """

    schema: tuple[pa.Field, ...]
    features: tuple[Any, ...]
    row_bytes: int
    arrays: Callable[[slice | np.ndarray], list[pa.Array]]


@dataclass(frozen=True)
class Exported:
    """What an export is of.

    Attributes
    ----------
    part
        The rows.
    form
        Plain Parquet, or for Hugging Face.
    standardised
        Features as a trainer reads them; no: in the units of the raw data.
    window
        The feature whose windows are the rows; None: rows are rows.
    window_rows
        Rows of a window.
    """

    part: PartRows
    form: Format
    standardised: bool = True
    window: str | None = None
    window_rows: int = 1

    def columns(self) -> list[ExportColumns]:
        """Return the columns of all fields, features first."""
        found = [self._columns(field) for field in self.part.fields.values()]
        return [*found, self._first_row()] if self.window else found

    def _columns(self, field: LookField) -> ExportColumns:
        if field.name == self.window:
            return self._windows(field)
        if field.role == "mask":
            return self._nested(field, field.shape, self._last_rows, pa.bool_())
        if field.role == "label" and field.classes:
            return self._label(field, field.classes)
        if field.name == UNIT:
            return self._unit(field)
        if field.dtype.kind == "S":
            return self._one(field, pa.string(), "string", _texts)
        if field.name == self.part.time_field:
            return self._one(field, pa.timestamp("ns", tz="UTC"), "timestamp[ns, tz=UTC]", _times)
        if field.columns == numbered(field.name, field.shape):
            return self._nested(field, field.shape, self._last_rows, self._type(field))
        return self._flat(field)

    def _type(self, field: LookField) -> pa.DataType:
        """Return the type of a field's values: that of no row."""
        return pa.from_numpy_dtype(self.part.take(Choice(field), slice(0, 0), self.standardised).dtype)

    def _last_rows(self, rows: slice | np.ndarray) -> slice | np.ndarray:
        return rows + (self.window_rows - 1) if isinstance(rows, np.ndarray) else rows

    def _taken(self, field: LookField, rows: slice | np.ndarray) -> np.ndarray:
        return self.part.take(Choice(field), self._last_rows(rows), self.standardised)

    def _one(
        self, field: LookField, kind: pa.DataType, feature: Any, made: Callable[[np.ndarray], pa.Array]
    ) -> ExportColumns:
        """Return the one column of a field, whose values `made` makes of those that are stored."""
        schema = (pa.field(field.name, kind),)
        return ExportColumns(
            schema, (feature,), field.dtype.itemsize, lambda rows: [made(self._taken(field, rows)[:, 0])]
        )

    def _label(self, field: LookField, classes: Sequence[str]) -> ExportColumns:
        if self.form == "hf":
            made = hub.class_label(classes)
            return self._one(field, pa.int64(), made, lambda values: pa.array(values.astype(np.int64)))
        names = pa.array(classes, pa.string())
        kind = pa.dictionary(pa.int16(), pa.string())
        return self._one(field, kind, None, lambda values: _dictionary(values, pa.int16(), names))

    def _unit(self, field: LookField) -> ExportColumns:
        names = pa.array(self.part.units, pa.string())
        if self.form == "hf":
            return self._one(field, pa.string(), "string", lambda values: names.take(pa.array(values)))
        kind = pa.dictionary(pa.int32(), pa.string())
        return self._one(field, kind, None, lambda values: _dictionary(values, pa.int32(), names))

    def _flat(self, field: LookField) -> ExportColumns:
        kind = self._type(field)
        schema = tuple(pa.field(name, kind) for name in field.columns)
        features = (hub.array(str(kind)),) * len(schema)

        def arrays(rows: slice | np.ndarray) -> list[pa.Array]:
            columns = np.ascontiguousarray(self._taken(field, rows).T)
            return [pa.array(values) for values in columns]

        return ExportColumns(schema, features, self.part.row_bytes(field.name), arrays)

    def _nested(
        self,
        field: LookField,
        shape: tuple[int, ...],
        rows_of: Callable[[slice | np.ndarray], slice | np.ndarray],
        kind: pa.DataType,
    ) -> ExportColumns:
        """Return a column of fixed-size lists; of no axis, one of plain values."""
        column = pa.field(field.name, _list_type(kind, shape), metadata=_classes(field))
        row_bytes = self.part.row_bytes(field.name) * (shape[0] if field.name == self.window else 1)

        def arrays(rows: slice | np.ndarray) -> list[pa.Array]:
            values = self.part.take(Choice(field), rows_of(rows), self.standardised)
            flat = pa.array(np.ascontiguousarray(values).reshape(-1)).cast(kind)
            return [_lists(flat, shape)]

        return ExportColumns((column,), (hub.array(str(kind), shape),), row_bytes, arrays)

    def _windows(self, field: LookField) -> ExportColumns:
        shape = (self.window_rows, *field.shape)
        steps = np.arange(self.window_rows)

        def all_rows(first: slice | np.ndarray) -> np.ndarray:
            if isinstance(first, slice):
                raise TypeError("windows are given by their first rows")
            return (first[:, None] + steps).reshape(-1)

        return self._nested(field, shape, all_rows, self._type(field))

    def _first_row(self) -> ExportColumns:
        return ExportColumns((pa.field(FIRST_ROW, pa.int64()),), ("int64",), 8, lambda rows: [pa.array(rows)])


def _list_type(kind: pa.DataType, shape: Sequence[int]) -> pa.DataType:
    for size in reversed(shape):
        kind = pa.list_(kind, size)
    return kind


def _lists(flat: pa.Array, shape: Sequence[int]) -> pa.Array:
    for size in reversed(shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, size)
    return flat


def _classes(field: LookField) -> dict[str, str] | None:
    return {"classes": json.dumps(field.classes)} if field.role == "mask" and field.classes else None


def _dictionary(values: np.ndarray, kind: pa.DataType, names: pa.Array) -> pa.Array:
    signed = values.astype(np.int64)
    return pa.DictionaryArray.from_arrays(pa.array(signed, mask=signed < 0).cast(kind), names)


def _texts(values: np.ndarray) -> pa.Array:
    """Return text keys; what is not UTF-8 is written as Python writes it in quotes. Each text is decoded once."""
    encoded = pa.array(values.tolist(), pa.binary()).dictionary_encode()
    names = [name.decode("utf-8", "backslashreplace") for name in encoded.dictionary.to_pylist()]
    return pa.array(names, pa.string()).take(encoded.indices)


def _times(values: np.ndarray) -> pa.Array:
    return pa.array(values.view("datetime64[ns]"), pa.timestamp("ns")).cast(pa.timestamp("ns", tz="UTC"))
