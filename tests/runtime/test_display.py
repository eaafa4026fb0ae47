"""The live display in a real pseudo-terminal, and what is told where there is none."""

import re
import sys
import time
from pathlib import Path

import pytest

from stages.runtime import display
from stages.runtime.display import Display, StepProgress, WorkerProgress
from stages.runtime.memory import Usage
from tests.helpers.scripts import Workspace
from tests.helpers.terminal import Terminal
from tests.helpers.waiting import until

FRAME = b"\r\x1b[2K"  # how each redrawing begins
N_UNITS = 48
UNITS_OF_STEP = 8  # two chunks of the dataset, one a worker
PROCESS = [sys.executable, "-m", "stages.process", "scripted"]
LONG = "unit3-with-a-long-name-" + "x" * 80
BAR = r"  ━*─* (\d+)/48, \d+ files/s, [\d,]+ rows/s(, \d+:\d\d:\d\d left)?"
MEMORY = r"  RAM \d+ MB now, \d+ MB peak, 2,048 MB budget"
WORKER = r"  worker \d+: unit.+"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with one batch of 48 files, a second of work; one with a long name waits for a file `go`.

    Every eighth waits for a file too, `step0` and so on, which are there unless a test removes them first.
    """
    names = sorted([*(f"unit{number:02}" for number in range(N_UNITS - 1)), LONG])
    scripts = dict.fromkeys(names, "rows 7\nsleep 0.05") | {LONG: "wait_for go"}
    folder = tmp_path_factory.mktemp("display")
    for number, name in enumerate(names[::UNITS_OF_STEP]):
        scripts[name] += f"\nwait_for step{number}"
        (folder / f"step{number}").touch()
    here = Workspace(folder, scripts)
    here.discover()
    return here


@pytest.fixture
def steps(workspace):
    """Give the files that let the batch go on, in order, after their removal."""
    found = sorted(workspace.folder.glob("step*"))
    for path in found:
        path.unlink()
    yield found
    for path in found:
        path.touch()


@pytest.fixture
def go(workspace):
    """Give the file that lets the batch come to its end; made at once unless a test removes it first."""
    path = workspace.folder / "go"
    path.touch()
    return path


def terminal(workspace, columns=80, command=PROCESS, **variables):
    variables = {"JOBS": "2", "MEMORY_GB": "2", **variables}
    return Terminal(command, workspace.folder, workspace.environment(**variables), columns)


def assert_picture(lines, columns):
    """The title, one line a worker, the bar, the memory, and nothing else: nothing wrapped, nothing twice."""
    assert lines[0] == "Processing batch 1/1 (b, 48 files)"
    assert 1 <= len(lines[1:-2]) <= 2, lines
    assert all(re.fullmatch(WORKER, line) for line in lines[1:-2]), lines
    assert re.fullmatch(BAR, lines[-2]), lines
    assert re.fullmatch(MEMORY, lines[-1]), lines
    assert max(map(len, lines)) <= columns


def assert_end(terminal):
    """The picture is gone, the cursor is back, and one line says what was done."""
    text = "".join(terminal.all_lines())
    assert text.startswith("Processing batch 1/1 (b, 48 files)process scripted-b: done, 48 units, 48 files, 330 rows")
    assert text.count("memory") == 1
    assert "RAM" not in text
    assert "worker" not in text
    assert not terminal.screen.cursor.hidden


def n_done(terminal):
    found = re.search(r"(\d+)/48,", terminal.text())
    return int(found[1]) if found else 0


def is_whole(terminal, what):
    """Say whether a picture has something, and all its lines: a busy machine may show the first ones for a moment."""
    return what in terminal.text() and "worker" in terminal.text() and "MB budget" in terminal.text()


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.usefixtures("go")
def test_progress_is_drawn_in_place(workspace, steps, columns):
    """A picture of each step of the work, which goes on when it was seen; at most ten pictures a second."""
    started = time.monotonic()
    with terminal(workspace, columns) as screen:
        for number, step in enumerate(steps):
            assert screen.until(lambda n=number * UNITS_OF_STEP: is_whole(screen, f" {n}/48, "))
            assert_picture(screen.lines(), columns)
            step.touch()
        assert screen.wait() == 0
        assert_end(screen)
    assert len(set(re.findall(rb"(\d+)/48,", screen.bytes()))) >= len(steps) == 6
    n_frames = screen.bytes().count(FRAME)
    assert n_frames <= 10 * (time.monotonic() - started)
    assert len(screen.bytes()) < 1_000 * n_frames


@pytest.mark.slow
def test_a_window_that_becomes_smaller_and_larger_stays_clean(workspace, go):
    go.unlink()
    with terminal(workspace, 200) as screen:
        for columns in (200, 60, 140):
            screen.resize(columns)
            n_frames = screen.bytes().count(FRAME)
            assert screen.until(
                lambda n=n_frames: screen.bytes().count(FRAME) >= n + 2 and n_done(screen) and is_whole(screen, "")
            )
            lines = screen.lines()
            assert lines[0] == "Processing batch 1/1 (b, 48 files)"
            assert len(lines) <= 5, lines
            assert sum("RAM" in line for line in lines) == sum("rows/s" in line for line in lines) == 1, lines
        go.touch()
        assert screen.wait() == 0
        assert_end(screen)


def test_a_long_name_is_cut_and_does_not_wrap(workspace, go):
    go.unlink()
    with terminal(workspace) as screen:
        assert screen.until(lambda: is_whole(screen, "unit3-with"))
        assert_picture(screen.lines(), 80)
        assert any(line.endswith("xx…") for line in screen.lines())


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"LOG": "warning"}, {"TERM": "dumb"}])
@pytest.mark.usefixtures("go")
def test_nothing_is_drawn_for_log_warning_and_a_dumb_terminal(workspace, variables):
    with terminal(workspace, **variables) as screen:
        assert screen.wait() == 0
    assert b"\x1b" not in screen.bytes()
    assert bool(screen.bytes()) == ("LOG" not in variables)


def test_ctrl_c_leaves_a_clean_screen(workspace, go):
    go.unlink()
    with terminal(workspace) as screen:
        assert screen.until(lambda: n_done(screen))
        screen.type(b"\x03")
        assert screen.wait() == 130
        text = "".join(screen.all_lines())
        assert not screen.screen.cursor.hidden
    told = "interrupted: 0 of 1 batches of scripted are finished and kept; run the same command to go on"
    assert text == f"Processing batch 1/1 (b, 48 files){told}"


class Watched:
    """What the display asks of a watch."""

    estimate_mb, peak_mb, budget_mb, usage = 10.0, 12.0, 2048.0, Usage(10.0, 10.0, 0.0)


class Busy:
    """Twelve workers."""

    def busy(self):
        return {f"worker {number}": f"{number}.csv" for number in range(1, 13)}


def test_many_workers_do_not_fill_the_screen():
    lines = Display(WorkerProgress("t", "files", 9, Busy()), Watched()).lines()
    assert lines[:2] == ["  worker 1: 1.csv", "  worker 2: 2.csv"]
    assert lines[display.MOST_WORKERS] == "  and 4 more workers"
    assert len(lines) == display.MOST_WORKERS + 3


HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\n\u202egpj"
HOSTILE_SHOWN = r"a\x1b[2J\x1b]0;title\x07\x9b31m\n\u202egpj"
SENT_NEVER = (b"\x1b[2J", b"\x1b]0;title", b"\x07", "\x9b".encode(), "\u202e".encode())


class Hostile:
    """A worker on a file with a hostile name."""

    def busy(self):
        return {"worker 1": HOSTILE}


def test_what_a_worker_is_on_is_one_line_that_can_be_seen():
    lines = Display(WorkerProgress("t", "files", 9, Hostile()), Watched()).lines()
    assert lines[0] == f"  worker 1: {HOSTILE_SHOWN}"
    assert all(line.isprintable() for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_hostile_file_name_does_nothing_to_the_terminal(tmp_path, backend):
    """It is seen in the display while it is worked on, and in the error that it ends in."""
    workspace = Workspace(tmp_path, {HOSTILE: "rows 7\nwait_for seen\nfail here", "b": "rows 7\nwait_for seen"})
    with terminal(workspace, 200, [sys.executable, "-m", "stages.discover", "scripted"]) as screen:
        assert screen.wait() == 0
        assert b"\x1b" not in screen.bytes()
    with terminal(workspace, 200, [*PROCESS, "b"], BACKEND=backend) as screen:
        assert screen.until(lambda: is_whole(screen, f": {HOSTILE_SHOWN}"))
        (tmp_path / "seen").touch()
        assert screen.wait() == 1
        assert HOSTILE_SHOWN in "".join(screen.all_lines()).partition("error: ")[2]
        sent = screen.bytes()
    assert not [part for part in SENT_NEVER if part in sent]


def test_units_are_called_what_they_are():
    assert "units/s" in "".join(Display(WorkerProgress("t", "units", 9, Busy()), Watched()).lines())


def test_the_line_of_a_large_batch_fits_into_80_columns(monkeypatch):
    progress = WorkerProgress("t", "files", 100_000, Busy())
    here = Display(progress, Watched())
    progress.advance(99_999, 6_000_000)
    monkeypatch.setattr(here, "_started", time.monotonic() - 200)
    assert max(map(len, here.lines())) <= 80


def test_without_a_terminal_a_line_now_and_then_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(display, "LINE_S", 0.1)
    shown = Display(WorkerProgress("Processing toy", "files", 9, Busy()), Watched())
    with caplog.at_level("INFO", "batchwise"), shown as progress:
        started = time.monotonic()
        progress.advance(3, 600)
        until(lambda: len(caplog.records) >= 3)
    seconds = time.monotonic() - started
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "Processing toy"
    assert len(told[1:]) <= 1 + seconds / display.LINE_S
    line = r"Processing toy: 3/9, [\d,]+ files/s, [\d,]+ rows/s, 0:\d\d:\d\d left, RAM 10 MB now, 12 MB peak, 2,048 MB "
    assert all(re.fullmatch(f"{line}budget", text) for text in told[1:])


def test_a_step_is_done_when_the_next_one_begins():
    progress = StepProgress("t", "fields", 3)
    here = Display(progress, Watched())
    assert here.lines()[0].split()[1:2] == ["0/3,"]
    progress.begin("X", 100)
    assert here.lines()[0] == "  now: X"
    progress.begin("labels", 100)
    assert here.lines()[0] == "  now: labels"
    assert " 1/3, " in here.lines()[1]


def test_the_step_in_work_is_named_for_an_error():
    steps = display.StepProgress("Merging", "fields", 2)
    assert steps.doing(Path("data/merged/hex")) == ""
    steps.begin("board", 3)
    assert steps.doing(Path("data/merged/hex")) == " with board of data/merged/hex in work"
