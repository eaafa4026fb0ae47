"""Many pieces of a file, read with one call of the kernel.

A shuffled batch is some hundred rows from all over a file. Through mapped memory each of them is a page fault, which
maps the pages around the row as well: 3 to 14 us of CPU for a row of 5.2 kB of which the copy is 1 us, the most where
the system keeps the file in single pages. Linux's io_submit takes the list of all rows instead: 3 us a row, 0.5 us one
of 43 bytes, no page becomes this process's memory, and Python's lock is taken once a batch, not once a row.

The list is an array of ``struct iocb`` and what comes back one of ``struct io_event``, see <linux/aio_abi.h>. A context
belongs to one process (a fork does not have it) and here to one thread. Not every system has these calls or allows
them: then there is none, and rows are read through mapped memory.
"""

import ctypes
import errno
import functools
import logging
import os
import platform
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.core.arrays import DamagedFile

READ = np.dtype(
    [
        ("number", np.uint64), ("key", np.uint32), ("rw_flags", np.int32), ("opcode", np.uint16),
        ("priority", np.int16), ("file", np.uint32), ("memory", np.uint64), ("n_bytes", np.uint64),
        ("offset", np.int64), ("reserved", np.uint64), ("flags", np.uint32), ("eventfd", np.uint32),
    ]
)  # fmt: skip
DONE = np.dtype([("number", np.uint64), ("read", np.uint64), ("result", np.int64), ("result2", np.int64)])
AT_ONCE = 256  # reads of one call
CALLS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {"setup": 206, "destroy": 207, "getevents": 208, "submit": 209},
    "aarch64": {"setup": 0, "destroy": 1, "getevents": 4, "submit": 2},
}

logger = logging.getLogger("batchwise")


class ScatteredReads:
    """A context of the kernel's, for one thread of one process.

    Attributes
    ----------
    process
        The process that it belongs to.

    Raises
    ------
    OSError
        When this system has none or allows none.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._kernel = _Kernel()
        context = ctypes.c_ulong(0)
        self._kernel.call("setup", AT_ONCE, ctypes.addressof(context))
        self._context = context.value
        self._reads, self._done = np.zeros(AT_ONCE, READ), np.zeros(AT_ONCE, DONE)
        self._reads["number"] = np.arange(AT_ONCE)
        self._pointers = _address(self._reads) + READ.itemsize * np.arange(AT_ONCE, dtype=np.uint64)
        self._close = weakref.finalize(self, _destroy, self._kernel, self._context, self.process)

    @property
    def is_open(self) -> bool:
        """Whether it can be used in this process."""
        return self._close.alive and self.process == os.getpid()

    def read(self, path: Path, file: int, offsets: np.ndarray, out: np.ndarray) -> None:
        """Fill each row of an array from its place in a file.

        Parameters
        ----------
        path, file
            Name of the file, for errors, and its descriptor.
        offsets
            int64 (k,): where the bytes of each row begin.
        out
            (k, ...), in C order.

        Raises
        ------
        DamagedFile
            When the file ends before a row does.
        OSError
            When the system cannot read it.
        """
        row_bytes = out[:1].nbytes
        starts = _address(out) + row_bytes * np.arange(len(out), dtype=np.uint64)
        self._reads["file"], self._reads["n_bytes"] = file, row_bytes
        try:
            for first in range(0, len(out), AT_ONCE):
                n = min(AT_ONCE, len(out) - first)
                self._reads["memory"][:n] = starts[first : first + n]
                self._reads["offset"][:n] = offsets[first : first + n]
                self._run(n)
                self._require_whole(path, n, row_bytes)
        except BaseException:
            self._close()  # waits for reads that are under way, as their memory may go
            raise

    def _run(self, n: int) -> None:
        """Start the first `n` reads, and wait for them."""
        started = finished = 0
        while finished < n:
            if started < n:
                started += self._kernel.call("submit", self._context, n - started, _address(self._pointers[started:]))
            left = started - finished
            finished += self._kernel.call("getevents", self._context, left, left, _address(self._done[finished:]), 0)

    def _require_whole(self, path: Path, n: int, row_bytes: int) -> None:
        results = self._done["result"][:n]
        wrong = np.flatnonzero(results != row_bytes)
        if not len(wrong):
            return
        result = int(results[wrong[0]])
        if result < 0:
            raise OSError(-result, os.strerror(-result), str(path))
        offset = int(self._reads["offset"][int(self._done["number"][wrong[0]])])
        raise DamagedFile(
            f"{path}: {result} bytes from byte {offset} on, expected {row_bytes}; it was cut while it was open, "
            "run `dvc repro`"
        )


class _Kernel:
    """The system calls by name."""

    def __init__(self) -> None:
        machine = platform.machine() if platform.system() == "Linux" else ""
        if machine not in CALLS:
            raise OSError(f"no numbers of the calls for {platform.system()} on {platform.machine()}")
        self._numbers = CALLS[machine]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def call(self, name: str, *arguments: int) -> int:
        """Make a call, again where a signal broke it off; raise OSError where it fails."""
        words = [ctypes.c_long(word) for word in (self._numbers[name], *arguments)]
        while (result := int(self._syscall(*words))) < 0:
            error = ctypes.get_errno()
            if error != errno.EINTR:
                raise OSError(error, f"io_{name}: {os.strerror(error)}")
        return result


def _destroy(kernel: _Kernel, context: int, process: int) -> None:
    if process == os.getpid():
        kernel.call("destroy", context)


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


class _OfThread(threading.local):
    reads: ScatteredReads | None = None
    refused_in: int | None = None  # process


_own = _OfThread()


def of_thread() -> ScatteredReads | None:
    """Return this thread's context, which goes when the thread ends; None where the system gives none."""
    if _own.reads is not None and _own.reads.is_open:
        return _own.reads
    if _own.refused_in == os.getpid():
        return None
    try:
        _own.reads = ScatteredReads()
    except OSError as error:
        _own.reads, _own.refused_in = None, os.getpid()
        _tell(str(error))
    return _own.reads


@functools.cache
def _tell(why: str) -> None:
    logger.info("loader: rows of large files come through mapped memory, at up to 5 times the CPU: %s", why)
