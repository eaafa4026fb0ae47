"""One feature of a part, as a trainer reads it, whether its values lie there standardised or as they were merged."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import arrays
from stages.core.standardise import DTYPE, Standard

Place = tuple[Path, arrays.Header]


@dataclass(frozen=True)
class Feature:
    """Where the rows of a feature lie, and what makes a trainer's values of them.

    Attributes
    ----------
    path, header
        The file, and dtype and shape of what is stored.
    standard
        What standardises the rows; None where they are stored as a trainer reads them.
    valid
        With `standard` the array that says which rows are valid, uint8 (N,); None where all are.
    """

    path: Path
    header: arrays.Header
    standard: Standard | None = None
    valid: Place | None = None

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the values that a trainer reads."""
        return DTYPE if self.standard else self.header.dtype

    def chunks(self, chunk_rows: int) -> Iterator[np.ndarray]:
        """Yield the rows in order, at most `chunk_rows` at a time, in a buffer that is used again.

        Raises
        ------
        DamagedFile
            When a file is not complete.
        """
        stored = arrays.npy_chunks(self.path, chunk_rows)
        if self.standard is None:
            yield from stored
            return
        buffer = np.empty((min(chunk_rows, self.header.shape[0]), *self.header.shape[1:]), DTYPE)
        for rows, is_valid in zip(stored, self._flags(chunk_rows), strict=False):  # without end where all are valid
            yield self.standard.apply(rows, is_valid, buffer[: len(rows)])

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows; they are read one by one, so that no page of a large file counts as this process's memory.

        Parameters
        ----------
        rows
            int64 (k,): their numbers.

        Returns
        -------
        numpy.ndarray
            (k, ...), read-only where it is as stored.
        """
        row_bytes = self.header.n_bytes // max(1, self.header.shape[0])
        with self.path.open("rb") as file:
            pieces = []
            for row in rows.tolist():
                file.seek(self.header.offset + row * row_bytes)
                pieces.append(file.read(row_bytes))
        stored = np.frombuffer(b"".join(pieces), self.header.dtype).reshape(len(rows), *self.header.shape[1:])
        if self.standard is None:
            return stored
        is_valid = None if self.valid is None else arrays.read_member(*self.valid)[rows].astype(bool)
        return self.standard.apply(stored, is_valid)

    def _flags(self, chunk_rows: int) -> Iterator[np.ndarray | None]:
        if self.valid is None:
            return itertools.repeat(None)
        return (rows.astype(bool) for rows in arrays.member_chunks(*self.valid, chunk_rows))
