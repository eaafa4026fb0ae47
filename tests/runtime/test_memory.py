"""How much memory a process tree uses, and the budget it must keep."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from stages.core.errors import ExpectedError
from stages.runtime import memory
from stages.runtime.memory import OverBudget, Watch, budget_mb, kept_budget, usage
from tests.helpers.places import REPOSITORY
from tests.helpers.waiting import until

ALLOCATE = "import sys; block = bytearray(b'x') * (100 << 20); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Give the main thread time to unwind on a busy machine: a watch would else end the process of all tests."""
    monkeypatch.setattr(memory, "UNWIND_S", 30.0)
    monkeypatch.setattr(memory, "GRACE_S", 30.0)


@contextlib.contextmanager
def child_with_100_mb():
    with subprocess.Popen([sys.executable, "-c", ALLOCATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        yield child
        child.stdin.close()


def watch(describe=lambda: "process toy-b", on_sample=lambda now: None):
    return Watch(describe, on_sample)


def budget_of(monkeypatch, extra_mb):
    """Set a budget of what is in use now and some more; return it in MB."""
    budget = (usage().pss_mb + extra_mb) / memory.STOP_SHARE
    monkeypatch.setenv("MEMORY_GB", str(budget / 1024))
    return budget


def fill(blocks, megabytes, rest_s=0.004):
    """Use more and more memory, in steps that a watch can follow."""
    for _ in range(megabytes):
        blocks.append(np.ones(1 << 20, np.uint8))
        time.sleep(rest_s)


def test_usage_is_that_of_this_process_and_its_children():
    before = usage()
    assert before.rss_mb == pytest.approx(psutil.Process().memory_info().rss / 2**20, abs=5)
    with child_with_100_mb():
        assert usage().pss_mb > before.pss_mb + 90  # others may begin to share some MB of libraries
    assert usage().pss_mb < before.pss_mb + 50


def test_pages_that_two_processes_share_count_once():
    """The sum of the resident sizes would be 200 MB more."""
    block = np.ones(200 << 20, np.uint8)
    before = usage().pss_mb
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    try:
        assert usage().pss_mb < before + 100
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert block.nbytes == 200 << 20


def test_the_peak_sees_what_was_freed_between_two_measurements():
    here = watch()
    before = here.usage.rss_mb
    block = bytearray(b"x") * (150 << 20)
    del block
    here.measure()
    assert here.peak_mb >= before + 100


def test_the_peak_is_not_that_of_the_process_which_started_this_one():
    """The kernel's ru_maxrss outlives exec: a stage under DVC would log the peak of DVC."""
    block = bytearray(b"x") * (300 << 20)
    code = "from stages.runtime.memory import Watch; w = Watch(str, print); print(w.peak_mb - w.usage.rss_mb)"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert len(block) == 300 << 20
    assert float(done.stdout) < 50


def test_more_than_the_budget_is_an_error_that_names_the_knob(monkeypatch):
    monkeypatch.setenv("MEMORY_GB", "0.001")
    with pytest.raises(OverBudget, match=r"^process toy-b: \d+ MB in use, expected at most 1 MB .*; raise MEMORY_GB"):
        watch()


def test_the_watch_interrupts_work_that_grows_over_the_budget(monkeypatch):
    budget = budget_of(monkeypatch, 60)
    blocks, here = [], watch(lambda: f"process toy-b with {len(blocks)} blocks")
    with pytest.raises(OverBudget, match=r"^process toy-b with \d+ blocks: .*MEMORY_GB"), kept_budget(here):
        fill(blocks, 300, rest_s=0.02)  # 50 MB a second, so that a watch may also be some seconds late
    assert 20 < len(blocks) < 250
    assert here.usage.pss_mb < budget + 190


def test_the_watch_interrupts_this_process_when_a_child_grows(monkeypatch):
    budget_of(monkeypatch, 60)
    with pytest.raises(OverBudget), kept_budget(watch()), child_with_100_mb():
        time.sleep(60)


def test_within_the_budget_nothing_happens_and_the_handler_is_as_before(monkeypatch):
    budget_of(monkeypatch, 500)
    before, samples = signal.getsignal(signal.SIGUSR1), []
    with kept_budget(watch(on_sample=samples.append)):
        fill([], 50)
        until(lambda: len(samples) >= 2)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert "memory watch" not in {thread.name for thread in threading.enumerate()}


def test_clean_up_after_another_error_is_not_interrupted(monkeypatch):
    """Else a temporary file would stay."""
    budget_of(monkeypatch, 100)
    blocks, cleaned, here = [], [], watch()

    def fail_and_clean_up():
        try:
            raise KeyError("first")
        finally:
            most_mb = memory.STOP_SHARE * here.budget_mb  # of more the watch tells at once
            # some of it this process may have freed before, so that it takes more
            until(lambda: fill(blocks, 10 if len(blocks) < 1000 else 0) or here.usage.pss_mb > most_mb)
            time.sleep(0.1)
            cleaned.append(True)

    with pytest.raises(KeyError, match="first"), kept_budget(here):
        fail_and_clean_up()
    assert cleaned == [True]


def test_a_process_that_does_not_end_is_ended(tmp_path):
    """The main thread is in a long call into C, where Python cannot run a signal's handler."""
    code = (
        "import numpy as np\n"
        "from stages.runtime.memory import Watch, kept_budget\n"
        "with kept_budget(Watch(lambda: 'process toy-b', lambda now: None)):\n"
        "    np.sort(np.ones((4000, 100_000), np.uint8), axis=0, kind='stable').sum()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MEMORY_GB": "0.2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].split("error: ")[-1].split(": ")[-2].endswith("process toy-b")


LOOK = """
import time
from stages.runtime.memory import Watch, kept_budget, usage

def cpu_s(act):
    before = time.process_time()
    act()
    return time.process_time() - before

def watch_a_second():
    with kept_budget(watch):
        time.sleep(1)

block = bytearray(b"x") * (100 << 20)
for _ in range(3):
    watch = Watch(lambda: "", lambda usage: None)
    print(cpu_s(watch_a_second), min(cpu_s(usage) for _ in range(10)))
"""


@pytest.mark.slow
def test_to_look_costs_less_than_two_hundredths_of_a_core():
    """In a process of 100 MB; the least of three, since other work on the machine makes each look dearer.

    Where a kernel needs more than 4 ms of CPU to sum up the pages, it is no more than five sums a second.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True)
    seconds = [float(word) for word in done.stdout.split()]
    assert min(seconds[::2]) < max(0.02, 5 * min(seconds[1::2]))


def test_the_peak_since_the_last_call_starts_anew():
    here = watch()
    here.measure()
    assert here.take_peak_mb() == pytest.approx(here.usage.pss_mb, abs=20)
    block = np.ones(100 << 20, np.uint8)
    here.measure()
    del block
    here.measure()
    assert here.take_peak_mb() - here.take_peak_mb() > 80


@pytest.mark.parametrize("text", ["0", "-1", "lots", "nan", "inf", "1,5", " "])
def test_a_bad_budget_is_a_clear_error(monkeypatch, text):
    monkeypatch.setenv("MEMORY_GB", text)
    with pytest.raises(ExpectedError, match=r"^MEMORY_GB: .*, expected a number of gigabytes above 0"):
        budget_mb()


def test_the_budget_is_what_is_asked_for(monkeypatch):
    monkeypatch.setenv("MEMORY_GB", "1.5")
    assert budget_mb() == 1536


@pytest.mark.parametrize(
    ("line", "path", "content", "limit_mb"),
    [
        ("0::/a/b", "a/memory.max", "104857600\n", 100),
        ("0::/", "memory.max", "104857600\n", 100),
        ("0::/a", "a/memory.max", "max\n", None),
        ("4:cpu,memory:/job", "memory/job/memory.limit_in_bytes", "104857600\n", 100),
        ("4:memory:/job", "memory/memory.limit_in_bytes", "104857600\n", 100),
        ("4:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("3:cpuset:/job", "cpuset/job/memory.limit_in_bytes", "104857600\n", None),
    ],
)
def test_the_default_budget_is_three_quarters_of_what_there_is(tmp_path, monkeypatch, line, path, content, limit_mb):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(content)
    (tmp_path / "own").write_text(f"{line}\n")
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert budget_mb() == 0.75 * (limit_mb or psutil.virtual_memory().total / 2**20)


def test_a_watch_that_only_looks_interrupts_nothing(monkeypatch):
    samples = []
    watch = memory.Watch(str, samples.append, only_looks=True)
    monkeypatch.setattr(watch, "_most_mb", 1.0)
    started = time.monotonic()
    watch.start()
    until(lambda: len(samples) >= 3)
    watch.close()
    assert len(samples) <= 1 + (time.monotonic() - started) / memory.SAMPLE_S
    assert samples[0].pss_mb > 1
