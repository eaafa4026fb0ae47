"""Batch sizes that follow memory."""

import numpy as np
import pytest

from stages.loader import Adaptive, Settings, batches
from stages.loader.sizes import Sizes, next_size
from stages.runtime import memory
from tests.helpers.loader_parts import N_ROWS, WINDOW, flat, rows_of, write_part

BOUNDS = Adaptive(least=2, most=40, limit_mb=100)


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))


def test_sizes_follow_memory_within_their_bounds():
    """A fifth less over the limit, a fifth more below 70 % of it, and from 1 on it does grow."""
    assert [next_size(size, 101, 100, BOUNDS) for size in (40, 10, 3, 2)] == [32, 8, 2, 2]
    assert [next_size(size, 69, 100, BOUNDS) for size in (2, 4, 10, 39)] == [3, 5, 12, 40]
    assert [next_size(size, used, 100, BOUNDS) for size in (2, 40) for used in (70, 100)] == [2, 2, 40, 40]
    assert next_size(1, 0, 100, Adaptive(1, 9)) == 2


def test_a_changing_size_changes_neither_samples_nor_order(folder, monkeypatch):
    """Only how many travel together."""
    used = iter([0] * 6 + [200] * 500)
    monkeypatch.setattr("stages.loader.sizes._used_mb", lambda: next(used))
    monkeypatch.setattr(memory, "SAMPLE_S", 0)
    monkeypatch.setattr("stages.loader.sizes.REST_SHARE", 0)
    seen = rows_of(batches(folder, "train", Settings(batch_size=10, shuffle_seed=5, adaptive=BOUNDS)))
    assert [len(rows) for rows in seen][:12] == [12, 14, 16, 19, 22, 26, 20, 16, 12, 9, 7, 5]
    assert flat(seen) == flat(rows_of(batches(folder, "train", Settings(shuffle_seed=5))))


def test_memory_is_not_measured_for_every_batch():
    """And is that of this process tree under its budget."""
    calls = []
    sizes = Sizes(10, None, lambda: calls.append(1) or 1.0)
    assert [sizes.next() for _ in range(100)] == [10] * 100
    assert len(calls) == 1
    real = Sizes(10, None)
    real.next()
    assert 10 < real.used_mb < memory.budget_mb()
