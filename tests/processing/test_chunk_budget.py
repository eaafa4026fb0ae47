"""Chunks as large, and as many in flight, as the memory budget allows."""

from dataclasses import dataclass

import pytest

from stages.core.errors import ExpectedError
from stages.core.units import Source, Unit
from stages.processing.chunk_budget import FIRST_EXPANSION, MARGIN, Pacer, room_mb
from stages.processing.chunks import Chunk
from stages.runtime.memory import Usage

NOW = Usage(50.0, 50.0, 0.0)


@dataclass
class Memory:
    """What a watch would measure."""

    budget_mb: float = 1000.0
    estimate_mb: float = 50.0
    peak_mb: float = 50.0
    usage: Usage = NOW

    def take_peak_mb(self):
        return self.peak_mb


@dataclass
class Team:
    """Some workers."""

    n_workers: int = 2
    memory_mb: float = 0.0


def pacer(sizes_mb, folder, memory=None, most_units=4, room=1000.0, team=None, dataset="skeleton"):
    """Return a pacer for files of these sizes, which are all holes."""
    for number, size in enumerate(sizes_mb):
        with (folder / f"{number}.csv").open("wb") as file:
            file.truncate(round(size * 2**20))
    chosen = [Unit(f"{number}.csv", (Source(f"{number}.csv"),), "") for number in range(len(sizes_mb))]
    whole = Chunk(dataset, folder, {}, chosen, 0, 0.0)
    return Pacer(whole, most_units, team or Team(), memory or Memory(), room)


def keys(chunks):
    return [[unit.key.removesuffix(".csv") for unit in chunk.units] for chunk in chunks]


def test_chunks_hold_all_units_in_order(tmp_path):
    chunks = list(pacer([0.1] * 10, tmp_path))
    assert keys(chunks) == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert [chunk.first for chunk in chunks] == [0, 4, 8]
    assert [round(chunk.raw_mb, 3) for chunk in chunks] == [0.4, 0.4, 0.2]


def test_a_chunk_needs_at_most_half_of_the_room(tmp_path):
    room = 2 * 3.5 * FIRST_EXPANSION
    assert keys(pacer([1] * 7, tmp_path, room=room)) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_a_unit_too_large_for_half_of_the_room_is_a_chunk_of_its_own(tmp_path):
    assert keys(pacer([1, 9, 1], tmp_path, room=4 * FIRST_EXPANSION)) == [["0"], ["1"], ["2"]]


def test_a_unit_larger_than_the_budget_is_refused_by_name_before_it_is_read(tmp_path):
    chunks = iter(pacer([1, 960, 1], tmp_path, room=700))
    assert keys([next(chunks)]) == [["0"]]
    with pytest.raises(ExpectedError, match=r"1\.csv: 1\.csv needs more than its 960 MB.* at most 950 MB.*MEMORY_GB"):
        next(chunks)


def test_room_is_for_what_was_measured_not_for_the_first_guess(tmp_path):
    memory = Memory()
    here = pacer([1] * 40, tmp_path, memory, most_units=1, room=2 * FIRST_EXPANSION)
    chunks = iter(here)
    next(chunks), next(chunks)
    third = next(chunks)
    assert not here.has_room(third)
    memory.peak_mb = 50 + 20  # the two chunks of 1 MB in work needed 10 times as much
    here.done(held_mb=0)
    assert here.expansion == pytest.approx(10 * MARGIN)
    n_fit = int(2 * FIRST_EXPANSION / here.expansion)
    for _ in range(n_fit - 1):  # one of the two is still in flight
        assert here.has_room(third)
        next(chunks)
    assert not here.has_room(third)


def test_results_that_are_held_are_no_expansion(tmp_path):
    memory = Memory()
    here = pacer([1] * 40, tmp_path, memory)
    chunks = iter(here)
    next(chunks), next(chunks)
    memory.peak_mb = 50 + 40
    here.done(held_mb=400)
    expansion = here.expansion
    next(chunks)
    memory.peak_mb = 50 + 400 + 40
    here.done(held_mb=400)
    assert here.expansion == expansion


def test_there_is_no_room_when_memory_is_in_use_already(tmp_path):
    """What allocators keep, and what others of the tree take, is in no plan."""
    memory = Memory()
    here = pacer([0.01] * 40, tmp_path, memory)
    chunk = next(iter(here))
    assert here.has_room(chunk)
    memory.estimate_mb = 799
    assert not here.has_room(chunk)


def test_worker_processes_take_from_the_room(tmp_path):
    for taken, n_units in ((0, 4), (6, 2)):
        here = pacer([1] * 9, tmp_path, room=10 * FIRST_EXPANSION, team=Team(2, taken * FIRST_EXPANSION))
        assert len(next(iter(here)).units) == n_units


def test_an_error_can_say_what_is_in_work(tmp_path):
    here = pacer([1] * 5, tmp_path)
    assert here.doing() == ""
    list(here)
    assert here.doing() == " with 0.csv and 4 others in work (5.0 MB raw)"
    here.done(0)
    assert here.doing() == " with 4.csv in work (1.0 MB raw)"


def test_room_is_what_the_target_leaves():
    assert room_mb(Memory(), spool_mb=250) == 0.8 * 1000 - 50 - 250


def test_a_file_that_is_read_in_pieces_may_be_larger_than_the_budget(tmp_path):
    """Those of an encoder that has a `content`, as rugs, are; others are refused by name, with what helps."""
    with pytest.raises(ExpectedError, match=r"0\.csv needs more than its 2,000 MB, .*; raise MEMORY_GB"):
        list(pacer([2000], tmp_path))
    assert keys(pacer([2000], tmp_path, dataset="rugs")) == [["0"]]
