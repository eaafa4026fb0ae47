"""Ctrl-C in a terminal stops at once, says what is kept and leaves nothing behind; the next run completes."""

import os
import re
import signal
import sys
import time

import psutil
import pytest

from stages.core.units import deal
from tests.helpers.scripts import Workspace
from tests.helpers.terminal import Terminal

PROCESS = [sys.executable, "-m", "stages.process", "scripted"]
REPRO = ["dvc", "repro"]
MAKE = ["make", "--old-file", f"{sys.prefix}/.ready", f"VENV={sys.prefix}", "preprocess"]
BATCH_SIZE = 25
KEPT = "interrupted: 1 of 2 batches of scripted are finished and kept; run the same command to go on"
MOST_S = 10.0  # of two busy cores; the slow unit takes half a minute
BACKENDS = ["threading", pytest.param("loky", marks=pytest.mark.slow)]  # processes take a second to start


def make_workspace(folder, what):
    """Make two batches of which the second has a unit that takes half a minute, unless told otherwise by a file."""
    names = [f"u{number}" for number in range(40)]
    _, second = sorted(deal(names, BATCH_SIZE).items())
    slow = second[1][-1]
    here = Workspace(folder, {**dict.fromkeys(names, "rows 3"), slow: f"rows 3\n{what}"}, batch_size=BATCH_SIZE)
    here.slow = slow
    here.discover()
    return here


def interrupt(here, command, **variables):
    """Press Ctrl-C when the slow unit is in work; return the exit code and the text of the whole session."""
    with Terminal(command, here.folder, here.environment(**variables), 120, 40) as screen:
        assert screen.until(lambda: f": {here.slow}\n" in f"{screen.text()}\n"), screen.text()
        tree = psutil.Process(screen.process.pid).children(recursive=True)
        started = time.monotonic()
        screen.type(b"\x03")
        code = screen.wait()
        seconds = time.monotonic() - started
        text = "\n".join(screen.all_lines())
        assert not screen.screen.cursor.hidden
    assert seconds < MOST_S
    assert alive(tree) == []
    assert here.left_overs() == []
    assert here.finished() == here.batches()[:1]
    return code, text


def alive(processes):
    end = time.monotonic() + MOST_S
    while (found := [process for process in processes if is_alive(process)]) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def is_alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def completes(here, command):
    (here.folder / "raw" / here.slow).write_text("rows 3")
    here.discover()
    done = here.run(*command)
    assert done.returncode == 0, done.stderr
    assert here.finished() == here.batches()
    assert here.left_overs() == []
    return done


@pytest.mark.parametrize(
    ("what", "variables"),
    [
        ("sleep 30", {"JOBS": "2"}),
        ("sort 30", {"JOBS": "1"}),
        pytest.param("sort 30", {"JOBS": "2", "BACKEND": "loky"}, marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_in_process_stops_at_once_and_says_what_is_kept(tmp_path, what, variables):
    here = make_workspace(tmp_path, what)
    code, text = interrupt(here, PROCESS, TMPDIR=str(tmp_path), **variables)
    assert code == 130
    assert text.splitlines()[-1] == KEPT
    assert "Traceback" not in text
    assert "Warning" not in text
    assert [path for path in tmp_path.iterdir() if path.name.startswith("batchwise")] == []
    completes(here, PROCESS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "variables"),
    [(REPRO, {"JOBS": "2"}), (REPRO, {"JOBS": "2", "BACKEND": "loky"}), (MAKE, {"JOBS": "2"})],
    ids=["repro", "repro-loky", "make"],
)
def test_ctrl_c_under_dvc_stops_at_once_and_the_next_run_goes_on(tmp_path, command, variables):
    here = make_workspace(tmp_path, "sort 30")
    here.add_dvc()
    code, text = interrupt(here, command, **variables)
    assert code != 0
    assert text.count(KEPT) == 1
    assert "Traceback" not in text
    assert "Warning" not in text
    done = completes(here, command)
    assert re.findall(r"Running stage 'process@scripted-(.+)'", done.stdout) == here.batches()[1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("backend", BACKENDS)
def test_sigterm_and_sighup_stop_at_once_too_and_say_what_is_kept(tmp_path, backend, number):
    here = make_workspace(tmp_path, "sort 30")
    with Terminal(PROCESS, here.folder, here.environment(JOBS="2", BACKEND=backend), 120, 40) as screen:
        assert screen.until(lambda: f": {here.slow}\n" in f"{screen.text()}\n")
        started = time.monotonic()
        os.killpg(screen.process.pid, number)
        assert screen.wait() == 128 + number
        assert time.monotonic() - started < MOST_S
        assert not screen.screen.cursor.hidden
        assert screen.all_lines()[-1] == KEPT.replace("interrupted", "stopped")
    assert here.left_overs() == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_closing_the_terminal_stops_at_once(tmp_path, backend):
    here = make_workspace(tmp_path, "sort 30")
    with Terminal(PROCESS, here.folder, here.environment(JOBS="2", BACKEND=backend)) as screen:
        assert screen.until(lambda: f": {here.slow}\n" in f"{screen.text()}\n")
        tree = psutil.Process(screen.process.pid).children(recursive=True)
        started = time.monotonic()
        screen.close()
        assert screen.process.wait(60) == 128 + signal.SIGHUP
        assert time.monotonic() - started < MOST_S
    assert alive(tree) == []
    assert here.left_overs() == []
    assert here.finished() == here.batches()[:1]


def test_nohup_goes_on_after_a_hang_up(tmp_path):
    """`nohup` has SIGHUP ignored from the start."""
    action = "cli.run(lambda: os.kill(os.getpid(), signal.SIGHUP))"
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    script = f"import os, signal; from stages.runtime import cli; {ignored}; raise SystemExit({action})"
    here = Workspace(tmp_path, {})
    assert here.run(sys.executable, "-c", script).returncode == 0
