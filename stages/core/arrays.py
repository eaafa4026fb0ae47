"""Byte-stable NPZ and NPY files: written in pieces, renamed into place, read without pickle.

The format of an NPZ here (any `numpy.load` reads it):

- a zip archive whose members are `<name>.npy`, in sorted order, C order, NPY format version 1.0;
- members are stored, not deflated. For 37,000 rows of 900 small int8 values storing runs at 1.1 GB/s of CPU and
  gives the same bytes on every machine; deflate level 1 runs at 0.145 GB/s (4.7 times smaller) and level 6 at
  0.026 GB/s, and their bytes depend on the zlib build;
- its records and the NPY headers are written byte by byte, see `zip_records` and `npy_header_bytes`: no release of
  Python or NumPy shows in them, so equal arrays are equal bytes;
- the zip's CRC-32 of each member is checked on reading (4 GB/s, below the cost of the read itself).

Rows are appended piece by piece, so that no writer needs a second copy of what it holds.
"""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self

import numpy as np

from stages.core import checksum, zip_records
from stages.core.errors import ExpectedError
from stages.core.files import atomic, read_fully, write_all

NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_ALIGN = 64  # a header ends at a multiple of it
ROOM_TO_GROW = 21  # digits of the first axis that a header has room for, as NumPy's have
LOCAL_HEADER_SIZE = zip_records.LOCAL.size


class DamagedFile(ExpectedError):
    """An NPZ or NPY file that is not complete or not what was written."""


