"""What each worker is busy with."""

import multiprocessing
import threading
from pathlib import Path

from stages.runtime import notes


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_threads_tell_what_they_work_on():
    office = notes.ThreadDesks()

    def work(note):
        office.sit_down()
        notes.working_on(note)

    for number in range(1, 12):
        in_thread(lambda note=f"{number}.csv": work(note))
    assert list(office.read().items()) == [(f"worker {number}", f"{number}.csv") for number in range(1, 12)]


def test_an_idle_worker_is_left_out():
    office = notes.ThreadDesks()

    def work():
        office.sit_down()
        notes.working_on("a.csv")
        notes.working_on("")

    in_thread(work)
    assert office.read() == {}


def test_without_a_desk_nothing_is_told():
    notes.working_on("a.csv")
    assert notes.worker_name().startswith("process ")


def _work_in(folder, note):
    notes.sit_down_in(folder)
    notes.working_on("something longer before")
    notes.working_on(note)
    assert notes.worker_name().startswith("worker ")


def test_the_note_of_a_process_stays_when_it_is_gone():
    office = notes.ProcessDesks()
    for note in ("a.csv", "\u00e4\udcff.csv", "x" * 2000):
        child = multiprocessing.get_context("spawn").Process(target=_work_in, args=(office.folder, note))
        child.start()
        child.join()
        assert child.exitcode == 0
    assert office.read() == {"worker 1": "a.csv", "worker 2": "\u00e4?.csv", "worker 3": "x" * notes.SIZE}
    office.close()
    assert not Path(office.folder).exists()


def test_a_process_that_comes_too_late_gets_no_desk():
    """Its pool was closed while it started; a traceback would be all that a user sees of it."""
    office = notes.ProcessDesks()
    office.close()
    in_thread(lambda: _late(office.folder))


def _late(folder):
    notes.sit_down_in(folder)
    assert notes.worker_name().startswith("process ")
