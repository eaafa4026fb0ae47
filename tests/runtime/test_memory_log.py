"""What a stage did, when, and with how much memory."""

import json
import logging
import time

import psutil
import pytest

from stages.runtime import memory, memory_log
from stages.runtime.memory import OverBudget
from stages.runtime.memory_log import MemoryLog
from tests.helpers.waiting import until

SIZES = ["rss_mb", "pss_mb", "peak_mb", "swap_mb", "available_mb", "budget_mb"]
KEYS = ["time", "stage", "name", "event", *SIZES, "cpu_s"]


def entries(folder, stage="merge"):
    return [json.loads(line) for line in (folder / "data/logs" / f"{stage}.jsonl").read_text().splitlines()]


def test_each_record_is_one_json_line_with_the_documented_keys(here):
    log = MemoryLog("merge", "splendor")
    log.record("start")
    log.record("end", n_rows=5, n_groups=2)
    MemoryLog("merge", "hex").note("chunk", worker="worker 1")
    first, second, third = entries(here)
    assert list(first) == KEYS
    assert list(second) == [*KEYS, "n_rows", "n_groups"]
    assert (second["stage"], second["name"], second["event"], second["n_rows"]) == ("merge", "splendor", "end", 5)
    assert (third["name"], third["event"], third["worker"]) == ("hex", "chunk", "worker 1")
    assert all(key in memory_log.__doc__ for key in KEYS)


TORN = [
    "",
    "\n",
    "null",
    "[1]",
    "\x00\x00",
    "\udcff",
    '{"time": 1, "stage"',
    '{"time": "x", "stage": "a", "name": "b", "event": "c"}',
    "[" * 5000,
]


def test_a_record_tells_time_and_memory_of_this_process(here, monkeypatch):
    monkeypatch.setenv("MEMORY_GB", "2")
    before = time.time()
    MemoryLog("merge", "splendor").record("start")
    entry = entries(here)[0]
    assert before - 0.01 <= entry["time"] <= time.time() + 0.01
    assert entry["rss_mb"] == pytest.approx(psutil.Process().memory_info().rss / 2**20, abs=5)
    assert 0 < entry["pss_mb"] <= memory._sum_of_resident_mb(memory._tree()) + 20
    assert entry["peak_mb"] >= entry["pss_mb"]
    assert 0 < entry["available_mb"] < psutil.virtual_memory().total / 2**20
    assert (entry["budget_mb"], entry["swap_mb"]) == (2048, 0)
    assert entry["cpu_s"] > 0


def test_within_the_block_samples_are_logged(here):
    with MemoryLog("merge", "splendor") as log:
        log.record("start")
        started = time.monotonic()
        until(lambda: [entry["event"] for entry in entries(here)].count("sample") >= 3)
        log.record("end")
    events = [entry["event"] for entry in entries(here)]
    assert [event for event in events if event != "sample"] == ["start", "end"]  # a sample may come before or after
    assert events.count("sample") <= 2 + (time.monotonic() - started) / memory.SAMPLE_S


def test_a_full_disk_does_not_stop_the_watch(here):
    """Its thread would end with a traceback, and nobody would keep the budget."""
    with MemoryLog("merge", "splendor") as log:
        (here / "data/logs").rename(here / "data/gone")
        for _ in range(2):
            until(lambda seen=log.watch.usage: log.watch.usage is not seen)
    assert not (here / "data/logs").exists()


def test_more_than_the_budget_is_an_error(here, monkeypatch):
    log = MemoryLog("process", "splendor-b01")
    log.doing = lambda: " with 17.csv in work"
    monkeypatch.setattr(log.watch, "_most_mb", 1.0)
    with pytest.raises(OverBudget, match=r"^process splendor-b01 with 17.csv in work: \d+ MB in use, expected"):
        log.record("chunk")


