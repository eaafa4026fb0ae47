"""`make pull` without what it needs; with it, see tests/pipeline/test_sharing.py."""

import sys

import pytest

from tests.helpers.clones import make_clone

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("command", ["pull", "push"])
def test_without_a_remote_it_says_how_to_set_one(tmp_path, command):
    done = make_clone(tmp_path).run(sys.executable, "-m", f"stages.commands.{command}", check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("params.yaml")]
    assert lines == ["error: no remote is set, expected one to share through; `make remote URL=...` sets it"]
