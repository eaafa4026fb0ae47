"""Kills at any moment: the next `dvc repro` gives the bytes of an undisturbed run, and nothing goes on writing."""

import os
import random
import re
import shutil
import signal
import sys
import time

import pytest

from stages.core.files import atomic, atomic_dir
from tests.helpers.clones import copy_of, make_clone, with_few_games
from tests.helpers.kills import (
    begin,
    descendants,
    everything,
    is_stage,
    kill_group,
    left_overs,
    running,
    stop_at_left_over,
    wait_at_most,
    wait_for,
    wait_until_gone,
)
from tests.helpers.verbs import WITHOUT_DVC

pytestmark = pytest.mark.slow

KILLS_PER_VERB = 4
KILLS_OF_DVC = 4
MOST_ATTEMPTS = 20  # to meet a process as a kill is to meet it; nearly always the first one does
GAMES = 48
SEED = 20240613
# What each verb makes, and what must be gone for it to have something to do.
MADE_BY = {
    "simulate": ("data/sample",),
    "discover": ("data/manifests/splendor/batches",),
    "process": ("data/intermediate",),
    "merge": ("data/merged", "data/reports"),
    "split": ("data/processed", "data/metrics", "data/plots"),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A clone with small data in which nothing ran but discover, which brings the batch list up to date."""
    clone = with_few_games(make_clone(tmp_path_factory.mktemp("start")), GAMES)
    (clone.folder / "dvc.lock").unlink()
    for verb in ("simulate", "discover"):
        clone.run(sys.executable, "-m", f"stages.{verb}", "splendor")
    return clone


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """A copy of the clone in which one `dvc repro` ran, and the seconds it took."""
    clone = copy_of(start, tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    clone.repro()
    return clone, time.monotonic() - began


@pytest.fixture
def clone(start, tmp_path):
    return copy_of(start, tmp_path)


def assert_recovers(clone, undisturbed):
    """One `dvc repro` gives what the undisturbed run gave, and no temporary file."""
    clone.run("dvc", "repro")
    assert left_overs(clone) == []
    found, expected = everything(clone), everything(undisturbed[0])
    assert sorted(found) == sorted(expected)
    assert [name for name in found if found[name] != expected[name]] == []
    assert clone.repro() == []


def forget(clone, verb):
    for name in MADE_BY[verb]:
        shutil.rmtree(clone.folder / name, ignore_errors=True)


def attempts_until(is_met):
    """Try until a kill meets a process as it is to meet it; return how many attempts that took."""
    for number in range(MOST_ATTEMPTS):
        if is_met(number):
            return number + 1
    pytest.fail(f"no kill met the process in {MOST_ATTEMPTS} attempts")


def test_twenty_kills_of_single_stages_leave_no_trace(clone, undisturbed):
    """Four kills in each of five verbs: half at a random moment, half while a temporary file is there, which stays."""
    rng = random.Random(SEED)
    n_attempts = 0
    for verb in WITHOUT_DVC:
        command = (sys.executable, "-m", f"stages.{verb}", "splendor")
        forget(clone, verb)
        began = time.monotonic()
        assert begin(clone, *command).wait(120) == 0
        seconds = time.monotonic() - began

        def is_met(attempt, verb=verb, command=command, seconds=seconds):
            forget(clone, verb)
            process = begin(clone, *command, JOBS=rng.choice("12"))
            wait_at_most(process, seconds * rng.uniform(0.3, 1) * 0.8**attempt)
            return kill_group(process)

        def is_met_while_it_writes(_, verb=verb, command=command):
            forget(clone, verb)
            process = begin(clone, *command, JOBS=rng.choice("12"))
            stop_at_left_over(clone, process)
            return kill_group(process) and left_overs(clone)

        for number in range(KILLS_PER_VERB):
            n_attempts += attempts_until(is_met_while_it_writes if number % 2 else is_met)
        if verb != "split":
            clone.run(*command)
    print(f"{len(WITHOUT_DVC) * KILLS_PER_VERB} kills of a running stage in {n_attempts} attempts")
    assert_recovers(clone, undisturbed)


def test_kills_of_a_whole_repro_leave_no_trace(clone, undisturbed):
    """Half at a moment of the whole run, half while a stage runs; each goes on where the one before was killed."""
    rng = random.Random(SEED)
    n_attempts = 0
    for number in range(KILLS_OF_DVC):

        def is_met(_, number=number):
            process = begin(clone, "dvc", "repro")
            if number % 2:
                wait_for(lambda: any(map(is_stage, descendants(process))) or process.poll() is not None)
                time.sleep(rng.uniform(0, 0.2))
            else:
                wait_at_most(process, undisturbed[1] * rng.uniform(number, number + 1) / KILLS_OF_DVC)
            is_in_stage = any(map(is_stage, descendants(process)))
            if was_running := kill_group(process):
                clone.run(sys.executable, "-m", "stages.commands.repair")
            else:
                forget_all(clone)
            return is_in_stage if number % 2 else was_running

        n_attempts += attempts_until(is_met)
    print(f"{KILLS_OF_DVC} kills of dvc repro in {n_attempts} attempts")
    assert_recovers(clone, undisturbed)


def forget_all(clone):
    """Let a repro that came to its end begin anew."""
    for verb in WITHOUT_DVC:
        forget(clone, verb)
    (clone.folder / "dvc.lock").unlink()
    shutil.rmtree(clone.folder / ".dvc/cache")


@pytest.mark.parametrize(("number", "verb"), [(signal.SIGINT, "process"), (signal.SIGTERM, "split")])
def test_a_stopped_repro_leaves_no_trace(clone, undisturbed, number, verb):
    process = begin(clone, "dvc", "repro")
    wait_for(lambda: running(process, f"stages.{verb}") or process.poll() is not None, 300)
    assert kill_group(process, number)
    clone.run(sys.executable, "-m", "stages.commands.repair")
    assert_recovers(clone, undisturbed)


def nothing(folder, text):
    """Leave what a kill leaves between the making of the folder and that of the file."""


def half(folder, text):
    """Leave what a full disk may leave: an entry without its last output, under its temporary name."""
    (folder / "entry.tmp").write_text(text[: text.rindex("- path:")])


@pytest.mark.parametrize(("left", "told"), [(nothing, "join() argument"), (half, "does not exist")])
def test_a_run_cache_entry_that_was_not_written_is_no_obstacle_after_a_repair(undisturbed, tmp_path, left, told):
    """DVC alone fails with it for ever."""
    clone = copy_of(undisturbed[0], tmp_path)
    entries = [path for path in (clone.folder / ".dvc/cache/runs").rglob("*") if path.is_file()]
    (entry,) = [path for path in entries if "stages.merge" in path.read_text()]
    text = entry.read_text()
    entry.unlink()
    left(entry.parent, text)
    forget(clone, "merge")
    lock = clone.folder / "dvc.lock"
    lock.write_text(re.sub(r"  merge@splendor:\n(?:    .*\n)+", "", lock.read_text()))
    for _ in range(2):
        assert told in clone.run("dvc", "repro", check=False).stderr
    clone.run(sys.executable, "-m", "stages.commands.preprocess")
    assert clone.arrays() == undisturbed[0].arrays()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", ["process", "merge", "split"])
def test_a_stopped_stage_removes_its_own_temporary_files(clone, number, verb):
    for earlier in WITHOUT_DVC[: WITHOUT_DVC.index(verb)]:
        clone.run(sys.executable, "-m", f"stages.{earlier}", "splendor")
    forget(clone, verb)
    process = begin(clone, sys.executable, "-m", f"stages.{verb}", "splendor", JOBS="1")
    wait_for(lambda: left_overs(clone) or process.poll() is not None)
    process.send_signal(number)
    process.wait(timeout=60)
    assert left_overs(clone) == []


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_dies_with_the_dvc_that_runs_it(clone, shell):
    """The stage would take half a minute; dash, which is /bin/sh here and there, stays between DVC and the stage."""
    params = (clone.folder / "params.yaml").read_text()
    (clone.folder / "params.yaml").write_text(params.replace(f"games: {GAMES}", "games: 20000"))
    process = begin(clone, "dvc", "repro", "simulate@splendor", SHELL=shell, JOBS="1")
    stages = wait_for(lambda: running(process, "stages.simulate"))
    sample = clone.folder / "data/sample"
    wait_for(lambda: len(list(sample.rglob("*.csv"))) > GAMES)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_until_gone(stages) == []
    n_written = len(list(sample.rglob("*.csv")))
    time.sleep(0.3)
    assert len(list(sample.rglob("*.csv"))) == n_written < 20000


@pytest.mark.parametrize("command", ["exec {} -m stages.merge splendor", "{} -m stages.merge splendor; true"])
def test_a_stage_whose_dvc_died_before_it_could_look_does_nothing(clone, command):
    later = f"until [ -e killed ]; do sleep 0.02; done; {command.format(sys.executable)}"
    clone.run(sys.executable, "-m", "stages.process", "splendor")
    shell = begin(clone, "/bin/sh", "-c", f"/bin/sh -c '{later}' & wait", DVC_STAGE="merge@splendor")
    child = wait_for(lambda: descendants(shell))[0]
    os.kill(shell.pid, signal.SIGKILL)
    shell.wait()
    (clone.folder / "killed").touch()
    assert wait_until_gone([child], seconds=60) == []
    assert not (clone.folder / "data/merged").exists()


@pytest.mark.parametrize("verb", ["simulate", "process"])
@pytest.mark.parametrize("moment", [0.0, 0.3])
def test_workers_die_with_their_parent(clone, verb, moment):
    shutil.rmtree(clone.folder / MADE_BY[verb][0], ignore_errors=True)
    if verb == "process":
        clone.run(sys.executable, "-m", "stages.simulate", "splendor")
    params = (clone.folder / "params.yaml").read_text()
    (clone.folder / "params.yaml").write_text(params.replace(f"games: {GAMES}", "games: 2000"))
    process = begin(clone, sys.executable, "-m", f"stages.{verb}", "splendor", BACKEND="loky", JOBS="2")
    workers = wait_for(lambda: len(found := descendants(process)) >= 2 and found)
    time.sleep(moment)
    workers = [*workers, *descendants(process)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_until_gone(workers, seconds=60) == []  # one that has just begun looks for its parent once it can


def test_a_left_over_of_an_earlier_process_with_the_same_id_is_no_obstacle(tmp_path):
    """In a container every run may have the same process id and host name."""
    with atomic_dir(tmp_path / "merged") as folder:
        left_over = folder.name
    (tmp_path / left_over).mkdir()
    (tmp_path / left_over / "half").write_text("")
    with atomic_dir(tmp_path / "merged") as folder:
        (folder / "whole").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["merged", "whole"]


def test_a_left_over_of_a_living_process_is_kept(tmp_path):
    with atomic(tmp_path / "a") as temporary:
        temporary.write_text("")
        other = tmp_path / temporary.name.replace(f"-{os.getpid()}.", f"-{os.getppid()}.")
        other.write_text("")
    with atomic(tmp_path / "a") as temporary:
        temporary.write_text("")
    assert other.exists()
