"""The memory log and the budget."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages import memory
from stages.errors import ExpectedError
from stages.memory import MemoryLog, budget_mb, tree_mb

REPOSITORY = Path(__file__).resolve().parents[1]
KEYS = ["time", "stage", "name", "event", "rss_mb", "tree_mb", "peak_mb", "available_mb", "cpu_s"]
ALLOCATE = "import sys; block = bytearray(b'x') * (100 << 20); print('ready', flush=True); sys.stdin.read()"


def entries(folder, stage="merge"):
    return [json.loads(line) for line in (folder / "data/logs" / f"{stage}.jsonl").read_text().splitlines()]


def test_each_record_is_one_json_line_with_the_documented_keys(here):
    log = MemoryLog("merge", "splendor")
    log.record("start")
    log.record("end", n_rows=5, n_groups=2)
    MemoryLog("merge", "hex").record("start")
    first, second, third = entries(here)
    assert list(first) == KEYS
    assert list(second) == [*KEYS, "n_rows", "n_groups"]
    assert (second["stage"], second["name"], second["event"], second["n_rows"]) == ("merge", "splendor", "end", 5)
    assert third["name"] == "hex"


def test_a_record_tells_time_and_memory_of_this_process(here):
    before = time.time()
    MemoryLog("merge", "splendor").record("start")
    entry = entries(here)[0]
    assert before - 0.01 <= entry["time"] <= time.time() + 0.01
    assert entry["rss_mb"] == pytest.approx(psutil.Process().memory_info().rss / 2**20, abs=5)
    assert 0 < entry["tree_mb"] <= entry["rss_mb"] + 200
    assert entry["peak_mb"] >= entry["tree_mb"]
    assert 0 < entry["available_mb"] < psutil.virtual_memory().total / 2**20
    assert entry["cpu_s"] > 0


def test_the_tree_includes_a_child(here):
    log = MemoryLog("merge", "splendor")
    before = tree_mb()
    with subprocess.Popen([sys.executable, "-c", ALLOCATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        log.record("with child")
        child.stdin.close()
    log.record("without child")
    with_child, without = entries(here)
    assert with_child["tree_mb"] >= before + 100
    assert with_child["tree_mb"] > with_child["rss_mb"] * 0.5 + 100
    assert without["tree_mb"] < before + 50
    assert without["peak_mb"] >= with_child["tree_mb"]


def test_the_peak_sees_what_was_freed_between_two_records(here):
    log = MemoryLog("merge", "splendor")
    log.record("start")
    block = bytearray(b"x") * (150 << 20)
    del block
    log.record("end")
    start, end = entries(here)
    assert end["peak_mb"] >= start["rss_mb"] + 100


def test_the_peak_is_not_that_of_the_process_which_started_this_one(here):
    """The kernel's ru_maxrss outlives exec: a stage under DVC would log the peak of DVC."""
    block = bytearray(b"x") * (300 << 20)
    code = "from stages.memory import MemoryLog; MemoryLog('merge', 'splendor').record('start')"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    entry = entries(here)[0]
    assert len(block) == 300 << 20
    assert entry["peak_mb"] < entry["rss_mb"] + 50


def test_more_than_the_budget_is_an_error_that_names_the_knob(here, monkeypatch):
    monkeypatch.setenv("MEMORY_GB", "0.001")
    log = MemoryLog("process", "splendor-b01")
    with pytest.raises(
        ExpectedError, match=r"^process splendor-b01: \d+ MB in use at 'chunk', expected at most 1 MB; raise MEMORY_GB"
    ):
        log.record("chunk")
    assert len(entries(here, "process")) == 1


@pytest.mark.parametrize("text", ["0", "-1", "lots", "nan", "1,5", " "])
def test_a_bad_budget_is_a_clear_error(here, monkeypatch, text):
    monkeypatch.setenv("MEMORY_GB", text)
    with pytest.raises(ExpectedError, match=r"^MEMORY_GB: .*, expected a number of gigabytes above 0"):
        MemoryLog("merge", "splendor")


def test_the_budget_is_what_is_asked_for(monkeypatch):
    monkeypatch.setenv("MEMORY_GB", "1.5")
    assert budget_mb() == 1536


@pytest.mark.parametrize(
    ("content", "limit_mb"), [("104857600\n", 100), ("max\n", None), ("9223372036854771712\n", None)]
)
def test_the_default_budget_is_three_quarters_of_machine_or_cgroup(tmp_path, monkeypatch, content, limit_mb):
    path = tmp_path / "memory.max"
    path.write_text(content)
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (path, tmp_path / "absent"))
    machine_mb = psutil.virtual_memory().total / 2**20
    assert budget_mb() == 0.75 * (limit_mb or machine_mb)
