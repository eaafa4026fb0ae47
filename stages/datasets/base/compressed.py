"""Files compressed with gzip or zstd, told by their names (`.gz`, `.zst`), read as what is in them, some at a time.

Everything a dataset says of such a file counts in what is in it: byte ranges, lines and digests. So a file that is
compressed anew, or at another level, changes no digest and no array.

Such a stream can be read forwards only, while the units of a file are asked for one after the other. So a stream that
was read is kept where it stopped, and the next range goes on from the nearest place before it: units in the order of
the file cost one pass. A few are kept in a process, each with its file open and its window: 32 KB of gzip, 8 MB and at
most 128 MB of zstd.
"""

import atexit
import contextlib
import gzip
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from stages.core.errors import BadUnit

MARKS: Final = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
SKIPPED_MARKS: Final = tuple(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))  # frames of zstd without content
NAMES: Final = {".gz": "gzip", ".zst": "zstd"}
LONGEST_MARK: Final = max(map(len, MARKS))
PIECE_BYTES: Final = 1 << 20
# A file of text takes a tenth to a hundredth. One that swells far more would fill the memory of whoever reads it whole.
MOST_TIMES: Final = 250
SURELY_BYTES: Final = 64 << 20  # that are read whatever they were
MOST_PAUSED: Final = 16
MOST_ALIKE: Final = 2  # at one place: a month and the rows that the next one looks back on are read by two streams


def ending(path: str) -> str:
    """Return the ending that says how a file is compressed, `.gz` or `.zst`; empty if none does."""
    tail = path[-LONGEST_MARK:].lower()
    return ".gz" if tail.endswith(".gz") else ".zst" if tail.endswith(".zst") else ""


def plain_name(path: str) -> str:
    """Return the name that a file has when it is unpacked.

    Examples
    --------
    >>> plain_name("futures/CL.csv.GZ")
    'futures/CL.csv'
    """
    return path[: len(path) - len(ending(path))]


class Unpacked:
    """What is in a compressed file, from its beginning on; `at` is the place of the next byte.

    Parameters
    ----------
    file
        The file, at its first byte; it is closed with this object.
    path
        Its path, for errors and for how it is compressed.

    Raises
    ------
    BadUnit
        When it is not so compressed, also later: when it is damaged, breaks off, or swells beyond all measure.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.at, self._file, self._path, self._kind = 0, file, path, ending(path.name)
        self._n_packed = os.fstat(file.fileno()).st_size
        self._refuse_other(file.read(4))
        file.seek(0)
        self._stream: Any = gzip.GzipFile(fileobj=file) if self._kind == ".gz" else _zstd(file)

    def _refuse_other(self, head: bytes) -> None:
        marks = (MARKS[self._kind], *(SKIPPED_MARKS if self._kind == ".zst" else ()))
        if not head.startswith(marks):
            expected = f"expected a file compressed with {NAMES[self._kind]}"
            if not head:
                raise BadUnit(f"{self._path}: empty, {expected}; fetch it again or remove it")
            cure = f"take {self._kind} off its name if it is not compressed"
            raise BadUnit(f"{self._path}: {head!r} at its beginning, {expected}; {cure}")

    def read(self, n_bytes: int = -1) -> bytes:
        """Return the next bytes, fewer only at the end; all that are left for -1."""
        if n_bytes < 0:
            return b"".join(iter(lambda: self.read(PIECE_BYTES), b""))
        pieces = list[bytes]()
        while n_bytes and (piece := self._piece(n_bytes)):
            n_bytes -= len(piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip_to(self, start: int) -> None:
        """Read on to a place behind this one, or to the end."""
        while self.at < start and self.read(min(PIECE_BYTES, start - self.at)):
            pass

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()

    def _piece(self, n_bytes: int) -> bytes:
        """Return some bytes, at most so many, none at the end."""
        try:
            piece: bytes = self._stream.read(min(n_bytes, PIECE_BYTES))
        except (EOFError, zlib.error, OSError) as error:  # the latter also from gzip and Arrow, then without a number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            why = " ".join(str(error).split())[:120]
            where = f" behind {self.at:,} bytes of content" if self.at else ""  # what was read with the fault is lost
            raise BadUnit(
                f"{self._path}: damaged or cut off{where} ({why}), expected a whole file "
                f"compressed with {NAMES[self._kind]}; fetch it again or remove it"
            ) from None
        self.at += len(piece)
        if self.at > SURELY_BYTES and self.at > MOST_TIMES * self._n_packed:
            raise BadUnit(
                f"{self._path}: more than {MOST_TIMES} times its {self._n_packed:,} bytes are in it, expected fewer; "
                "unpack it if that is right, or remove it"
            )
        return piece


def _zstd(file: BinaryIO) -> Any:
    """Return a stream of what is in a file of zstd; Arrow brings the library, and is loaded only here."""
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")


class _Identity(NamedTuple):
    """A file as it is now, in this process: a forked one shares the places of open files with its parent."""

    process: int
    path: str
    device: int
    inode: int
    n_bytes: int
    changed_ns: int


class _Paused:
    """Streams that were read up to some place, those last used at the end."""

    def __init__(self) -> None:
        self._streams: list[tuple[_Identity, Unpacked]] = []
        self._lock = threading.Lock()

    def take(self, identity: _Identity, start: int) -> Unpacked | None:
        """Return the stream of a file that is nearest before a place, None if there is none; it is kept no more."""
        with self._lock:
            before = [
                (stream.at, index)
                for index, (owner, stream) in enumerate(self._streams)
                if owner == identity and stream.at <= start
            ]
            return self._streams.pop(max(before)[1])[1] if before else None

    def keep(self, identity: _Identity, stream: Unpacked) -> None:
        """Keep a stream; of those at one place a few, and of too many the last ones."""
        with self._lock:
            n_there = sum(owner == identity and kept.at == stream.at for owner, kept in self._streams)
            if n_there < MOST_ALIKE:
                self._streams.append((identity, stream))
            gone = [self._streams.pop(0)[1] for _ in self._streams[MOST_PAUSED:]] + [stream] * (n_there >= MOST_ALIKE)
        for each in gone:
            each.close()

    def close(self) -> None:
        """Close all streams."""
        with self._lock:
            gone, self._streams = self._streams, []
        for _, stream in gone:
            stream.close()


_paused = _Paused()
atexit.register(_paused.close)


@contextlib.contextmanager
def unpacked(file: BinaryIO, path: Path, start: int) -> Iterator[Unpacked]:
    """Give what is in a compressed file, from a place in it on.

    Parameters
    ----------
    file
        The file, opened and checked; it is closed, now or with the stream that is kept.
    path
        Its path.
    start
        The place, in bytes of the content; behind its end there is nothing to read.

    Raises
    ------
    BadUnit
        As `Unpacked`, also within the block.
    """
    state = os.fstat(file.fileno())
    identity = _Identity(os.getpid(), str(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    kept = _paused.take(identity, start)
    with contextlib.ExitStack() as stack:
        stack.callback(file.close)
        if kept is None:
            kept = Unpacked(file, path)
            stack.pop_all()
    try:
        kept.skip_to(start)
        yield kept
    except BaseException:
        kept.close()
        raise
    _paused.keep(identity, kept)
