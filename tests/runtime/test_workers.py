"""Results in order, few items in flight, clear errors."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

from stages.core.errors import BadUnit, ExpectedError
from stages.runtime import workers
from stages.runtime.notes import working_on
from stages.runtime.workers import Workers, ordered
from tests.helpers.places import REPOSITORY
from tests.helpers.waiting import until

SETTINGS = [
    *itertools.product(("1", "2", "4"), ["threading"]),
    *itertools.product(("1", "2"), ["loky"]),
    pytest.param("4", "loky", marks=pytest.mark.slow),  # its processes take a second to start
]
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


def all_present(act, n_workers, folder):
    """Let a worker begin its first item only when that many workers have come; they leave their names in a folder."""

    def work(item):
        (folder / f"{os.getpid()}-{threading.get_ident()}").touch()
        until(lambda: len(list(folder.iterdir())) >= n_workers)
        return act(item)

    return work


@pytest.mark.parametrize(("jobs", "backend"), [("2", "loky"), ("2", "threading")])
def test_several_workers_work_at_once(monkeypatch, tmp_path, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)

    def who(item):
        return os.getpid(), threading.get_ident()

    found = set(ordered(all_present(who, 2, tmp_path), range(30)))
    assert len(found) == 2
    assert any(pid != os.getpid() for pid, _ in found) == (backend == "loky")


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_one_job_is_one_thread_of_this_process(monkeypatch, backend):
    """Not the main thread, which could not answer to Ctrl-C within a long call into C."""
    set_knobs(monkeypatch, "1", backend)
    found = set(ordered(lambda _: (os.getpid(), threading.get_ident()), range(3)))
    assert {pid for pid, _ in found} == {os.getpid()}
    assert len(found) == 1
    assert threading.get_ident() not in {thread for _, thread in found}


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
    monkeypatch.setenv("BACKEND", "spark")
    with pytest.raises(ExpectedError, match=r"^BACKEND: 'spark', expected one of loky, threading, dask$"):
        list(ordered(abs, [1]))


def test_backend_defaults_to_the_caller_s(monkeypatch):
    assert workers.backend_name("threading") == "threading"
    monkeypatch.setenv("BACKEND", "loky")
    assert workers.backend_name("threading") == "loky"


def note_and(act):
    def work(item):
        working_on(f"{item}.csv")
        act()
        return item

    return work


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_it_is_known_what_each_worker_is_busy_with(monkeypatch, tmp_path, jobs, backend):
    """An item is in work until it was seen, of which a file tells."""
    set_knobs(monkeypatch, jobs, backend)
    seen, is_over = set(), threading.Event()

    def look():
        while not is_over.wait(0.02):
            for worker, note in team.busy().items():
                seen.add((worker, note))
                (tmp_path / note).touch()

    def work(item):
        working_on(f"{item}.csv")
        time.sleep(0.05)
        until((tmp_path / f"{item}.csv").exists)
        return item

    with Workers() as team:
        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        done = list(team.ordered(work, range(8)))
        is_over.set()
        watcher.join()
        assert team.busy() == {}
    names = {f"worker {number}" for number in range(1, int(jobs) + 1)}
    assert {worker for worker, _ in seen} <= names
    assert {note for _, note in seen} == {f"{item}.csv" for item in range(8)}
    assert {one.worker for one in done} <= names
    assert all(one.seconds >= 0.05 and abs(one.started - time.time()) < 60 for one in done)


@pytest.mark.parametrize(("jobs", "backend"), SETTINGS)
def test_without_room_one_item_at_a_time_is_in_flight(monkeypatch, jobs, backend):
    set_knobs(monkeypatch, jobs, backend)
    items, most_ahead = Counted(12), 0
    with Workers() as team:
        for n_done, _ in enumerate(team.ordered(abs, items, has_room=lambda item: False)):
            most_ahead = max(most_ahead, items.taken - n_done)
    assert items.taken == 12
    assert most_ahead <= 2  # one in flight, and the one that waits


def test_there_are_no_more_processes_than_fit(monkeypatch):
    set_knobs(monkeypatch, "8", "loky")
    with Workers(room_mb=3.5 * workers.PROCESS_MB) as team:
        assert (team.n_workers, team.memory_mb) == (3, 3 * workers.PROCESS_MB)
    set_knobs(monkeypatch, "8", "threading")
    with Workers(room_mb=0) as team:
        assert (team.n_workers, team.memory_mb) == (8, 0)


def test_ctrl_c_does_not_reach_worker_processes(monkeypatch, tmp_path):
    """They would write tracebacks to the terminal; the mask is there from their start, before any import."""
    set_knobs(monkeypatch, "3", "loky")

    def is_blocked(item):
        return os.getpid(), signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    found = dict(ordered(all_present(is_blocked, 3, tmp_path), range(9)))
    assert len(found) == 3
    assert all(found.values())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_killed_worker_process_is_an_error_that_names_what_was_in_work(monkeypatch):
    set_knobs(monkeypatch, "2", "loky")

    def kill_on_third(item):
        working_on(f"{item}.csv")
        if item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(ExpectedError, match=r"^a worker process was killed, while they worked on .*3\.csv.*JOBS"):
        list(ordered(kill_on_third, range(20)))


SEND_HALF = """
import os, signal, subprocess
from stages.core.errors import ExpectedError
from stages.runtime.workers import ordered

def send_half(item):
    parent = os.getppid()
    os.kill(parent, signal.SIGSTOP)  # so that the pipe is full when this process is killed
    script = f"sleep 0.7; kill -KILL {os.getpid()}; kill -CONT {parent}"
    subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True)
    return bytes(50 << 20)

try:
    list(ordered(send_half, [1]))
except ExpectedError as error:
    print(error, flush=True)
    os._exit(3)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_sends_its_result_is_an_error_too(tmp_path):
    """Half a result has arrived, and its reader waits for the rest."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JOBS": "2", "BACKEND": "loky", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", SEND_HALF]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False, start_new_session=True
    )
    assert (done.returncode, done.stdout[:34]) == (3, "a worker process was killed, while")


def test_an_error_keeps_the_traceback_of_its_process(monkeypatch):
    set_knobs(monkeypatch, "2", "loky")

    def divide(item):
        return 1 // item

    with pytest.raises(ZeroDivisionError) as caught:
        list(ordered(divide, [1, 0]))
    assert "in divide" in str(caught.value.__cause__)


def test_after_a_failure_no_process_and_no_folder_is_left(monkeypatch, tmp_path):
    set_knobs(monkeypatch, "2", "loky")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(3):  # also while workers are still starting
        results = ordered(note_and(lambda: time.sleep(0.01)), range(100))
        assert next(results) == 0
        results.close()
        assert multiprocessing.active_children() == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith("batchwise")] == []