@dataclass(frozen=True)
class Header:
    """Place and type of one array in a file.

    `offset` and `n_bytes` locate the array's data; `crc` is the CRC-32 of the whole member, which starts
    `member_offset` bytes into the file.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    member_offset: int
    crc: int

    @property
    def n_bytes(self) -> int:
        """Size of the array's data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header_bytes(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Return the header of an array in C order, NPY format version 1.0, as NumPy 2.4 writes it.

    References
    ----------
    NumPy Enhancement Proposal 1. It leaves the text of the header open; this one is fixed.
    """
    head = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (ROOM_TO_GROW - len(str(shape[0] if shape else 0)))
    length = len(NPY_MAGIC) + 2 + len(head) + 1
    padded = head + " " * (-length % NPY_ALIGN) + "\n"
    return NPY_MAGIC + struct.pack("<H", len(padded)) + padded.encode("latin-1")


class Output:
    """An open binary file of which every byte is written, and the CRC-32 of what was written since it began.

    A system may write less than it was given, when a signal comes, a quota is near or the file system is a network's.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.start = file.tell()
        self.n_written = 0
        self.crc = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data` at the present place."""
        write_all(self._file, data)
        self.n_written += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write all of `data`, `offset` bytes behind the start."""
        self._file.seek(self.start + offset)
        write_all(self._file, data)
        self.n_written += len(data)


class ArraySink:
    """Append the pieces of one array, whose shape is known, to an open binary file.

    Parameters
    ----------
    output
        Where the NPY header and then the pieces go.
    dtype, shape
        Of the whole array; each piece must have this dtype and the shape after its first axis.
    """

    def __init__(self, output: Output, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._output, self._dtype, self._shape, self._n_rows = output, dtype, shape, 0
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])
        header = npy_header_bytes(dtype, shape)
        self._header_bytes = len(header)
        output.write(header)

    @property
    def crc(self) -> int:
        """The CRC-32 of header and rows so far, where all rows were appended."""
        return self._output.crc

    def append(self, piece: np.ndarray) -> None:
        """Add the rows of `piece`."""
        self._check(piece)
        self._output.write(_bytes_of(np.ascontiguousarray(piece)))

    def put(self, row: int, piece: np.ndarray) -> None:
        """Write the rows of `piece` from row `row` on; each row once, in any order, on a file that can seek."""
        self._check(piece)
        self._output.write_at(self._header_bytes + row * self._row_bytes, _bytes_of(np.ascontiguousarray(piece)))

    def _check(self, piece: np.ndarray) -> None:
        if piece.dtype != self._dtype or piece.shape[1:] != self._shape[1:]:
            raise TypeError(f"piece is {piece.dtype}{piece.shape}, expected {self._dtype}(n, *{self._shape[1:]})")
        self._n_rows += len(piece)

    def close(self) -> None:
        """Check that all rows came, and all of their bytes went."""
        if self._n_rows != self._shape[0]:
            raise ValueError(f"{self._n_rows} rows were written, expected {self._shape[0]}")
        expected = self._header_bytes + self._n_rows * self._row_bytes
        if self._output.n_written != expected:
            raise ValueError(f"{self._output.n_written} bytes were written, expected {expected}")


@contextmanager
def npy_sink(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> Iterator[ArraySink]:
    """Open a .npy file of a known shape for appending; its disk space is reserved first."""
    with path.open("wb", buffering=0) as file:
        sink = ArraySink(Output(file), dtype, shape)
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes:
            _reserve(file, path, n_bytes)
        yield sink
        sink.close()
        if file.seek(0, os.SEEK_END) != npy_size(dtype, shape):
            raise ValueError(f"{path}: {file.tell()} bytes, expected {npy_size(dtype, shape)}")


def npy_size(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """Return the bytes of a .npy file."""
    return len(npy_header_bytes(dtype, shape)) + math.prod(shape) * dtype.itemsize


def _reserve(file: IO[bytes], path: Path, n_bytes: int) -> None:
    """Reserve disk space behind the header: a full disk shows before the work, and writing costs half the CPU."""
    if not hasattr(os, "posix_fallocate"):  # macOS: a full disk shows while the rows are written
        return
    try:
        os.posix_fallocate(file.fileno(), file.tell(), n_bytes)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}, {n_bytes / 1e6:,.0f} MB needed", str(path)) from None


class NpzWriter:
    """Write an NPZ member by member; give the members in sorted order.

    Use it in a ``with`` statement on the path that `atomic` gives. Behind that, `crc` is the CRC-32 of the whole file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._members: list[zip_records.Member] = []
        self.crc = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                directory = zip_records.directory(self._members, self._file.tell())
                write_all(self._file, directory)
                self.crc = zlib.crc32(directory, self.crc)

    @contextmanager
    def member(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Iterator[ArraySink]:
        """Open the array `name` for appending; its checksum is put before it at the end."""
        file = self._file
        member = zip_records.Member(f"{name}.npy".encode(), file.tell(), npy_size(dtype, shape))
        write_all(file, zip_records.local_header(member))
        output = Output(file)
        sink = ArraySink(output, dtype, shape)
        yield sink
        sink.close()
        end, member = file.tell(), replace(member, crc=output.crc)
        header = zip_records.local_header(member)
        file.seek(member.offset)
        write_all(file, header)
        file.seek(end)
        self._members.append(member)
        self.crc = checksum.joined(zlib.crc32(header, self.crc), member.crc, member.size)


def save_npz(path: Path, members: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Save arrays, each given as the pieces that make it up along its first axis, atomically.

    Parameters
    ----------
    path
        The .npz file to make or replace.
    members
        Per name at least one piece; all pieces of a name have one dtype and one shape after the first axis.
    """
    with atomic(path) as temporary, NpzWriter(temporary) as writer:
        for name, pieces in sorted(members.items()):
            shape = (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])
            with writer.member(name, pieces[0].dtype, shape) as sink:
                for piece in pieces:
                    sink.append(piece)


def npz_headers(path: Path) -> dict[str, Header]:
    """Return the header of every array of an NPZ without reading its data.

    Raises
    ------
    DamagedFile
        When the file is missing, cut short, not an NPZ, compressed, or holds pickled objects.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _member_headers(file, archive.infolist())
    except FileNotFoundError:
        raise DamagedFile(f"{path}: not found, expected a batch's arrays; run `dvc repro`") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OSError) as error:
        raise DamagedFile(f"{path}: not a complete NPZ ({error}); remove it and run `dvc repro`") from None


def _member_headers(file: IO[bytes], members: Sequence[zipfile.ZipInfo]) -> dict[str, Header]:
    headers = {info.filename.removesuffix(".npy"): _member_header(file, info) for info in members}
    if sum(info.file_size for info in members) > os.fstat(file.fileno()).st_size:
        raise ValueError("its members lie over each other")
    return headers


def _member_header(file: IO[bytes], info: zipfile.ZipInfo) -> Header:
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"member {info.filename} is compressed, expected stored")
    file.seek(info.header_offset)
    name_size, extra_size = struct.unpack_from("<HH", file.read(LOCAL_HEADER_SIZE), 26)
    if file.read(name_size) != info.orig_filename.encode():
        raise ValueError(f"member {info.filename} has another name in its own header")
    member_offset = info.header_offset + LOCAL_HEADER_SIZE + name_size + extra_size
    file.seek(member_offset)
    dtype, shape = _read_npy_header(file)
    header = Header(dtype, shape, file.tell(), member_offset, info.CRC)
    if member_offset + info.file_size > os.fstat(file.fileno()).st_size:
        raise ValueError(f"member {info.filename} claims {info.file_size} bytes, more than the file has")
    if header.offset + header.n_bytes != member_offset + info.file_size:
        raise ValueError(f"member {info.filename} has {info.file_size} bytes, which its shape contradicts")
    return header


def _read_npy_header(file: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"NPY version is {version}, expected (1, 0)")
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except (SyntaxError, TypeError, tokenize.TokenError) as error:
        raise ValueError(f"NPY header is not readable: {error}") from None
    if fortran_order or dtype.hasobject:
        raise ValueError("an array is in Fortran order or holds Python objects")
    if not shape or min(shape) < 0 or dtype.itemsize == 0:
        raise ValueError(f"an array is {dtype}{shape}, expected rows of at least a byte")
    return dtype, shape


def read_member(path: Path, header: Header) -> np.ndarray:
    """Return one array of an NPZ, its checksum checked.

    Raises
    ------
    DamagedFile
        When the file ends early or the bytes are not those that were written.
    """
    chunks = list(member_chunks(path, header, max(1, header.shape[0])))
    return chunks[0] if chunks else np.empty(header.shape, header.dtype)


def read_npz(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Return all arrays of an NPZ, or some of them, each with its checksum checked.

    Raises
    ------
    DamagedFile
        When the file is missing or not what was written.
    """
    headers = npz_headers(path)
    return {name: read_member(path, headers[name]) for name in (headers if names is None else names)}


def member_chunks(path: Path, header: Header, chunk_rows: int) -> Iterator[np.ndarray]:
    """Yield the rows of one array of an NPZ in order, at most `chunk_rows` at a time, in a buffer that is used again.

    The checksum is known after the last chunk only, so what was made of the chunks must not outlive a failure.

    Raises
    ------
    DamagedFile
        When the file ends early or the bytes are not those that were written.
    """
    return _chunks(path, header, chunk_rows, header.crc)


def _chunks(path: Path, header: Header, chunk_rows: int, crc: int | None) -> Iterator[np.ndarray]:
    """Yield the rows of an array as `member_chunks` does; compare them with the CRC-32 of header and data, if given."""
    n_rows = header.shape[0]
    buffer = np.empty((min(chunk_rows, n_rows), *header.shape[1:]), header.dtype)
    with path.open("rb", buffering=0) as file:
        file.seek(header.member_offset)
        head = bytearray(header.offset - header.member_offset)
        read_fully(file, memoryview(head))
        found = zlib.crc32(head)
        for start in range(0, n_rows, chunk_rows):
            chunk = buffer[: n_rows - start]
            data = _bytes_of(chunk)
            if read_fully(file, data) != len(data):
                raise DamagedFile(f"{path}: ends early; remove it and run `dvc repro`")
            if crc is not None:
                found = zlib.crc32(data, found)
            yield chunk
    if crc not in (None, found):
        raise DamagedFile(f"{path}: checksum does not match what was written; `make verify` says what to type")


def npy_header(path: Path) -> Header:
    """Return the header of a .npy file.

    Raises
    ------
    DamagedFile
        When the file is missing, not NPY, or its size is not what its shape needs.
    """
    try:
        with path.open("rb") as file:
            dtype, shape = _read_npy_header(file)
            header = Header(dtype, shape, file.tell(), 0, 0)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise DamagedFile(f"{path}: not found; run `dvc repro`") from None
    except ValueError as error:
        raise DamagedFile(f"{path}: not a .npy file ({error}); remove it and run `dvc repro`") from None
    if size != header.offset + header.n_bytes:
        raise DamagedFile(f"{path}: {size} bytes, expected {header.offset + header.n_bytes}; remove it, `dvc repro`")
    return header


def npy_chunks(path: Path, chunk_rows: int, crc: int | None = None) -> Iterator[np.ndarray]:
    """Yield the rows of a .npy file in order, at most `chunk_rows` at a time, in a buffer that is used again.

    Files are read, not mapped: mapped pages of a large array would count as this process's memory.

    Parameters
    ----------
    path, chunk_rows
        The file, and most rows of a chunk.
    crc
        CRC-32 of the file as it was written, if it is known: checked behind the last chunk as by `member_chunks`.
    """
    yield from _chunks(path, npy_header(path), chunk_rows, crc)


def _bytes_of(array: np.ndarray) -> memoryview:
    """Return the memory of a C-contiguous array as bytes."""
    return array.reshape(-1).view(np.uint8).data
