"""Files and folders that are there whole or not at all: written beside their place, then renamed.

A kill leaves the old one or the new one. A crash of the machine may leave the new name on an empty file, so texts, of
which some decide what is built and where a trainer goes on, are also synced to the disk: 5 ms each, measured on ext4.
Arrays are not: for the sample that would make merge and split 10 to 45 % slower, and a cut array is found, by its size
and by the digests that DVC and the next stage check, and made again.
"""

import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil


@contextmanager
def atomic(path: Path, is_synced: bool = False) -> Iterator[Path]:
    """Give a temporary path next to `path`; rename it to `path` on success, remove it on failure.

    A reader, or a run after a kill, sees the old file or the whole new one and nothing between; with `is_synced` so
    does one after a crash of the machine.
    """
    temporary = _temporary(path)
    try:
        with _full_disk_named(path):
            yield temporary
        temporary.chmod(0o644)
        if is_synced:
            _sync(temporary)
        temporary.replace(path)
        if is_synced:
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder next to `path`; put it in the place of `path` on success, else remove it."""
    temporary = _temporary(path)
    old = temporary.with_suffix(".old.tmp")
    try:
        temporary.mkdir()  # within, as a signal may come while it is made
        with _full_disk_named(path):
            yield temporary
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until the disk holds a file, or the list of a folder, as it is now."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Name the path, and how much space is left, when a write finds no room: the system's own error names neither."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename is not None:
            raise
        free = shutil.disk_usage(path.parent).free
        reason = f"{error.strerror}, {free / 1e6:,.0f} MB free; make room and run `dvc repro` again"
        raise OSError(error.errno, reason, str(path)) from None


def _temporary(path: Path) -> Path:
    """Return a name next to `path` that tells whose it is; remove what killed processes of this machine left there.

    A left-over under this very name is one too: in a container a process has the same id in every run.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(path.parent)
    temporary = path.parent / f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp"
    _remove(temporary)
    return temporary


def _remove_left_overs(folder: Path) -> None:
    for left_over in folder.glob(".*.tmp"):
        if is_of_dead_process(left_over.name.removesuffix(".tmp").removesuffix(".old")):
            _remove(left_over)


def is_of_dead_process(name: str) -> bool:
    """Say whether a name ends in this machine's and the number of a process, ``.<host>-<process>``, that is gone."""
    begin, _, process = name.rpartition("-")
    is_ours = begin.endswith(f".{socket.gethostname()}") and process.isdecimal()
    return is_ours and not _is_alive(int(process))


def _is_alive(process: int) -> bool:
    """Say whether a process still runs: one that was killed keeps its number until its parent has asked for its end."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def json_text(content: object) -> str:
    """Return `content` as the text of a JSON file."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 atomically and to the disk; leave the file alone when it already holds just that."""
    content = text.encode()
    if path.is_file() and path.read_bytes() == content:
        _remove_left_overs(path.parent)
        return
    with atomic(path, is_synced=True) as temporary:
        temporary.write_bytes(content)


def write_all(file: IO[bytes], data: bytes | memoryview) -> None:
    """Write all of `data`: an unbuffered file may take less than it is given, without an error.

    Raises
    ------
    OSError
        When the file takes nothing.
    """
    rest = memoryview(data)
    while len(rest):
        n_taken = file.write(rest)
        if not n_taken:
            raise OSError(errno.EIO, f"nothing of {len(rest):,} bytes was taken")
        rest = rest[n_taken:]


def read_fully(file: IO[bytes], data: memoryview) -> int:
    """Fill `data` from a file, which may give less than it is asked for; return the bytes that there were."""
    done = 0
    while done < len(data):
        count = file.readinto(data[done:])  # type: ignore[attr-defined]
        if not count:
            break
        done += count
    return done
