"""Results in order, few items in flight, clear errors."""

import os
import threading
import time

import pytest

from stages import workers
from stages.errors import BadUnit, ExpectedError
from stages.workers import ordered

SETTINGS = [("1", "loky"), ("2", "loky"), ("4", "loky"), ("1", "threading"), ("2", "threading"), ("4", "threading")]
N_ITEMS = 60


def set_knobs(monkeypatch, jobs, backend):
    monkeypatch.setenv("JOBS", jobs)
    monkeypatch.setenv("BACKEND", backend)


class Counted:
    """Items from 0, which count how many were taken."""

    def __init__(self, n_items):
        self.n_items, self.taken = n_items, 0

    def __iter__(self):
        for item in range(self.n_items):
            self.taken += 1
            yield item


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_results_come_in_the_order_of_the_items(monkeypatch, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)

    def slow_at_first(item):
        time.sleep(0.02 if item < 4 else 0)
        return item * item

    assert list(ordered(slow_at_first, iter(range(25)))) == [i * i for i in range(25)]
    assert list(ordered(slow_at_first, [])) == []


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_a_slow_consumer_is_at_most_a_few_items_behind(monkeypatch, jobs, backend):
    """Else the results of all items pile up in memory."""
    set_knobs(monkeypatch, jobs, backend)
    items, most_ahead = Counted(N_ITEMS), 0
    for n_done, _ in enumerate(ordered(abs, items)):
        time.sleep(0.004)
        most_ahead = max(most_ahead, items.taken - n_done)
    assert most_ahead <= 2 * int(jobs) + 2


@pytest.mark.parametrize(("jobs", "backend"), [("2", "loky"), ("2", "threading")])
def test_several_workers_work_at_once(monkeypatch, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)

    def who(item):
        time.sleep(0.05)
        return os.getpid(), threading.get_ident()

    found = set(ordered(who, range(6)))
    assert len(found) == 2
    assert any(pid != os.getpid() for pid, _ in found) == (backend == "loky")


def test_one_job_stays_in_this_thread(monkeypatch):
    monkeypatch.setenv("JOBS", "1")
    assert set(ordered(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_an_error_in_a_worker_reaches_the_caller_with_its_message(monkeypatch, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)

    def refuse(item):
        if item == 5:
            raise BadUnit("game.csv:3: found 9, expected 0..7")
        return item

    results = ordered(refuse, range(20))
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(BadUnit, match=r"^game\.csv:3: found 9, expected 0\.\.7$"):
        next(results)


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_closing_early_stops(monkeypatch, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)

    def slow(item):
        time.sleep(0.02)
        return item

    items = Counted(10_000)
    results = ordered(slow, items)
    assert next(results) == 0
    results.close()
    taken = items.taken
    time.sleep(0.1)
    assert items.taken == taken < 100


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " ", "+2", "1e3", "\u00b2"])
def test_a_bad_jobs_is_a_clear_error(monkeypatch, text):
    monkeypatch.setenv("JOBS", text)
    with pytest.raises(ExpectedError, match=r"^JOBS: .*, expected a whole number from 1"):
        workers.job_count()


def test_jobs_defaults_to_the_cores_of_this_process(monkeypatch):
    assert workers.job_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("JOBS", "")
    assert workers.job_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("JOBS", "7")
    assert workers.job_count() == 7


def test_a_bad_backend_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("BACKEND", "dask")
    with pytest.raises(ExpectedError, match=r"^BACKEND: 'dask', expected one of loky, threading$"):
        list(ordered(abs, [1]))


def test_backend_defaults_to_the_caller_s(monkeypatch):
    assert workers.backend_name("threading") == "threading"
    monkeypatch.setenv("BACKEND", "loky")
    assert workers.backend_name("threading") == "loky"
