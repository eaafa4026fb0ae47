"""Seeded kills of `make preprocess` with all it started: one more run gives the same bytes, without a hand.

`make torture` does a hundred of them. Every second kill waits for the moment in which DVC has emptied a file of its own
to write it anew.
"""

import shutil
import sys
import time

import pytest

from tests.helpers.clones import copy_of, make_clone, with_few_games
from tests.helpers.kills import assert_one_more_run_gives, carry_out, everything, seeded_kills

pytestmark = pytest.mark.slow

KILLS = 6  # two of each: SIGKILL, SIGHUP and SIGTERM
SEED = 20240613
PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
GAMES = 24


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
    expected, seconds = undisturbed
    n_running, n_mended = 0, 0
    for number, kill in enumerate(seeded_kills(KILLS, seconds, SEED)):
        clone = copy_of(start, tmp_path / str(number))
        n_running += carry_out(kill, clone, PREPROCESS)
        print(kill)
        n_mended += bool(assert_one_more_run_gives(clone, PREPROCESS, expected))
        shutil.rmtree(clone.folder)
    print(f"{KILLS} kills, {n_running} of a running command; {n_mended} times DVC's files were mended")
    assert n_running >= KILLS // 2
