"""What each worker is busy with."""

import multiprocessing
import os
import threading
from pathlib import Path

from stages.runtime import notes


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_threads_tell_what_they_work_on():
    pool = notes.ThreadNotes()

    def work(note):
        pool.register()
        notes.working_on(note)

    for number in range(1, 12):
        in_thread(lambda note=f"{number}.csv": work(note))
    assert list(pool.read().items()) == [(f"worker {number}", f"{number}.csv") for number in range(1, 12)]


def test_an_idle_worker_is_left_out():
    pool = notes.ThreadNotes()

    def work():
        pool.register()
        notes.working_on("a.csv")
        notes.working_on("")

    in_thread(work)
    assert pool.read() == {}


def test_who_is_not_registered_tells_nothing():
    names = []

    def work():
        notes.working_on("a.csv")
        names.append(notes.worker_name())

    in_thread(work)
    assert names == [f"process {os.getpid()}"]


def _work_in(folder, note):
    notes.register_in(folder)
    notes.working_on("something longer before")
    notes.working_on(note)
    assert notes.worker_name().startswith("worker ")


def test_the_note_of_a_process_stays_when_it_is_gone():
    pool = notes.ProcessNotes()
    for note in ("a.csv", "\u00e4\udcff.csv", "x" * 2000):
        child = multiprocessing.get_context("spawn").Process(target=_work_in, args=(pool.folder, note))
        child.start()
        child.join()
        assert child.exitcode == 0
    assert pool.read() == {"worker 1": "a.csv", "worker 2": "\u00e4?.csv", "worker 3": "x" * notes.SIZE}
    pool.close()
    assert not Path(pool.folder).exists()


def test_a_process_that_comes_too_late_gets_no_name():
    """Its pool was closed while it started; a traceback would be all that a user sees of it."""
    pool = notes.ProcessNotes()
    pool.close()
    in_thread(lambda: _late(pool.folder))


def _late(folder):
    notes.register_in(folder)
    assert notes.worker_name().startswith("process ")


def test_threads_tell_it_also_to_who_runs_their_process_beside_others(monkeypatch):
    there, here = notes.ProcessNotes(), notes.ThreadNotes()
    monkeypatch.setenv(notes.ELSEWHERE, there.folder)

    def work():
        here.register()
        notes.working_on("u1")

    in_thread(work)
    assert here.read() == there.read() == {"worker 1": "u1"}
    there.close()
    in_thread(work)
    assert here.read() == {"worker 1": "u1", "worker 2": "u1"}
