"""Rows of one part of data/processed, in memory of the rows that are asked for.

Nothing is loaded: files are mapped, as the loader maps them, and rows are copied out of them. Values come as they were
before split standardised them, unless they are asked for as a trainer reads them. Where a part holds them as merged
(``store: stored``) those are the very values. Where it holds them standardised (``store: float32``) they are computed
back: a whole number that gives the very bits that are stored is taken for the value, so that whole numbers come back
exactly; other values come back to the seven digits of float32. In a row that ``valid_<feature>`` calls not valid a
feature has no values: they are NaN, and as a trainer reads them 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays, bits, part_files, paths
from stages.core.errors import ExpectedError
from stages.core.part_files import PARTS
from stages.core.standardise import DTYPE, Standard
from stages.loader.mapped_file import MappedArray, mapped
from stages.look.columns import Choice, LookField, LookRole, numbered, suggestion, told_apart
from stages.processed import Processed

CHUNK_BYTES = 2 << 20  # of what is read at once where all rows are
KEPT_BYTES = 16 << 20  # a larger file gives the pages back that were read
TIME = "time"  # the key with the time of a row, ns since 1970 UTC, where a dataset is split by time
UNIT = "unit"

Rows = slice | np.ndarray


def folder_of(dataset: str | Path) -> Path:
    """Return the folder of a dataset that is given by its name or by its folder.

    Raises
    ------
    ExpectedError
        When it has no finished arrays; the nearest name that has is told.
    """
    is_name = isinstance(dataset, str) and "/" not in dataset
    folder = paths.processed_dir(str(dataset)) if is_name else Path(dataset)
    if not (folder / part_files.STATS).is_file():
        known = [path.parent.name for path in sorted(folder.parent.glob(f"*/{part_files.STATS}"))]
        hint = suggestion(str(dataset), known) if known else ""
        raise ExpectedError(f"{folder}: no finished arrays{hint}; `make preprocess` or `make pull` brings them")
    return folder


class PartRows:
    """The rows of one part.

    Parameters
    ----------
    dataset
        Its name, of which data/processed/<dataset> is taken, or a folder.
    part
        "train", "val" or "test".

    Attributes
    ----------
    data, part, fields, n_rows
        The reader of the folder, the part, its fields by name, features first, and how many rows it has.

    Raises
    ------
    ExpectedError
        When there is no such dataset or part.
    DamagedFile
        When files are not complete or do not fit together.
    """

    def __init__(self, dataset: str | Path, part: str) -> None:
        if part not in PARTS:
            raise ExpectedError(f"part {part!r}, expected one of {', '.join(PARTS)}")
        self.data, self.part = Processed(folder_of(dataset)), part
        places = self.data.places(part)
        found = mapped(places)
        for file, _ in found.values():
            file.keeps = file.n_bytes <= KEPT_BYTES
        self._arrays = {name: MappedArray(*place) for name, place in found.items()}
        self._bits = {name: shape for name, shape in self.data.packed_shapes().items() if name in places}
        self.fields = told_apart(self._field(name, header) for name, (_, header) in places.items())
        self.n_rows = self._common_length()

    def _common_length(self) -> int:
        lengths = {array.header.shape[0] for array in self._arrays.values()}
        if len(lengths) > 1:
            found = ", ".join(f"{name} {array.header.shape[0]}" for name, array in self._arrays.items())
            raise arrays.DamagedFile(
                f"{self.data.folder}: fields of {self.part} have different numbers of rows: {found}; `dvc repro`"
            )
        return lengths.pop()

    def _field(self, name: str, header: arrays.Header) -> LookField:
        role = self._role(name)
        shape = self._bits.get(name, header.shape[1:])
        classes = self._classes(name.removeprefix(f"{role}_")) if role in ("label", "mask") else None
        if role == "feature":
            columns = self._feature_columns(name, shape)
        elif role == "mask":
            n_classes = int(np.prod(shape, dtype=np.int64))
            known = classes if classes and len(classes) == n_classes else tuple(map(str, range(n_classes)))
            columns = tuple(f"{name}.{one}" for one in known)
        else:
            columns = numbered(name, shape)
        return LookField(name, role, header.dtype, shape, columns, classes)

    def _role(self, name: str) -> LookRole:
        file = self._arrays[name].file.path
        for role in part_files.MEMBER_ROLES:
            if file == self.data.members_path(role, self.part):
                return role
        return "feature"

    def _classes(self, head: str) -> tuple[str, ...] | None:
        found = self._mappings.get(head)
        return tuple(sorted(found, key=lambda name: found[name])) if found else None

    @cached_property
    def _mappings(self) -> Mapping[str, Mapping[str, int]]:
        return self.data.label_mappings()

    def _feature_columns(self, name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names that the dataset gave; those of bits and of what has none are numbers."""
        names = self.data.column_names(name, self.part)
        if name in self._bits or names == [f"{name} {index}" for index in range(len(names))]:
            return numbered(name, shape)
        return tuple(names)

    @cached_property
    def stats(self) -> Mapping[str, Any]:
        """The content of stats.json."""
        return self.data.stats()

    @property
    def time_field(self) -> str | None:
        """The key with the time of each row, where the dataset is split by time and has one."""
        split = self.stats.get("split")
        by_time = isinstance(split, Mapping) and split.get("by") == "time"
        has_time = TIME in self.fields and self.fields[TIME].dtype == np.int64
        return TIME if by_time and has_time else None

    @cached_property
    def units(self) -> list[str]:
        """The names that the key `unit` points to."""
        table = self.data.keys(self.part, [part_files.UNIT_TABLE])[part_files.UNIT_TABLE]
        return [str(key) for key in table.tolist()]

    def default_columns(self) -> list[str]:
        """Return the fields that are given when none are named: features, labels and the keys that are text."""
        return [
            field.name
            for field in self.fields.values()
            if field.role in ("feature", "label") or (field.role == "key" and field.dtype.kind == "S")
        ]

    def chunk_rows(self, names: Sequence[str]) -> int:
        """Return how many rows of some fields take `CHUNK_BYTES`."""
        row_bytes = sum(self.row_bytes(name) for name in names)
        return max(1, CHUNK_BYTES // max(1, row_bytes))

    def row_bytes(self, name: str) -> int:
        """Return the bytes of one row of a field, as `read` gives it."""
        field = self.fields[name]
        size = max(field.dtype.itemsize, 4) if field.role == "feature" else field.dtype.itemsize
        return size * len(field.columns)

    def spans(self, names: Sequence[str]) -> Iterator[slice]:
        """Yield stretches of rows of some fields, one behind the other, that take `CHUNK_BYTES` each."""
        step = self.chunk_rows(names)
        for start in range(0, self.n_rows, step):
            yield slice(start, min(start + step, self.n_rows))

    def read(self, name: str, rows: Rows, standardised: bool = False) -> np.ndarray:
        """Return some rows of a field, (k, *shape); see `take`."""
        field = self.fields[name]
        taken = self.take(Choice(field), rows, standardised)
        return taken.reshape(len(taken), *field.shape)

    def take(self, choice: Choice, rows: Rows, standardised: bool = False) -> np.ndarray:
        """Return some columns of some rows, in memory of their own.

        Parameters
        ----------
        choice
            A field and its columns.
        rows
            A stretch, or int64 (k,): their numbers, from 0 to below `n_rows`.
        standardised
            Yes: features as a trainer reads them.

        Returns
        -------
        numpy.ndarray
            (k, columns): labels as class numbers, -1 where the head does not apply; other fields as they lie there.
        """
        name = choice.field.name
        stored = self._stored(choice, rows)
        if choice.field.role != "feature" or name in self._bits:
            return stored
        left = self._left[name]
        if standardised:
            return stored if left is None else _columns_of(left, choice).apply(stored, self._is_valid(name, rows))
        if name in self._done:
            stored = computed_back(stored, _columns_of(self._done[name], choice))
        return self._without_invalid(name, rows, stored)

    def standard_scores(self, name: str, rows: Rows) -> np.ndarray | None:
        """Return how many deviations each value lies from the mean of train; None where nothing is standardised.

        Returns
        -------
        numpy.ndarray
            float32 (k, *shape); 0 in columns that are not standardised.
        """
        fit = self.data.fit(name, self.part)
        if fit is None or name in self._bits:
            return None
        mean, scale = (values.reshape(self.fields[name].shape) for values in fit)
        values = self.read(name, rows, standardised=True).astype(np.float32)
        values[:, (mean == 0) & (scale == 1)] = 0  # not standardised
        return values

    def _stored(self, choice: Choice, rows: Rows) -> np.ndarray:
        """Return columns as they are stored, of bits 0 and 1."""
        name = choice.field.name
        array = self._arrays[name]
        found = array.gather(rows) if isinstance(rows, np.ndarray) else array.values[rows]
        if name in self._bits:
            found = bits.unpack(found, self._bits[name])
        taken = np.array(choice.of(found))  # no view of the mapped file
        array.file.give_back()
        return taken

    @cached_property
    def _left(self) -> dict[str, Standard | None]:
        """What standardises a feature that lies there as merged."""
        return {name: self.data.standard(name, self._arrays[name].header) for name in self.data.features(self.part)}

    @cached_property
    def _done(self) -> dict[str, Standard]:
        """What split has standardised a feature with."""
        found = {}
        for name, left in self._left.items():
            fit = None if left or name in self._bits else self.data.fit(name, self.part)
            if fit is not None and self._arrays[name].header.dtype == DTYPE:
                found[name] = Standard(*fit)
        return found

    def _is_valid(self, name: str, rows: Rows) -> np.ndarray | None:
        flags = part_files.valid(name)
        return self.read(flags, rows).astype(bool) if flags in self.fields else None

    def _without_invalid(self, name: str, rows: Rows, values: np.ndarray) -> np.ndarray:
        is_valid = self._is_valid(name, rows)
        if is_valid is None:
            return values
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
        values[~is_valid] = np.nan
        return values


def _columns_of(standard: Standard, choice: Choice) -> Standard:
    """Return the part of it that is for some columns, flat."""
    chosen = slice(None) if choice.places is None else list(choice.places)
    return Standard(standard.mean.reshape(-1)[chosen], standard.scale.reshape(-1)[chosen])


def computed_back(stored: np.ndarray, fit: Standard) -> np.ndarray:
    """Return what was standardised, float32 (n, columns); see the head of this module.

    Parameters
    ----------
    stored
        float32 (n, columns), standardised.
    fit
        What was subtracted and divided by, float64 (columns,).

    Examples
    --------
    >>> fit = Standard(np.array([2.3]), np.array([1.7]))
    >>> computed_back(Standard.of(fit.mean, fit.scale).apply(np.array([[7], [-3]], np.int8)), fit).tolist()
    [[7.0], [-3.0]]
    """
    raw = (stored * fit.scale + fit.mean).astype(DTYPE)
    whole = np.rint(raw) + DTYPE.type(0)  # no -0
    gives_the_bits = Standard.of(fit.mean, fit.scale).apply(whole) == stored
    return np.where(gives_the_bits, whole, raw)
