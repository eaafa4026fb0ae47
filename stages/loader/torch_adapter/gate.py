"""A gate that lets one at a time through, of all processes that have a copy of it.

It is a lock on a file without a name, which the system takes back from a process that ends. Workers get the file when
they are started, in whatever way; a copy that is made otherwise, such as by pickle, is a gate of its own.
"""

import fcntl
import os
import tempfile
import threading
import weakref
from contextlib import AbstractContextManager
from multiprocessing import context
from multiprocessing.reduction import DupFd
from typing import Any, Self


class Gate(AbstractContextManager["Gate"]):
    """Use it in a ``with`` statement."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        self._descriptor, self._pid = descriptor, os.getpid()
        self._threads = threading.Lock()
        weakref.finalize(self, os.close, descriptor)

    def __enter__(self) -> Self:
        self._of_threads().acquire()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()

    def _of_threads(self) -> threading.Lock:
        """Return the lock among the threads of this process: one that a fork left locked is not this process's."""
        if self._pid != os.getpid():
            self._threads, self._pid = threading.Lock(), os.getpid()
        return self._threads

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the file along to a process that is being started."""
        return (Gate, ()) if context.get_spawning_popen() is None else (_received, (DupFd(self._descriptor),))

    def __deepcopy__(self, _: object) -> "Gate":
        return Gate()


def _received(file: Any) -> Gate:
    return Gate(file.detach())
