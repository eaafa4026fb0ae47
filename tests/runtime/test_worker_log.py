"""What a worker of a cluster notes of its work, for the run to write down."""

import json
import logging

import pytest

from stages.runtime import memory_log, notes
from stages.runtime.memory import OverBudget
from stages.runtime.worker_log import WorkerLog


def test_the_entries_are_those_of_a_stage_with_the_worker_that_did_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes.name_this_thread("10.0.0.7:40123/0")
    with WorkerLog("process", "hex-b01", 4096.0) as log:
        log.record("start", n_units=3)
        log.note("chunk", n_rows=7)
        log.tell("a.csv:3: no move")
        log.record("end", n_units=3, n_rows=9)
    assert [entry["event"] for entry in log.entries] == ["start", "chunk", "end"]
    chunk = log.entries[1]
    assert (chunk["worker"], chunk["unit"], chunk["n_rows"]) == ("10.0.0.7:40123/0", "hex-b01", 9)
    (first, (level, line)) = log.told
    assert first == (logging.WARNING, "a.csv:3: no move")
    assert level == logging.INFO
    assert line.startswith("process hex-b01: done, 3 units, 9 rows | memory ")
    assert len(json.dumps(log.entries)) < 1500
    memory_log.add("process", log.entries)
    assert [record.event for record in memory_log.records(tmp_path / "data/logs/process.jsonl")] == [
        "start",
        "chunk",
        "end",
    ]


def test_a_worker_over_its_budget_says_which_knob_to_turn():
    with pytest.raises(
        OverBudget, match=r"process hex-b01: .* MB in use.*; start workers with a larger --memory-limit"
    ):
        WorkerLog("process", "hex-b01", 1.0)
