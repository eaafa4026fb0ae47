"""`make diff` as a user types it: text, JSON, two folders, and what is refused."""

import json
import shutil

import pytest

from stages.commands import diff
from stages.core.errors import ExpectedError


def test_two_folders_as_text_and_as_json(run, finished, tmp_path):
    """Of repositories: every dataset that both have; one that only one has is told."""
    shutil.copytree(finished / "data", tmp_path / "data")
    shutil.copytree(tmp_path / "data/processed/splendor", tmp_path / "data/processed/other")
    done = run("commands.diff", f"{finished} {tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"splendor: {finished} -> {tmp_path}",
        f"  data      nothing differs: 60 units, {rows(finished):,} rows",
        f"other: not in {finished}",
    ]
    as_json = run("commands.diff", f"{finished}", "splendor", cwd=tmp_path, JSON="yes")
    (found,) = json.loads(as_json.stdout)["datasets"]
    assert (found["dataset"], found["after"], found["is_none"]) == ("splendor", "the workspace", True)


def rows(folder):
    return sum(json.loads((folder / "data/processed/splendor/stats.json").read_text())["rows"].values())


def test_two_folders_of_parts(stores):
    """Of one dataset each, whatever they are called."""
    found, lines = diff.differences(str(stores["stored"]), str(stores["float32"]), [])
    assert ([one.dataset for one in found], lines) == (["toy"], [])


def test_a_dataset_of_neither_version_is_refused(finished):
    """With those that there are."""
    with pytest.raises(ExpectedError, match=r"DATASET: 'chess' is in neither version, expected one of: splendor"):
        diff.differences(str(finished), str(finished), ["chess"])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("", ("HEAD", "")), ("HEAD~1", ("HEAD~1", "")), (" v1  v2 ", ("v1", "v2"))],
)
def test_rev_is_one_version_or_two(typed, expected):
    assert diff.versions(typed) == expected


@pytest.mark.parametrize(("typed", "expected"), [("", False), ("no", False), ("yes", True)])
def test_json_is_yes_or_no(monkeypatch, typed, expected):
    monkeypatch.setenv("JSON", typed)
    assert diff.wants_json() == expected
    monkeypatch.setenv("JSON", "1")
    with pytest.raises(ExpectedError, match="JSON: '1', expected yes or no"):
        diff.wants_json()


def test_three_versions_are_refused():
    with pytest.raises(ExpectedError, match=r"REV: 'a b c' names 3 versions, expected one or two"):
        diff.versions("a b c")
