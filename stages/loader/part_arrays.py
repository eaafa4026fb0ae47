"""One part of a dataset's processed arrays, and rows or windows gathered from them.

The names of the arrays are those of the dataset's fields: ``X`` for X_<part>.npy, ``label_<head>`` and ``mask_<head>``
for the members of labels_<part>.npz and masks_<part>.npz, and the members of keys_<part>.npz. Features that split left
as merged are standardised once they are gathered, at about 0.7 us of CPU for 1,308 columns; others are so already.

Files are not loaded, see `mapped_file`; a whole batch of a field is gathered at once, without Python's lock. Fields of
bits, which packed.json lists, are unpacked at the end.
"""

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.core import arrays, bits, part_files
from stages.core.errors import ExpectedError
from stages.core.standardise import DTYPE
from stages.loader.form import FOR_A_TRAINER, Form, Left
from stages.loader.mapped_file import Found, Mapped, MappedArray, MappedFile, keep_small, mapped
from stages.loader.order import Order, of_epoch
from stages.loader.reopening import Seal, known_crcs, reopened
from stages.loader.settings import Batch
from stages.processed import Processed

Digests = Mapping[str, Mapping[str, str]]


class PartArrays:
    """Rows, or windows of rows, of one part.

    Parameters
    ----------
    folder
        data/processed/<dataset>.
    part
        "train", "val" or "test".
    fields, window
        As in `Settings`.
    form
        `packed`, `standardised` and `ahead` of the settings.

    Attributes
    ----------
    folder, part, form, n_rows
        The folder, the part, the form, and how many rows the part has.
    window_rows
        Rows of a sample, those ahead included.
    left
        What the form leaves to be done, for `to_device`.
    mixture
        None: what a `Mixture` says of its sources.

    Raises
    ------
    ExpectedError
        When the folder has no such part, field or windows, or not the form that is asked for.
    DamagedFile
        When a file is not complete, or files have different numbers of rows or do not fit together.
    """

    mixture: None = None

    def __init__(
        self,
        folder: str | Path,
        part: str,
        fields: Sequence[str] | None = None,
        window: str | None = None,
        form: Form = FOR_A_TRAINER,
    ) -> None:
        self.folder, self.part, self.form = Path(folder), part, form
        self._recipe = folder, part, fields, window, form
        self._processed = Processed(self.folder)
        found = mapped(self._processed.places(part))
        names = tuple(fields) if fields is not None else self._default_names(found, window)
        self._require_found((*names, *([window] if window else ())), found)
        self._starts: Mapped | None = None
        self.window_rows = 1
        if window:
            self._starts, self.window_rows = self._open_windows(window)
        self._fields = {name: MappedArray(*found[name]) for name in names}
        self.n_rows = self._common_length()
        shapes = self._shapes_of_bits()
        self._bits = {} if form.packed else shapes
        self._standards = form.standards(self._processed, part, {name: found[name][1] for name in names})
        self._valid = self._open_valid(found)
        self.left = self._left(found, window, shapes)
        self._files = {file.path.name: file for file in self._files_in_use()}
        self._crcs = known_crcs(self.folder)
        keep_small(self.files)
        if not self.n_rows:
            raise ExpectedError(f"{self.folder}: part {part!r} has no rows, expected some; add data or change split")
        if not len(self):
            raise ExpectedError(f"{self.folder}: part {part!r} has no windows of {window!r}; it needs longer segments")

    def _open_valid(self, found: Mapping[str, Found]) -> dict[str, MappedArray]:
        """Return which rows of the features that are standardised here are valid, where not all are."""
        valid = {name: found[part_files.valid(name)] for name in self._standards if part_files.valid(name) in found}
        return {name: MappedArray(*place) for name, place in valid.items()}

    def _left(self, found: Mapping[str, Found], window: str | None, shapes: Mapping[str, tuple[int, ...]]) -> Left:
        """Return what the form leaves to be done; the rows of a field's own windows are valid in any case."""
        shapes = shapes if self.form.packed else {}
        if self.form.standardised:
            return Left(bits=shapes)
        every = {name: self._processed.standard(name, found[name][1]) for name in self._fields}
        standards = {name: standard for name, standard in every.items() if standard}
        stored = {name: str(found[name][1].dtype) for name in standards}
        valid = {name: part_files.valid(name) for name in standards if name != window}
        return Left(standards, stored, {name: flags for name, flags in valid.items() if flags in found}, shapes)

    def _require_found(self, names: Sequence[str], found: Mapping[str, Found]) -> None:
        missing = [name for name in names if name not in found]
        if missing:
            raise ExpectedError(
                f"{self.folder}: no field {missing[0]!r} in part {self.part!r}, expected some of {', '.join(found)}"
            )

    def __reduce__(self) -> tuple[object, ...]:
        """Open the files anew where this is unpickled, and refuse others than these."""
        return reopened, (PartArrays, self._recipe, self.seals)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._starts[1]) if self._starts else self.n_rows

    def read(self, samples: np.ndarray) -> Batch:
        """Return some samples.

        Parameters
        ----------
        samples
            int64 (k,): numbers of rows or of windows.

        Returns
        -------
        dict
            Per field an array of its own, (k, ...), or (k, window_rows, ...) if windows are the samples.
        """
        rows = samples
        if self._starts:
            rows = self._starts[1][samples]
            self._starts[0].give_back()
        window = self.window_rows if self._starts else None
        batch = {name: field.gather(rows, window) for name, field in self._fields.items()}
        for name, standard in self._standards.items():
            is_valid = self._valid[name].gather(rows, window).astype(bool) if name in self._valid else None
            batch[name] = standard.apply(batch[name], is_valid)
        return batch | {name: bits.unpack(batch[name], shape) for name, shape in self._bits.items()}

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray) -> Batch:
        """Return one sample without the axis of samples, or several as `read` does; for samplers and notebooks.

        Parameters
        ----------
        which
            A number, from the end if negative; a slice; or numbers or bool (n,) as NumPy takes them.

        Raises
        ------
        IndexError
            When there is no such sample.
        """
        if isinstance(which, slice):
            return self.read(np.arange(len(self))[which])
        if np.ndim(which) == 0:
            batch = self.read(np.array([range(len(self))[operator.index(which)]]))  # type: ignore[arg-type]
            return {name: values[0] for name, values in batch.items()}
        numbers = np.asarray(which)
        if numbers.dtype == bool:
            numbers = np.flatnonzero(numbers) if len(numbers) == len(self) else np.array([len(self)])
        numbers = numbers.astype(np.int64, casting="same_kind") if numbers.size else numbers.astype(np.int64)
        outside = (numbers < -len(self)) | (numbers >= len(self))
        if outside.any():
            raise IndexError(
                f"{self.folder}: sample {numbers[outside][0]} of part {self.part!r}, which has {len(self)}"
            )
        return self.read(np.where(numbers < 0, numbers + len(self), numbers))

    def __getitems__(self, numbers: Sequence[int]) -> list[Batch]:
        """Return some samples one by one, gathered at once: what a torch DataLoader asks for and then collates."""
        batch = self[numbers]
        return [{name: values[i] for name, values in batch.items()} for i in range(len(numbers))]

    def order(self, seed: int | None, epoch: int) -> Order:
        """Return the order of the samples in an epoch."""
        return of_epoch(len(self), seed, epoch)

    @property
    def files(self) -> Collection[MappedFile]:
        """The files in use."""
        return self._files.values()

    @property
    def seals(self) -> tuple[Seal, ...]:
        """By what the files are known again where they are opened anew."""
        return tuple(Seal(str(file.path), file.identity, self._crcs.get(file.path.name)) for file in self.files)

    @property
    def layout(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Per field the dtype and the shape of a row as `read` gives it."""
        shapes = {name: field.header.shape[1:] for name, field in self._fields.items()} | self._bits
        dtypes = {name: field.header.dtype for name, field in self._fields.items()}
        dtypes |= dict.fromkeys(self._standards, DTYPE)
        return {name: (str(dtype), shapes[name]) for name, dtype in dtypes.items()}

    def digests(self, known: Digests) -> Digests:
        """Return for each file in use its SHA-256, and its identity: device, inode, size and times of change.

        A file of a known identity has the known SHA-256, since whatever changes the bytes of a file also sets its time
        of change (ctime), which no program can choose. So the arrays are hashed once, at 1.3 GB/s, and not at each
        resumption; on another machine or in a clone the identities differ and the SHA-256 decides.
        """
        return {name: _digest(file, known.get(name, {})) for name, file in sorted(self._files.items())}

    def _default_names(self, found: Mapping[str, Found], window: str | None) -> tuple[str, ...]:
        """Return the fields that are given when none are named: all but the keys, or the one the windows are of."""
        if window:
            return (window,)
        keys = self._processed.members_path("key", self.part)
        return tuple(name for name, (file, _) in found.items() if file.path != keys)

    def _files_in_use(self) -> Iterator[MappedFile]:
        """Yield every file that decides a value, some twice."""
        yield from (field.file for field in [*self._fields.values(), *self._valid.values()])
        if self._starts:
            yield self._starts[0]
        if self._standards:
            yield MappedFile(self.folder / part_files.NORMALIZER)

    def _open_windows(self, window: str) -> tuple[Mapped, int]:
        """Return the first rows of a field's windows, with their file, and the rows of a sample."""
        path = self._processed.window_starts_path(window, self.part)
        if not path.is_file():
            raise ExpectedError(f"{path}: not found, expected the windows of {window!r}; add them to split.windows")
        n_rows = self._processed.window_rows(window) + (self._rows_ahead(window) if self.form.ahead else 0)
        header = arrays.npy_header(path)
        file = MappedFile(path)
        return (file, file.array(header)), n_rows

    def _rows_ahead(self, window: str) -> int:
        """Return how many rows follow each window; refuse to give none where some are asked for."""
        n_rows = self._processed.rows_ahead(window)
        if not n_rows:
            raise ExpectedError(
                f"{self.folder}: windows of {window!r} keep 0 rows ahead, expected some; set "
                f"split.windows.{window}.ahead in params.yaml and `dvc repro`, or drop the setting `ahead`"
            )
        return n_rows

    def _common_length(self) -> int:
        """Return the number of rows that all fields have."""
        (first, n_rows), *others = ((name, field.header.shape[0]) for name, field in self._fields.items())
        for name, n in others:
            if n != n_rows:
                raise arrays.DamagedFile(
                    f"{self.folder}: {name} has {n} rows, expected {n_rows} as {first}; run `dvc repro`"
                )
        return n_rows

    def _shapes_of_bits(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the rows that are stored as bits, by field."""
        shapes = {name: shape for name, shape in self._processed.packed_shapes().items() if name in self._fields}
        for name, shape in shapes.items():
            header, n_bytes = self._fields[name].header, bits.n_bytes(shape)
            if header.dtype != np.uint8 or header.shape[1:] != (n_bytes,):
                found = f"{header.dtype} {header.shape[1:]}"
                expected = f"uint8 ({n_bytes},) for the bits of {shape}"
                raise arrays.DamagedFile(f"{self.folder / part_files.PACKED}: {name} is {found}, expected {expected}")
        return shapes


def _digest(file: MappedFile, known: Mapping[str, str]) -> Mapping[str, str]:
    sha256 = known["sha256"] if known.get("identity") == file.identity else file.sha256()
    return {"identity": file.identity, "sha256": sha256}
