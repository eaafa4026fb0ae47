"""Every byte is written, also where the system takes less than it is given."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from stages.core import arrays, files

CONTENT = bytes(range(256)) * 8192  # 2 MB, more than a pipe holds


class Reluctant(io.RawIOBase):
    """A file that takes at most seven bytes at a time, or nothing once it holds `most`."""

    def __init__(self, most=10**9):
        self.content, self.place, self.most = bytearray(), 0, most

    def writable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self.place

    def seek(self, place, whence=0):
        self.place = place
        return place

    def write(self, data):
        taken = bytes(data)[: min(7, self.most - len(self.content))]
        self.content.extend(bytes(max(0, self.place - len(self.content))))  # a hole reads as zeros
        self.content[self.place : self.place + len(taken)] = taken
        self.place += len(taken)
        return len(taken)


def test_short_writes_leave_no_hole():
    file, rows = Reluctant(), np.arange(40, dtype=np.int32).reshape(20, 2)
    sink = arrays.ArraySink(arrays.Output(file), rows.dtype, rows.shape)
    sink.append(rows[:9])
    sink.append(rows[9:])
    sink.close()
    assert np.array_equal(np.load(io.BytesIO(file.content)), rows)


def test_short_writes_in_any_order_leave_no_hole():
    file, rows = Reluctant(), np.arange(40, dtype=np.int32).reshape(20, 2)
    sink = arrays.ArraySink(arrays.Output(file), rows.dtype, rows.shape)
    sink.put(9, rows[9:])
    sink.put(0, rows[:9])
    sink.close()
    assert np.array_equal(np.load(io.BytesIO(file.content)), rows)


def test_a_file_that_takes_nothing_is_an_error():
    with pytest.raises(OSError, match=r"nothing of 90 bytes was taken"):
        files.write_all(Reluctant(most=10), bytes(100))


def test_a_write_that_signals_interrupt_is_gone_on_with():
    """A real short write: the kernel returns early from a write to a full pipe when a signal comes."""
    read_end, write_end = os.pipe()
    received, counts = bytearray(), []

    def read_slowly():
        while chunk := os.read(read_end, 60_000):
            received.extend(chunk)
            time.sleep(0.002)

    class Counted(io.FileIO):
        def write(self, data):
            counts.append((len(data), super().write(data)))
            return counts[-1][1]

    reader = threading.Thread(target=read_slowly)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    reader.start()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        with Counted(write_end, "wb") as file:
            files.write_all(file, CONTENT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        reader.join()
        os.close(read_end)
    assert any(taken < given for given, taken in counts)
    assert bytes(received) == CONTENT


def test_a_text_is_on_the_disk_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    """The order of the calls: file, rename, folder; arrays are not waited for."""
    calls = []
    monkeypatch.setattr(files.os, "fsync", lambda number: calls.append(Path(f"/proc/self/fd/{number}").readlink()))
    files.write_text(tmp_path / "a", "text")
    assert [path.suffix for path in calls] == [".tmp", ""]
    assert calls[1] == tmp_path
    with files.atomic(tmp_path / "b") as temporary:
        temporary.write_bytes(b"")
    assert len(calls) == 2


def test_a_signal_while_the_temporary_folder_is_made_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(self, *given, mkdir=Path.mkdir, **options):
        mkdir(self, *given, **options)
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), files.atomic_dir(tmp_path / "arrays"):
        pass
    assert list(tmp_path.iterdir()) == []


KILLED_WHILE_IT_WRITES = """
import sys, time
from pathlib import Path
from stages.core import files
with files.atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("was_whole", [False, True])
def test_what_a_killed_process_left_goes_also_while_its_parent_has_not_asked_for_its_end(tmp_path, was_whole):
    path = tmp_path / "list.yaml"
    if was_whole:
        path.write_text("whole")
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the list of processes
        assert len(list(tmp_path.glob(".*.tmp"))) == 1
        files.write_text(path, "whole")
        assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "whole"


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "list.yaml"
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        files.write_text(path, "whole")
        assert len(list(tmp_path.glob(".*.tmp"))) == 1
        process.kill()


def test_what_a_machine_whose_name_begins_alike_writes_is_left_alone(tmp_path):
    """Of two that share a folder; the number is that of no process here."""
    theirs, ours = (tmp_path / f".x.{socket.gethostname()}{more}-999999999.tmp" for more in ("-1", ""))
    theirs.touch()
    ours.touch()
    files.write_text(tmp_path / "y", "")
    assert (theirs.exists(), ours.exists()) == (True, False)


def test_a_stop_between_the_old_folder_and_the_new_one_keeps_the_old_one(tmp_path, monkeypatch):
    folder, replace = tmp_path / "out", Path.replace
    folder.mkdir()
    (folder / "old").touch()

    def stopped(path, target):
        if target == folder and ".old." not in path.name:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt), files.atomic_dir(folder):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]
