"""What a process of the pipeline does when it is told to stop, or when the process that started it is gone."""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self

SHOW_CURSOR = "\x1b[?25h"
SAME_STOP_S = 1.0  # in which a second signal is taken for the first one, passed on by a shell or make
PR_SET_PDEATHSIG = 1  # prctl(2): the signal to get when the parent dies; Linux only


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent dies, so that no orphan goes on writing.

    Only Linux can do this; elsewhere nothing happens.

    Parameters
    ----------
    parent
        Process id of the parent, if known. It may have died before this call; without its id, a parent in another
        session is taken for the one that adopts orphans.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if _is_orphan(parent):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_orphan(parent: int | None) -> bool:
    if parent is not None:
        return os.getppid() != parent
    try:
        return os.getsid(os.getppid()) != os.getsid(0)
    except ProcessLookupError:
        return True


def die_with_dvc() -> None:
    """Make a stage's process die with the DVC that runs it, so that the next run does not meet a second writer.

    DVC runs commands in a shell. bash and zsh become the command; dash stays between the two, so that DVC is not the
    parent but the parent's parent.
    """
    die_with_parent()
    if not hasattr(os, "pidfd_open"):
        return
    try:
        shell = Path("/proc", str(os.getppid()))
        is_between = shell.joinpath("cmdline").read_bytes().split(b"\0")[-3:-2] == [b"-c"]
        dvc = int(shell.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        if not is_between:
            return
        if os.getsid(dvc) != os.getsid(0):  # it died in between, and another process adopted the shell
            os.kill(os.getpid(), signal.SIGKILL)
        watched = os.pidfd_open(dvc)
    except OSError:  # the shell is gone, and the kernel kills this process; or there is no /proc
        return
    threading.Thread(target=_die_with, args=(watched,), daemon=True).start()


def _die_with(watched: int) -> None:
    select.select([watched], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int) -> int:
    """End the process at once if worker threads still run, which Python would wait for; else return `code`.

    The main thread has unwound by now: temporary files are gone, and what the threads make is nobody's.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    if any(not thread.daemon for thread in others):
        end_now(code)
    return code


def end_now(code: int) -> NoReturn:
    """End the process without unwinding; a live display may have hidden the terminal's cursor, so show it."""
    with contextlib.suppress(OSError):  # the terminal was closed
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def stop_cleanly_on_term() -> None:
    """Turn SIGTERM, and SIGHUP of a closed terminal, into an exit that still removes temporary files.

    Under `nohup` SIGHUP is ignored, and stays so.
    """
    signal.signal(signal.SIGTERM, _exit)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _exit)


class HeldBack:
    """Signals to stop, held back in a ``with`` block until the work in it stands where it can be gone on with.

    The block looks at `is_asked` now and then and calls `obey`, which is done at its end too, also when it fails. A
    second Ctrl-C stops at once, and so does another signal, unless it is the first one that somebody passes on.

    Attributes
    ----------
    number
        The signal that came, None for none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def obey(self) -> NoReturn:
        """Stop as the signal would have, as SIGTERM where none came to this process itself.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Always.
        """
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + (self.number or signal.SIGTERM))

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.is_asked and (kind is None or issubclass(kind, Exception)):
            self.obey()

    def _hold(self, number: int, frame: FrameType | None) -> None:
        is_same_stop = number != signal.SIGINT and time.monotonic() - self._since < SAME_STOP_S
        if self.is_asked and not is_same_stop:
            self.obey()
        if not self.is_asked:
            self.number, self._since = number, time.monotonic()


def _exit(number: int, frame: FrameType | None) -> None:
    """Exit; the same stop may come once more, from a shell or make that passes it on, and does not end the clean-up."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) == _exit:
            signal.signal(each, _pass)
    raise SystemExit(128 + number)


def _pass(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike `SIG_IGN` no process inherits it."""
