"""A training killed at random moments, DVC's queue included: `python -m tests.helpers.training_kills 20` does more."""

import os

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.training_kills import WAYS, attack, shares

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_random_moments_the_same_command_leaves_the_same_bytes(way, tmp_path):
    """One kill each; KILLS says how many in all."""
    number = shares(int(os.environ.get("KILLS") or 3))[way]
    assert f"{way}: {number} kills" in attack(way, tmp_path, number, seed=1)
