"""A training killed at random moments, DVC's queue included: `python -m tests.helpers.training_kills 20` does more."""

import os

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.training_kills import WAYS, attack, shares

pytestmark = [pytest.mark.train, pytest.mark.slow]


N_KILLS = os.environ.get("KILLS")
# DVC's queue takes minutes for a kill, which tests/commands/test_sweep.py does as well.
CHOSEN = WAYS if N_KILLS else [way for way in WAYS if way != "queue"]


@pytest.mark.parametrize("way", CHOSEN)
def test_killed_at_random_moments_the_same_command_leaves_the_same_bytes(way, tmp_path):
    """One kill each; KILLS says how many in all, with those of the queue."""
    number = shares(int(N_KILLS or 3))[way]
    assert f"{way}: {number} kills" in attack(way, tmp_path, number, seed=1)
