"""Seeded kills of `make preprocess` with all it started: one more run gives the same bytes, without a hand.

`make torture` does a hundred of them. Every second kill waits for the moment in which DVC has emptied a file of its own
to write it anew.
"""

import shutil
import sys
import time
from dataclasses import replace

import pytest

from tests.helpers.clones import copy_of, make_clone, with_few_games
from tests.helpers.kills import assert_one_more_run_gives, carry_out, everything, seeded_kills

pytestmark = pytest.mark.slow

KILLS = 6  # two of each: SIGKILL, SIGHUP and SIGTERM
SEED = 20240613
PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
GAMES = 24
MOST_ATTEMPTS = 5  # to meet the command while it runs; nearly always the first one does


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A clone with small data in which nothing ran."""
    return with_few_games(make_clone(tmp_path_factory.mktemp("start")), GAMES)


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The bytes of all that one run makes, and the seconds it took."""
    clone = copy_of(start, tmp_path_factory.mktemp("undisturbed"))
    began = time.monotonic()
    clone.run(*PREPROCESS)
    return everything(clone), time.monotonic() - began


def test_one_more_run_after_any_kill_gives_the_same_bytes(start, undisturbed, tmp_path):
    """Where the command came to its end before the kill, again at half the time, and at last at no aim."""
    expected, seconds = undisturbed
    n_attempts, n_mended = 0, 0
    for kill in seeded_kills(KILLS, seconds, SEED):
        for attempt in range(MOST_ATTEMPTS):
            n_attempts += 1
            clone = copy_of(start, tmp_path / str(n_attempts))
            tried = replace(kill, after_s=kill.after_s / 2**attempt, is_aimed=kill.is_aimed and attempt < 2)
            was_running = carry_out(tried, clone, PREPROCESS)
            print(tried, was_running)
            n_mended += bool(assert_one_more_run_gives(clone, PREPROCESS, expected))
            shutil.rmtree(clone.folder)
            if was_running:
                break
        else:
            pytest.fail(f"{kill}: no kill met the command in {MOST_ATTEMPTS} attempts")
    print(f"{KILLS} kills of a running command in {n_attempts} attempts; {n_mended} times DVC's files were mended")
