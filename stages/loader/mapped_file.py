"""A file of processed arrays, and rows or windows gathered from it.

Files are mapped (the pipeline replaces files and never changes one in place), also the members of an NPZ, which are
stored as they are. So nothing is loaded, and arrays stay whole when the pipeline puts a new folder in the place of this
one. A mapped page that was touched counts as this process's memory: small files keep theirs, up to `KEPT_MB` in all.
Rows of the others are read by `scattered`; where the system does not have that, they are touched as well, and their
pages given back after every few rows, to the system's cache, where the next touch finds them.
"""

import hashlib
import math
import mmap
import os
import weakref
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import arrays
from stages.loader import scattered
from stages.processed import windows
from stages.processed.features import Place

KEPT_MB = 256  # a row of a file that is kept costs 0.1 to 0.4 us, of another one 1 us more
CHUNK_BYTES = 32 << 20  # mapped at once of a file that gives its pages back
FAULT_BYTES = 2 << 20  # Linux maps up to this much around a touched row (measured: all of a huge page of the cache)
HASH_BYTES = 16 << 20


class MappedFile:
    """The bytes of one file, mapped.

    Attributes
    ----------
    keeps
        Whether touched pages stay this process's memory.
    descriptor
        Of the open file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.keeps = path, True
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        stat = os.fstat(self.descriptor)
        self.pages = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        self.n_bytes = stat.st_size
        self.identity = f"{stat.st_dev}-{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"

    def array(self, header: arrays.Header) -> np.ndarray:
        """Return one array of the file as a view."""
        n_items = header.n_bytes // header.dtype.itemsize
        return np.frombuffer(self.pages, header.dtype, n_items, header.offset).reshape(header.shape)

    def give_back(self) -> None:
        """Leave the touched pages to the system's cache."""
        if not self.keeps:
            self.pages.madvise(mmap.MADV_DONTNEED)

    def sha256(self) -> str:
        """Return the SHA-256 of all bytes."""
        digest = hashlib.sha256()
        for piece in self._pieces():
            digest.update(piece)
        return digest.hexdigest()

    def crc32(self) -> int:
        """Return the CRC-32 of all bytes."""
        crc = 0
        for piece in self._pieces():
            crc = zlib.crc32(piece, crc)
        return crc

    def _pieces(self) -> Iterator[memoryview]:
        with memoryview(self.pages) as data:
            for start in range(0, self.n_bytes, HASH_BYTES):
                with data[start : start + HASH_BYTES] as piece:
                    yield piece
                self.give_back()


@dataclass(frozen=True)
class MappedArray:
    """One array of a file: its dtype, shape and place are in `header`."""

    file: MappedFile
    header: arrays.Header

    @property
    def values(self) -> np.ndarray:
        """The whole array, as a view."""
        # No cached_property: until Python 3.12 it takes a lock, which a fork from another thread leaves locked.
        found: np.ndarray | None = self.__dict__.get("_values")
        if found is None:
            found = self.__dict__["_values"] = self.file.array(self.header)
        return found

    def gather(self, rows: np.ndarray, window: int | None = None) -> np.ndarray:
        """Return some rows, or the windows that begin with them, in memory of their own.

        Parameters
        ----------
        rows
            int64 (k,): their numbers.
        window
            Rows of a window; None is rows.

        Returns
        -------
        ndarray
            (k, ...), or (k, window, ...).

        Raises
        ------
        IndexError
            When there is no such row or window.
        DamagedFile
            When the file was cut since it was opened.
        """
        if self.file.keeps:
            return _taken(self.values, rows) if window is None else self._windows(rows, window)
        reads = scattered.of_thread()
        return self._touched(rows, window) if reads is None else self._read(reads, rows, window)

    def _windows(self, rows: np.ndarray, window: int) -> np.ndarray:
        """Return windows of a file that keeps its pages; each is one item to NumPy, which halves the time."""
        n_rows, *shape = self.header.shape
        row_bytes = self.header.dtype.itemsize * math.prod(shape)
        n_windows = max(0, n_rows - window + 1)
        whole = np.ndarray(
            (n_windows,), f"V{row_bytes * window}", self.file.pages, self.header.offset, strides=(row_bytes,)
        )
        return whole[rows].view(self.header.dtype).reshape(len(rows), window, *shape)

    def _read(self, reads: scattered.ScatteredReads, rows: np.ndarray, window: int | None) -> np.ndarray:
        out = np.empty((len(rows), *([window] if window else ()), *self.header.shape[1:]), self.header.dtype)
        if not out.size:
            return out
        first, last, most = int(rows.min()), int(rows.max()), self.header.shape[0] - (window or 1)
        if first < 0 or last > most:
            wrong = first if first < 0 else last
            raise IndexError(f"{self.file.path}: row {wrong} of {self.header.shape[0]}, expected 0 to {most}")
        row_bytes = self.header.n_bytes // self.header.shape[0]
        reads.read(self.file.path, self.file.descriptor, self.header.offset + rows * row_bytes, out)
        return out

    def _touched(self, rows: np.ndarray, window: int | None) -> np.ndarray:
        """Return rows of a file that gives its pages back."""
        values = self.values if window is None else windows.view(self.values, window)
        out = np.empty((len(rows), *values.shape[1:]), values.dtype)
        step = max(1, CHUNK_BYTES // (out[:1].nbytes + FAULT_BYTES))
        for start in range(0, len(rows), step):
            out[start : start + step] = values[rows[start : start + step]]
            self.file.give_back()
        return out


def _taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array; ``take`` is three times as fast for short rows, but copies an unaligned array first."""
    return values.take(rows, axis=0) if values.flags.aligned else values[rows]


Found = tuple[MappedFile, arrays.Header]
Mapped = tuple[MappedFile, np.ndarray]


def mapped(places: Mapping[str, Place]) -> dict[str, Found]:
    """Map the files of some arrays, each once; the members of an NPZ share its mapping."""
    files = {path: MappedFile(path) for path in {path for path, _ in places.values()}}
    return {name: (files[path], header) for name, (path, header) in places.items()}


def keep_small(files: Iterable[MappedFile]) -> None:
    """Let the smallest of some files keep their touched pages, up to `KEPT_MB` in all."""
    total = 0
    for file in sorted(files, key=lambda file: file.n_bytes):
        total += file.n_bytes
        file.keeps = total <= KEPT_MB << 20
