"""Seeded kills of `make preprocess` with all it started: one more run gives the same bytes, without a hand.

`KILLS=100 python -m pytest -m slow tests/pipeline/test_group_kills.py` does more of them. Every second kill waits for
the moment in which DVC has emptied a file of its own to write it anew.
"""

import os
import random
import shutil
import signal
import sys
import time

import pytest

from tests.helpers.clones import make_clone
from tests.pipeline.test_kills import begin, copy_of, everything, kill_group, left_overs

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", "20240613"))
SIGNALS = (signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
GAMES = 24


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A clone with small data in which nothing ran."""
    clone = make_clone(tmp_path_factory.mktemp("start"))
    params = (clone.folder / "params.yaml").read_text()
    params = params.replace("games: 240", f"games: {GAMES}").replace("batch_size: 64", "batch_size: 16")
    (clone.folder / "params.yaml").write_text(params)
    return clone


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The bytes of all that one run makes, and the seconds it took."""
    clone = copy_of(start, tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    clone.run(*PREPROCESS)
    return everything(clone), time.monotonic() - began


def is_emptied(clone):
    """Say whether DVC is writing one of its own files; rwlock is written some ten times a stage."""
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        try:
            if (clone.folder / name).stat().st_size == 0:
                return True
        except FileNotFoundError:
            continue
    return False


def wait_for_a_moment(clone, process, seconds, is_aimed):
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    while is_aimed and process.poll() is None and not is_emptied(clone):
        pass


def test_one_more_run_after_any_kill_gives_the_same_bytes(start, undisturbed, tmp_path):
    rng = random.Random(SEED)
    expected, seconds = undisturbed
    n_running, n_mended = 0, 0
    for number in range(KILLS):
        folder = tmp_path / str(number)
        clone = copy_of(start, folder)
        process = begin(clone, *PREPROCESS)
        wait_for_a_moment(clone, process, seconds * rng.uniform(0.05, 0.95), is_aimed=number % 2 == 1)
        kill = SIGNALS[number // 2 % len(SIGNALS)]
        n_running += kill_group(process, kill)
        done = clone.run(*PREPROCESS, check=False)
        mended = [line for line in done.stderr.splitlines() if "when a DVC was killed" in line]
        n_mended += bool(mended)
        assert done.returncode == 0, (number, kill, done.stdout[-2000:], done.stderr[-2000:])
        found = everything(clone)
        assert sorted(found) == sorted(expected), (number, kill)
        assert [name for name in found if found[name] != expected[name]] == [], (number, kill, mended)
        assert left_overs(clone) == []
        shutil.rmtree(folder)
    print(f"{KILLS} kills, {n_running} of a running command; {n_mended} times DVC's files were mended")
    assert n_running >= KILLS // 2
