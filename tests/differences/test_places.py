"""Versions: commits by DVC's cache or the remote, without a checkout; folders; the workspace; and what is none."""

import hashlib
import json
import shutil
import subprocess

import pytest
import yaml

from stages.core.errors import ExpectedError
from stages.differences.compare import compare
from stages.differences.places import WORKSPACE, opened

OUTS = {"discover@splendor": "data/manifests/splendor/batches", "split@splendor": "data/processed/splendor"}


def put(cache, content):
    """Put an object into a cache as DVC does; return its MD5."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / "files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return md5


def put_folder(cache, folder):
    """Put a folder's files and DVC's list of them into a cache; return the MD5 of the list."""
    entries = [{"md5": put(cache, path.read_bytes()), "relpath": path.name} for path in sorted(folder.iterdir())]
    text = json.dumps(entries).encode()
    md5 = put(cache, text)
    path = cache / "files/md5" / md5[:2] / md5[2:]
    path.rename(f"{path}.dir")
    return f"{md5}.dir"


def git(*arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(here, finished, dvc):
    """Give a repository whose only commit has the finished run, in DVC's cache, with other parts in the workspace."""
    for name in OUTS.values():
        shutil.copytree(finished / name, here / name)
    git("init", "-q")
    dvc("init", "-q")
    entries = {
        stage: {"cmd": "c", "outs": [{"path": path, "md5": put_folder(here / ".dvc/cache", here / path)}]}
        for stage, path in OUTS.items()
    }
    (here / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": entries}))
    git("add", "dvc.lock", ".dvc")
    git("commit", "-q", "-m", "first")
    stats = here / "data/processed/splendor/stats.json"
    content = json.loads(stats.read_text())
    content["files"]["X_val.npy"] = "00000000"
    stats.unlink()
    stats.write_text(json.dumps(content))
    return here


def test_a_commit_is_read_from_the_cache(repository, snapshot):
    """The units, parts and columns of HEAD beside those of the workspace, in which no byte and no time changes."""
    before = snapshot(repository)
    times = {path: path.lstat().st_mtime_ns for path in repository.rglob("data/**/*")}
    with opened("HEAD") as first, opened("") as second:
        assert (first.name[:6], second.name) == ("HEAD (", WORKSPACE)
        assert first.datasets() == second.datasets() == ["splendor"]
        assert len(first.units("splendor")) == 60
        found = compare(first, second, "splendor")
        root = first.root
    assert not root.exists()
    assert (len(found.columns), found.changed_columns()) == (1308, [])
    assert (found.units.changed, found.moves.n_moved) == ([], 0)
    after = snapshot(repository)
    assert {name: after[name] for name in before if not name.startswith(".dvc/tmp")} == {
        name: content for name, content in before.items() if not name.startswith(".dvc/tmp")
    }
    assert {path: path.lstat().st_mtime_ns for path in times} == times


@pytest.mark.slow
def test_what_the_cache_lacks_comes_from_the_remote(repository, dvc, tmp_path_factory):
    """Only what is read: of the features those that differ, and no labels and masks."""
    remote = tmp_path_factory.mktemp("remote")
    shutil.move(repository / ".dvc/cache/files", remote / "files")
    dvc("remote", "add", "-q", "-d", "other", str(remote))
    with opened("HEAD") as first, opened("") as second:
        assert compare(first, second, "splendor").columns
    got = {path.name for path in (repository / ".dvc/cache/files").rglob("*") if path.is_file()}
    labels = hashlib.md5((repository / "data/processed/splendor/labels_train.npz").read_bytes()).hexdigest()
    assert labels[2:] not in got
    assert len(got) > 10


@pytest.mark.slow
def test_values_that_are_nowhere_are_a_note_and_lists_an_error(repository):
    """Without the features the rest is compared; without what names the files nothing can be."""
    for path in (repository / ".dvc/cache/files").rglob("*"):
        if path.is_file() and path.stat().st_size > 1_000_000:
            path.unlink()
    with opened("HEAD") as first, opened("") as second:
        found = compare(first, second, "splendor")
    assert found.notes == ["X differs; its values are neither in DVC's cache nor on a remote: not compared"]
    assert found.columns == []
    for path in (repository / ".dvc/cache/files").rglob("*.dir"):
        path.unlink()
    with (
        pytest.raises(ExpectedError, match=r"HEAD \(.*neither in its cache nor on a remote, expected it there"),
        opened("HEAD"),
    ):
        pass


@pytest.mark.slow
def test_the_workspace_without_arrays_is_that_of_its_lock(repository):
    """As in a fresh clone: what dvc.lock names is there in the cache."""
    shutil.rmtree(repository / "data")
    with opened("HEAD") as first, opened("") as second:
        assert compare(first, second, "splendor").is_none


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere", "REV: 'nowhere' is neither a commit of git nor a folder, expected such as"),
        ("empty", "REV: 'empty' is a folder without data/processed, expected such as"),
        ("--help", "REV: '--help' is neither a commit of git nor a folder"),
        ("HEAD", r"HEAD \(.*\): no dvc.lock, expected the record of a run; name another commit or"),
    ],
)
def test_what_is_no_version_is_one_clear_error(here, name, reason):
    """A name of nothing, a folder without arrays, an option, and a commit before the first run."""
    (here / "empty").mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    with pytest.raises(ExpectedError, match=reason), opened(name):
        pass


def test_a_damaged_manifest_is_named(finished, tmp_path):
    """With what was expected."""
    for name in OUTS.values():
        shutil.copytree(finished / name, tmp_path / name)
    next((tmp_path / "data/manifests/splendor/batches").iterdir()).write_text("{")
    with (
        opened(str(tmp_path)) as version,
        pytest.raises(ExpectedError, match=r"not a manifest .*expected one of discover"),
    ):
        version.units("splendor")