@pytest.mark.parametrize(("grown_mb", "n_warnings"), [(0.5, 0), (300, 1)])
def test_swap_that_grew_is_told(here, caplog, grown_mb, n_warnings):
    with caplog.at_level(logging.WARNING, "batchwise"), MemoryLog("merge", "splendor") as log:
        log.watch.close()
        log.watch.usage = memory_log.memory.Usage(1, 1, grown_mb)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["merge splendor: 300 MB were swapped out; lower MEMORY_GB"] * n_warnings


@pytest.mark.slow
def test_only_the_newer_half_of_a_long_log_is_kept(here, monkeypatch):
    monkeypatch.setattr(memory_log, "MOST_BYTES", 4000)
    for number in range(40):
        MemoryLog("merge", "splendor").record("start", n_rows=number)
    found = [entry["n_rows"] for entry in entries(here)]
    assert found == list(range(found[0], 40))
    assert 5 < len(found) < 20


def test_end_is_told_in_one_line(here, caplog):
    with caplog.at_level(logging.INFO, "batchwise"):
        log = MemoryLog("merge", "splendor")
        log.record("start")
        log.record("end", n_rows=1234)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("merge splendor: done, 1,234 rows | memory ")


@pytest.mark.parametrize("line", [*TORN, '{"time": 1' + "0" * 400 + ', "stage": "a", "name": "b", "event": "c"}'])
def test_a_torn_or_foreign_line_is_left_out_and_counted(here, line, caplog):
    log = MemoryLog("merge", "splendor")
    log.record("start")
    with (here / "data/logs/merge.jsonl").open("a", errors="surrogateescape") as file:
        file.write(f"{line}\n")
    log.record("end")
    with caplog.at_level(logging.DEBUG, "batchwise"):
        assert [found.event for found in memory_log.records(here / "data/logs/merge.jsonl")] == ["start", "end"]
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    expected = [f"{here}/data/logs/merge.jsonl: left out 1 lines that are no records"]
    assert told == expected[: bool(line.strip())]


def test_a_line_without_an_end_does_not_take_the_next_one_with_it(here):
    MemoryLog("merge", "splendor").record("start")
    path = here / "data/logs/merge.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    MemoryLog("merge", "hex").record("start")
    assert [found.name for found in memory_log.records(path)] == ["hex"]


def test_a_line_is_one_write_and_a_full_disk_is_told(here, monkeypatch):
    written = []
    monkeypatch.setattr(memory_log.os, "write", lambda file, line: written.append(line) or len(line) - 1)
    with pytest.raises(OSError, match="No space left"):
        MemoryLog("merge", "splendor").record("start")
    assert len(written) == 1


def test_a_log_that_is_not_there_has_no_records(here):
    assert list(memory_log.records(here / "data/logs/split.jsonl")) == []


def test_the_plan_and_the_table_read_a_torn_log(here):
    """Each is what a user would type next after a crash."""
    from stages.commands import plan, preprocess

    for event in ("start", "end"):
        MemoryLog("process", "splendor-b0").record(event, n_units=3)
    with (here / "data/logs/process.jsonl").open("a") as file:
        file.write('{"time": 1.0, "sta')
    assert [record.event for record in preprocess.read_logs(0)] == ["start", "end"]
    assert plan._durations("process", "splendor")["splendor-b0"].n_units == 3


def test_what_ran_side_by_side_counts_once():
    assert memory_log.busy_seconds([(0, 4), (1, 5), (2, 3), (7, 8)]) == 6
    assert memory_log.busy_seconds([]) == 0


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("discover", "raise MEMORY_GB"),
        ("process", "raise MEMORY_GB, or lower JOBS or the dataset's batch_size"),
        ("merge", "raise MEMORY_GB, or lower the dataset's batch_size"),
    ],
)
def test_the_advice_is_one_that_helps_in_the_stage(here, stage, advice):
    assert str(MemoryLog(stage, "splendor").watch.error()).endswith(f" of the budget); {advice}")
