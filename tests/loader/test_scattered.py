"""Rows read by one call of the kernel are those of the file, in any thread and process, and failures are said."""

import errno
import gc
import logging
import multiprocessing
import os
import threading
import weakref

import numpy as np
import pytest

from stages.core import arrays
from stages.core.arrays import DamagedFile
from stages.loader import PartArrays, mapped_file, scattered
from stages.loader.mapped_file import MappedArray, MappedFile
from tests.helpers.loader_parts import N_ROWS, WINDOW, write_part

ROWS = np.random.default_rng(1).permutation(N_ROWS)


@pytest.fixture
def array(tmp_path):
    """Give an array of 1,000 rows in a file that does not keep its pages."""
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(1).standard_normal((N_ROWS, 3, 5)))
    file = MappedFile(path)
    file.keeps = False
    return MappedArray(file, arrays.npy_header(path))


@pytest.fixture
def refused(monkeypatch):
    """Let the system have none of the calls."""
    monkeypatch.setattr(scattered, "CALLS", {})
    monkeypatch.setattr(scattered, "_own", scattered._OfThread())
    scattered._tell.cache_clear()


def require_equal(array):
    for window in (None, WINDOW):
        rows = ROWS[N_ROWS - (window or 1) >= ROWS]
        expected = np.stack([array.values[row : row + window] if window else array.values[row] for row in rows])
        found = array.gather(rows, window)
        assert found.dtype == expected.dtype
        assert found.flags.writeable
        assert np.array_equal(found, expected)


def test_rows_and_windows_are_those_of_the_file(array):
    """More than one call takes."""
    assert len(ROWS) > scattered.AT_ONCE
    assert scattered.of_thread() is not None
    require_equal(array)
    assert array.gather(ROWS[:0]).shape == (0, 3, 5)
    assert array.gather(ROWS[:0], 2).shape == (0, 2, 3, 5)


def test_a_system_without_the_calls_reads_the_same_and_says_so(array, refused, caplog):
    with caplog.at_level(logging.INFO, "batchwise"):
        require_equal(array)
        require_equal(array)
    assert scattered.of_thread() is None
    (record,) = caplog.records
    assert "rows of large files come through mapped memory" in record.message


def test_members_that_are_not_aligned_are_read(tmp_path):
    """A member of an NPZ begins at any byte: kept, read by the kernel, and touched."""
    with (tmp_path / "odd").open("wb") as file:
        file.write(b"?" + np.arange(40, dtype=np.int64).tobytes())
    header = arrays.Header(np.dtype(np.int64), (40,), 1, 1, 0)
    odd = MappedArray(MappedFile(tmp_path / "odd"), header)
    for keeps in (True, False):
        odd.file.keeps = keeps
        assert odd.gather(np.array([39, 0, 7])).tolist() == [39, 0, 7]


@pytest.mark.parametrize(("rows", "window"), [([0, N_ROWS], None), ([-1], None), ([0, N_ROWS - 1], 2)])
def test_rows_outside_are_refused(array, rows, window):
    with pytest.raises(IndexError, match=r"x.npy: row -?\d+ of 1000, expected 0 to 99\d"):
        array.gather(np.array(rows), window)


def test_a_file_that_is_cut_is_named_and_the_next_one_read(array, tmp_path):
    with array.file.path.open("r+b") as file:
        file.truncate(array.header.offset + 10 * 120 + 50)
    with pytest.raises(DamagedFile, match=r"x.npy: 50 bytes from byte 1328 on, expected 120; it was cut"):
        array.gather(np.array([0, 10, 3]))
    assert array.gather(np.array([9, 0])).shape == (2, 3, 5)


def test_failures_of_the_system_are_raised(array):
    reads = scattered.of_thread()
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        reads.read(array.file.path, 10**6, np.array([0]), np.empty((1, 3)))
    assert raised.value.errno == errno.EBADF
    assert scattered.of_thread() is not reads


def child(array, queue):
    queue.put(array.gather(ROWS))


def test_a_forked_process_has_its_own(array):
    """It does not get that of the process that it comes from, whose reads go on."""
    expected = array.gather(ROWS)
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    process = fork.Process(target=child, args=(array, queue))
    process.start()
    assert np.array_equal(queue.get(), expected)
    process.join()
    assert process.exitcode == 0
    assert np.array_equal(array.gather(ROWS), expected)


def test_that_of_a_thread_goes_with_it(array):
    known = []

    def work():
        array.gather(ROWS)
        known.append(weakref.ref(scattered.of_thread()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert known[0]() is None


def test_files_are_closed_with_their_part(tmp_path):
    folder = write_part(tmp_path / "toy")
    PartArrays(folder, "train").read(ROWS)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        PartArrays(folder, "train").read(ROWS)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_small_files_keep_their_pages(tmp_path, monkeypatch):
    source = PartArrays(write_part(tmp_path / "toy"), "train")
    assert all(file.keeps for file in source.files)
    monkeypatch.setattr(mapped_file, "KEPT_MB", 0)
    assert not any(file.keeps for file in PartArrays(tmp_path / "toy", "train").files)
