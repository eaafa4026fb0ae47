"""Ranks together get what one process gets, each of them the same number of batches."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.loader import Settings, batches, layout
from stages.loader.layout import Epoch, Layout, of_process
from tests.helpers.loader_parts import N_ROWS, flat, rows_of, write_part

SIZE = 48  # does not divide the 1,000 rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_part(tmp_path_factory.mktemp("toy"))


def streamed(folder, **settings):
    return rows_of(batches(folder, "train", Settings(**{"batch_size": SIZE, "shuffle_seed": 3, **settings})))


def of_ranks(folder, n, **settings):
    """Return the global batches that n ranks make together."""
    parts = [streamed(folder, shard=(rank, n), **settings) for rank in range(n)]
    return [flat(batch) for batch in zip(*parts, strict=True)]


@pytest.mark.parametrize(("n", "remainder"), [*product([2, 3, 8], ["drop", "pad", "keep"])])
def test_ranks_share_each_batch(folder, n, remainder):
    assert of_ranks(folder, n, remainder=remainder) == streamed(folder, remainder=remainder)


def test_the_last_samples_are_left_out_repeated_or_kept(folder):
    whole = flat(streamed(folder))
    assert len(whole) == N_ROWS
    assert flat(streamed(folder, remainder="drop")) == whole[:960]
    assert flat(streamed(folder, remainder="pad")) == whole + whole[:8]
    assert [len(batch) for batch in streamed(folder, remainder="keep")][-2:] == [SIZE, 40]
    assert of_ranks(folder, 2) == streamed(folder, remainder="drop")  # what several ranks do if nothing is said


def test_padding_says_which_samples_it_repeats(folder):
    settings = Settings(batch_size=SIZE, remainder="pad", epochs=2)
    with batches(folder, "train", settings) as stream:
        repeated = [batch["repeated"] for batch in stream]
    assert [int(each.sum()) for each in repeated] == [*[0] * 20, 8] * 2
    assert repeated[20].tolist() == [False] * 40 + [True] * 8


def test_a_part_smaller_than_a_batch_is_padded_round_and_round(tmp_path):
    small = write_part(tmp_path / "small", 3)
    assert streamed(small, shuffle_seed=None, remainder="pad", batch_size=8) == [[0, 1, 2, 0, 1, 2, 0, 1]]


def test_a_rank_may_keep_nothing_of_the_last_batch(tmp_path):
    """It still gets a batch, so that nobody waits for it."""
    small = write_part(tmp_path / "small", 9)
    parts = [streamed(small, shuffle_seed=None, remainder="keep", batch_size=8, shard=(i, 2)) for i in range(2)]
    assert parts == [[[0, 1, 2, 3], []], [[4, 5, 6, 7], [8]]]


@pytest.mark.parametrize(("n", "remainder"), [*product([0, 1, 47, 48, 49, 1000], ["drop", "pad", "keep"])])
def test_an_epoch_has_as_many_batches_as_it_says(n, remainder):
    epoch = Epoch(n, SIZE, remainder)
    assert epoch.n_batches == len(range(0, epoch.end(0), SIZE))
    assert (epoch.end(0) == n) or (remainder, n % SIZE > 0) != ("keep", True)


@pytest.mark.parametrize("remainder", ["drop", "pad", "keep"])
def test_what_one_layout_left_another_goes_on_with(folder, remainder):
    whole = streamed(folder, remainder=remainder)
    with batches(folder, "train", batch_size=SIZE, shuffle_seed=3, shard=(1, 4), remainder=remainder) as stream:
        for _ in range(7):
            next(stream)
        state = stream.state()
    assert of_ranks(folder, 3, remainder=remainder, resume_from=state) == whole[7:]
    assert streamed(folder, remainder=remainder, resume_from=state) == whole[7:]


def test_one_checkpoint_is_that_of_all_ranks(folder, tmp_path):
    settings = {"checkpoint_dir": tmp_path / "kept", "checkpoint_frequency": 1, "remainder": "drop"}
    whole = streamed(folder, remainder="drop")
    for rank in (1, 0):
        with batches(folder, "train", batch_size=SIZE, shuffle_seed=3, shard=(rank, 2), **settings) as stream:
            for _ in range(5):
                next(stream)
        assert (tmp_path / "kept").exists() == (rank == 0)
    assert streamed(folder, **settings) == whole[4:]  # the fifth batch was in hand


@pytest.fixture(autouse=True)
def _told_nothing():
    layout._told.clear()


def test_torchrun_says_which_rank_a_process_is(folder, monkeypatch, caplog):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert of_process(None) == Layout(1, 2)
    assert streamed(folder) == streamed(folder, shard=(1, 2))
    assert caplog.text.count("rank 1 of 2 takes its slice of each batch") == 1
    assert streamed(folder, shard=(0, 1)) == [*streamed(folder, shard=(0, 1), remainder="keep")]
    monkeypatch.delenv("RANK")
    with pytest.raises(ExpectedError, match="RANK is None and WORLD_SIZE '2', expected 0 <= RANK < WORLD_SIZE"):
        streamed(folder)
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ExpectedError, match="RANK is '2' and WORLD_SIZE '2', expected 0 <= RANK < WORLD_SIZE"):
        streamed(folder)


def test_samples_that_are_left_out_or_repeated_are_told(folder, caplog):
    streamed(folder, remainder="drop")
    assert "40 of 1,000 samples are left out of each epoch (remainder drop), as batches are of 48" in caplog.text
    streamed(folder, remainder="pad")
    assert "8 of 1,000 samples come twice in an epoch (remainder pad), as batches are of 48" in caplog.text
    caplog.clear()
    streamed(folder, remainder="keep")
    assert caplog.text == ""


def test_the_loader_does_not_import_torch():
    code = "import sys, stages.loader, stages.loader.layout as l; l.of_process(None); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_positions_go_on_from_the_start(folder):
    positions, is_repeated = Epoch(10, 4, "pad").positions(8, 12)
    assert np.array_equal(positions, [8, 9, 0, 1])
    assert is_repeated.tolist() == [False, False, True, True]
