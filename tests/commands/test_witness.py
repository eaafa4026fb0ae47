"""`make preprocess` sees a byte that changed behind DVC's back, and says nothing of what DVC itself did."""

import re
import subprocess
import sys

import pytest

from tests.helpers.clones import built_clone, flip, linked_copy_of, type_cures

PREPROCESS = (sys.executable, "-m", "stages.commands.preprocess")
X = "data/merged/splendor/X.npy"


@pytest.fixture(scope="module")
def finished_clone(tmp_path_factory):
    """A clone with hard links in which preprocess ran."""
    clone = linked_copy_of(built_clone(tmp_path_factory)[0], tmp_path_factory.mktemp("finished"))
    clone.run("dvc", "config", "cache.type", "hardlink")
    clone.run("dvc", "checkout", "--relink")
    clone.run(*PREPROCESS)
    return clone


@pytest.fixture
def clone(finished_clone, tmp_path):
    """A copy of it, known to its own record: a copy has other inodes."""
    clone = linked_copy_of(finished_clone, tmp_path)
    assert_content(clone.run(*PREPROCESS))
    return clone


def assert_content(done):
    assert (done.returncode, re.findall(r"damaged|error", done.stdout + done.stderr)) == (0, [])


def assert_told_and_repaired(clone, path, before):
    done = clone.run(*PREPROCESS, check=False)
    assert done.returncode == 1
    assert path in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: outputs were damaged since the last run, see above; type what is printed, then run again"
    )
    type_cures(clone, done)
    assert_content(clone.run(*PREPROCESS))
    assert clone.arrays() == before


@pytest.mark.slow
def test_a_flipped_bit_of_which_no_time_tells_is_seen_and_repaired(clone):
    before = clone.arrays()
    flip(clone.folder / X)
    assert_told_and_repaired(clone, X, before)


@pytest.mark.slow
def test_a_flipped_bit_in_a_read_only_object_is_seen_also_with_a_new_time(clone):
    """DVC would see the new time, take the object for right because it is read-only, and link it again."""
    before, path = clone.arrays(), clone.folder / "data/processed/splendor/X_val.npy"
    flip(path)
    path.touch()
    assert_told_and_repaired(clone, "X_val.npy", before)


@pytest.mark.slow
def test_nothing_is_said_of_what_dvc_did(clone, tmp_path):
    assert_content(clone.run(*PREPROCESS))
    clone.run("dvc", "checkout", "--relink")
    assert_content(clone.run(*PREPROCESS))
    clone.run(sys.executable, "-m", "stages.commands.slim", "splendor")
    assert_content(clone.run(*PREPROCESS))
    clone.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    clone.run("dvc", "push", "--run-cache")
    subprocess.run(["rm", "-rf", clone.folder / "data/processed", clone.folder / ".dvc/cache"], check=True)
    clone.run("dvc", "pull", "--run-cache", "--force")
    assert_content(clone.run(*PREPROCESS))
    (clone.folder / X).chmod(0o600)
    assert_content(clone.run(*PREPROCESS))


@pytest.mark.slow
def test_an_output_that_dvc_sees_as_changed_is_left_to_it(clone):
    """A file that a killed run or a user left in its place, whose object is right."""
    before, path = clone.arrays(), clone.folder / X
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"\1")
    assert_content(clone.run(*PREPROCESS))
    assert clone.arrays() == before
