"""What each worker is busy with, for the live display and for errors.

Every worker, a thread or a process, registers once and gets a name and a note that it may rewrite. A thread's note is
an entry of a dict; a process's is a small file that it maps into its memory, so that telling is a copy of a few bytes
(0.5 us) and no system call, and the note of a killed process can still be read.

In: `working_on`, called by the workers. Out: `ThreadNotes.read` and `ProcessNotes.read`, called by the display.
"""

import contextlib
import itertools
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

ELSEWHERE = "NOTES_DIR"  # environment variable, of a stage that runs beside others
SIZE = 512  # bytes of a process's note; longer ones are cut

_here = threading.local()


class ThreadNotes:
    """The notes of threads of this process; also in the folder that `ELSEWHERE` names, for who shows them there."""

    def __init__(self) -> None:
        self._notes: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def register(self) -> None:
        """Give this thread a name and a note."""
        name = f"worker {next(self._numbers)}"
        tell = partial(self._notes.__setitem__, name)
        place = _new_place(folder) if (folder := os.environ.get(ELSEWHERE)) else None
        _register(name, tell if place is None else partial(_tell_both, tell, partial(_write, place[1])))

    def read(self) -> Mapping[str, str]:
        """Return what each worker is working on, by its name; those that are idle are left out."""
        return {name: note for name, note in sorted(self._notes.copy().items(), key=_number) if note}


class ProcessNotes:
    """The notes of a pool of processes: a temporary folder with one file each."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="batchwise-")

    def read(self) -> Mapping[str, str]:
        """Return what each worker is working on, by its name; those that are idle are left out."""
        notes = {}
        for path in Path(self.folder).glob("worker *"):
            with contextlib.suppress(OSError):
                notes[path.name] = path.read_bytes().rstrip(b"\0").decode(errors="replace")
        return {name: note for name, note in sorted(notes.items(), key=_number) if note}

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def register_in(folder: str) -> None:
    """Give this process the first free name of `ProcessNotes.folder`; none if the pool is closed already."""
    if place := _new_place(folder):
        _register(place[0], partial(_write, place[1]))


def _new_place(folder: str) -> tuple[str, mmap.mmap] | None:
    """Return the first free name of a folder, with its file in memory; None if the folder is gone."""
    for number in itertools.count(1):
        name = f"worker {number}"
        try:
            handle = os.open(Path(folder, name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return None
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, SIZE)
        else:  # macOS; on a full disk the first note ends the process
            os.ftruncate(handle, SIZE)
        place = mmap.mmap(handle, SIZE)
        os.close(handle)
        return name, place
    return None


def _tell_both(first: Callable[[str], None], second: Callable[[str], None], note: str) -> None:
    first(note)
    second(note)


def _write(place: mmap.mmap, note: str) -> None:
    place[:] = note.encode(errors="replace")[:SIZE].ljust(SIZE, b"\0")


def _register(name: str, tell: Callable[[str], None]) -> None:
    _here.name, _here.tell = name, tell


def name_this_thread(name: str) -> None:
    """Name this thread, which has no note here."""
    _here.name = name


def working_on(what: str) -> None:
    """Tell what this thread works on, if it is registered; an empty text when it has nothing to do."""
    tell = getattr(_here, "tell", None)
    if tell is not None:
        tell(what)


def worker_name() -> str:
    """Return the name of this worker."""
    return getattr(_here, "name", "") or f"process {os.getpid()}"


def _number(entry: tuple[str, str]) -> int:
    return int(entry[0].split()[1])
