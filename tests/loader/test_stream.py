"""The thread between arrays and trainer: nothing lost, nothing swallowed, nothing left behind."""

import gc
import json
import time
import traceback

import numpy as np
import pytest

from stages.loader import Settings, batches
from tests.helpers.loader_parts import N_ROWS, WINDOW, flat, loader_threads, rows_of, write_part
from tests.helpers.waiting import until


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy", starts=np.arange(0, N_ROWS - WINDOW + 1, 3))


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    gc.collect()
    assert loader_threads() == []


@pytest.mark.parametrize("prefetch", [1, 2, 4])
@pytest.mark.parametrize("delay_s", [0, 0.002])
def test_no_sample_is_lost_whoever_is_faster(folder, prefetch, delay_s):
    """An empty queue is not the end, and the end does not discard what waits: 22.5 % of windows were once lost so."""
    seen = []
    with batches(folder, "train", Settings(batch_size=8, window="X", prefetch=prefetch)) as stream:
        for batch in stream:
            seen += batch["X"][:, 0, 0].astype(int).tolist()
            time.sleep(delay_s)
    assert seen == list(range(0, N_ROWS - WINDOW + 1, 3))


def test_a_slow_source_does_not_end_the_stream(folder):
    """The consumer waits for the thread, however long it takes."""

    def slow(batch, _):
        time.sleep(0.01)
        return batch

    assert flat(rows_of(batches(folder, "train", Settings(batch_size=100, transform=slow)))) == list(range(N_ROWS))


def fail_at_third(batch, _):
    if batch["X"][0, 0] >= 200:
        raise ZeroDivisionError("third batch")
    return batch


def test_a_failure_in_the_thread_reaches_the_trainer(folder):
    """With its traceback, after the batches before it, and again when asked again: a failure is not an end."""
    stream = batches(folder, "train", Settings(batch_size=100, transform=fail_at_third))
    assert len([next(stream), next(stream)]) == 2
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="third batch") as caught:
            next(stream)
        assert "fail_at_third" in "".join(traceback.format_exception(caught.value))
    assert loader_threads() == []


def test_batches_are_not_made_further_ahead_than_asked_for(folder):
    """Back-pressure: beside the one in hand only `prefetch` of them are made."""
    made = []
    settings = Settings(batch_size=10, prefetch=3, transform=lambda batch, _: made.append(1) or batch)
    with batches(folder, "train", settings) as stream:
        for given in range(5):
            until(lambda n=given + 3: len(made) >= n)
            time.sleep(0.01)
            assert len(made) == given + 3
            next(stream)


@pytest.mark.parametrize("n_taken", [0, 1, 3])
def test_closing_early_stops_the_thread(folder, n_taken):
    """By `close`, and by dropping the stream; a closed stream does not look finished."""
    stream = batches(folder, "train", Settings(batch_size=10))
    for _ in range(n_taken):
        next(stream)
    assert len(loader_threads()) == 1
    stream.close()
    assert loader_threads() == []
    with pytest.raises(ValueError, match="closed before its end"):
        next(stream)
    stream = batches(folder, "train", Settings(batch_size=10))
    del stream
    assert loader_threads() == []


def test_metrics_describe_each_finished_batch(folder, tmp_path):
    """And go to the log, one line of JSON a batch."""
    log = tmp_path / "log.jsonl"
    with batches(folder, "train", Settings(batch_size=300, epochs=2, log=log)) as stream:
        assert stream.metrics is None
        for _ in stream:
            time.sleep(0.01)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    places = [(line["epoch"], line["first"], line["size"]) for line in lines]
    assert places == [(e, f, min(300, 1000 - f)) for e in range(2) for f in range(0, 1000, 300)]
    assert all(line["seconds"] > 0.01 and line["read_s"] > 0 for line in lines[1:])
    assert min(line["read_s"] for line in lines) < 0.01
    assert all(line["memory_mb"] > 10 and line["samples_per_s"] == line["size"] / line["seconds"] for line in lines)
    assert stream.metrics.first == 900


def test_settings_may_be_given_one_by_one(folder):
    """As one writes it in a notebook; a wrong name is an error at once."""
    with batches(folder, "train", Settings(batch_size=7), shuffle_seed=3) as stream:
        first = next(stream)
    with batches(folder, "train", Settings(batch_size=7, shuffle_seed=3)) as stream:
        second = next(stream)
    assert all((first[name] == second[name]).all() for name in second)
    with pytest.raises(TypeError, match="batchsize"):
        batches(folder, "train", batchsize=7)
