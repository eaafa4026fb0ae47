"""What is known of an array: declared by a dataset (`Field`), and as it travels with the arrays (`NamedField`).

process writes the fields of a dataset into the ``meta`` of each batch, merge into fields.json beside the merged arrays.
From there on everything is typed by them, so that no stage after process imports a dataset.

fields.json is a list, a field an object of ``bits``, ``doc``, ``dtype``, ``name``, ``names``, ``normalise``, ``role``
and ``shape``; they mean what `Field` says, and what does not apply is null. ``crc`` is the CRC-32 of the field's whole
.npy file, which split compares, and ``check`` that of the object's other values, as `_check` writes them.
Both are eight hex digits.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from stages.core import checksum
from stages.core.arrays import DamagedFile
from stages.core.files import json_text

Role = Literal["feature", "label", "mask", "key", "time", "series", "segment", "lookback", "valid"]
ROLES: tuple[Role, ...] = get_args(Role)
FIELDS_FILE = "fields.json"


@dataclass(frozen=True)
class Field:
    """One output array, as a dataset declares it.

    `dtype` is NumPy's name of it and `shape` the shape of one row. `doc` says meaning, unit and range. `names` are the
    columns of a feature or the classes of a label or mask; `normalise` says for each feature column whether split
    standardises it. `bits` is the shape of a row that is stored as bits (see stages/core/bits.py): then `dtype` is
    uint8 and `shape` the one axis of its bytes.

    Roles of a time series, whose rows merge puts in the order of the units' keys: `time` (int64 ns, UTC), `series`
    (what the row is of; time rises within it), `segment` (rows of one belong together without a gap), `lookback`
    (int32: how many rows back the oldest one lies that a feature of this row depends on), and `valid_<feature>`
    (uint8: 0 where the feature has no value yet).
    """

    dtype: str
    shape: tuple[int, ...]
    role: Role
    doc: str
    names: tuple[str, ...] | None = None
    normalise: tuple[bool, ...] | None = None
    bits: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"field {self.doc!r} has role {self.role!r}, expected one of {', '.join(ROLES)}")

    def header(self, name: str) -> dict[str, object]:
        """Return this field as it stands in a batch's meta."""
        return {"name": name, **asdict(self)}


@dataclass(frozen=True)
class NamedField:
    """One array of batches and merged data; its attributes are those of `Field`, the dtype as NumPy's own.

    `crc` is the CRC-32 of its .npy file, None in a batch, where the NPZ has it.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    role: Role
    doc: str = ""
    names: tuple[str, ...] | None = None
    normalise: tuple[bool, ...] | None = None
    bits: tuple[int, ...] | None = None
    crc: int | None = None

    @property
    def head(self) -> str:
        """The name without the role: ``label_noble`` is ``noble``; of another role the whole name."""
        return self.name.removeprefix(f"{self.role}_")

    @property
    def n_columns(self) -> int:
        """Values of one row as it is stored."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * self.n_columns

    @property
    def unpacked_shape(self) -> tuple[int, ...]:
        """Shape of a row whose bits, if it is stored as bits, are unpacked."""
        return self.bits or self.shape

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns; the field's name and numbers where it has none."""
        return self.names or tuple(f"{self.name} {index}" for index in range(self.n_columns))

    def to_json(self) -> dict[str, object]:
        """Return the field as it stands in fields.json."""
        crc = None if self.crc is None else checksum.text(self.crc)
        return dict(sorted({**vars(self), "crc": crc, "dtype": _name_of(self.dtype)}.items()))


def from_json(entries: Any) -> list[NamedField]:
    """Return the fields that a list of JSON objects describes.

    Raises
    ------
    ValueError
        When it does not; a name that is no plain one, and could lead out of a folder, is refused too.
    """
    try:
        return [_from_object(entry) for entry in entries]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"fields are not described as expected: {error!r}") from None


def read_fields(folder: Path) -> list[NamedField]:
    """Return the fields of the merged arrays in a folder.

    Raises
    ------
    DamagedFile
        When fields.json is missing or not what merge wrote.
    """
    path = folder / FIELDS_FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        fields = from_json(entries)
    except FileNotFoundError:
        cure = "`dvc checkout` brings back what `make slim` dropped, `dvc repro` makes it anew"
        raise DamagedFile(f"{path}: not found, expected the merged arrays; {cure}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path}: not what merge writes ({error}); remove it, `dvc repro`") from None
    if any(entry.get("check") != _check(entry) or entry.get("crc") is None for entry in entries):
        raise DamagedFile(f"{path}: checksum does not match what was written; `make verify` says what to type")
    return fields


def fields_text(fields: Iterable[NamedField]) -> str:
    """Return the text of fields.json."""
    entries = [field.to_json() for field in fields]
    return json_text([dict(sorted({**entry, "check": _check(entry)}.items())) for entry in entries])


def _check(entry: Mapping[str, Any]) -> str:
    """Return the CRC-32 of a field's object without its check, as JSON in one line with sorted keys."""
    content = {key: value for key, value in entry.items() if key != "check"}
    return checksum.of_json(content)


def _from_object(entry: Mapping[str, Any]) -> NamedField:
    name, role = entry["name"], entry["role"]
    if not name.isidentifier():
        raise ValueError(f"field {name!r}, expected a plain name")
    if role not in ROLES:
        raise ValueError(f"field {name!r} has role {role!r}, expected one of {', '.join(ROLES)}")
    names, normalise, bits, crc = (entry.get(key) for key in ("names", "normalise", "bits", "crc"))
    return NamedField(
        name=name,
        dtype=np.dtype(entry["dtype"]),
        shape=tuple(map(int, entry["shape"])),
        role=role,
        doc=entry["doc"],
        names=None if names is None else tuple(map(str, names)),
        normalise=None if normalise is None else tuple(map(bool, normalise)),
        bits=None if bits is None else tuple(map(int, bits)),
        crc=None if crc is None else checksum.of_text(crc),
    )


def _name_of(dtype: np.dtype) -> str:
    """Return the name that a dataset gives a dtype: ``int8``; for text ``S16``, as `name` counts bits."""
    return dtype.str.lstrip("|<") if dtype.kind in "SU" else dtype.name
