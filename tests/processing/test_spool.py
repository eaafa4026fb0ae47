"""Rows gathered piece by piece, in memory or on disk."""

import io
import tempfile

import numpy as np
import pytest

from stages.core import arrays
from stages.processing.spool import Spool

PIECES = [np.arange(12, dtype=np.float32).reshape(4, 3), np.empty((0, 3), np.float32), np.ones((50, 3), np.float32)]


def gather(path, limit_mb):
    with Spool(path, limit_mb) as spool:
        for number, piece in enumerate(PIECES):
            spool.append("X", piece)
            spool.append("ids", np.arange(number, dtype=np.int64))
            spool.append("turned", np.arange(6, dtype=np.int8).reshape(2, 3).T)
        spool.save()
        return spool.memory_mb


@pytest.mark.parametrize("limit_mb", [0, 100 / 2**20, 1])
def test_the_limit_does_not_change_a_byte(tmp_path, limit_mb):
    memory_mb = gather(tmp_path / "spooled.npz", limit_mb)
    turned = [np.ascontiguousarray(np.arange(6, dtype=np.int8).reshape(2, 3).T)] * 3
    ids = [np.arange(number, dtype=np.int64) for number in range(3)]
    arrays.save_npz(tmp_path / "plain.npz", {"X": PIECES, "ids": ids, "turned": turned})
    assert (tmp_path / "spooled.npz").read_bytes() == (tmp_path / "plain.npz").read_bytes()
    assert memory_mb <= limit_mb
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.npz", "spooled.npz"]


def test_its_file_has_no_name_at_any_time(tmp_path):
    """So nothing is left of it when the process is killed."""
    with Spool(tmp_path / "b.npz", 0) as spool:
        spool.append("X", np.ones((1000, 1000)))
        assert list(tmp_path.iterdir()) == []


class Short(io.FileIO):
    """A real file that takes and gives at most 1,000 bytes at a time."""

    def write(self, data):
        return super().write(memoryview(data)[:1000])

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:1000])


def test_short_writes_of_the_file_leave_no_hole(tmp_path, monkeypatch):
    """As on a network's file system, or where a signal comes."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: Short(dir / "short", "w+b"))
    rows = np.arange(4000, dtype=np.int32).reshape(1000, 4)
    with Spool(tmp_path / "b.npz", 0) as spool:
        spool.append("X", rows)
        spool.append("X", rows + 1)
        spool.save()
    assert np.array_equal(arrays.read_npz(tmp_path / "b.npz")["X"], np.concatenate([rows, rows + 1]))


def test_up_to_the_limit_pieces_stay_in_memory(tmp_path):
    with Spool(tmp_path / "b.npz", 1.5) as spool:
        for _ in range(3):
            spool.append("X", np.ones(1 << 20, np.uint8))
        assert spool.memory_mb == 1


def test_pieces_of_different_types_are_refused(tmp_path):
    with Spool(tmp_path / "b.npz", 1) as spool:
        spool.append("X", np.ones(3, np.int8))
        spool.append("X", np.ones(3, np.int16))
        with pytest.raises(TypeError, match=r"piece is int16\(3,\), expected int8"):
            spool.save()
    assert list(tmp_path.iterdir()) == []
