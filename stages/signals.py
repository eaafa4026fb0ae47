"""What a process of the pipeline does when it is told to stop, or when the process that started it is gone."""

import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1  # prctl(2): the signal to get when the parent dies; Linux only


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that no orphan goes on writing.

    Only Linux can do this; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGKILL)


def stop_cleanly_on_term() -> None:
    """Turn SIGTERM into an exit that still removes temporary files."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
