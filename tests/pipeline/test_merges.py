"""Two people change one tracked folder and type `git pull`: nothing is lost without a word."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.pipeline.folders import Conflict, merged, to_be_kept
from tests.helpers.clones import Clone
from tests.helpers.places import REPOSITORY
from tests.helpers.servers import connect, folder_server
from tests.helpers.tracked_folders import change, folder_md5, games, git_clone, ours, start

slow = pytest.mark.slow
CHECK = ("-c", "from stages.pipeline import merges; merges.check()")
# No environment is active, and so no dvc; the small repositories have no modules of their own.
WITHOUT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}


def test_each_file_of_a_folder_is_merged_by_itself():
    base = {"a": "1", "b": "1", "c": "1", "d": "1"}
    one, other = {"a": "2", "c": "1", "d": "1", "e": "1"}, {"a": "1", "b": "1", "c": "3", "f": "1"}
    assert merged(base, one, other) == {"a": "2", "c": "3", "e": "1", "f": "1"}
    assert merged(base, other, one) == merged(base, one, other)
    assert to_be_kept(base, one, other) == {"a", "c", "e", "f"}


@pytest.mark.parametrize(("one", "other"), [({"a": "2"}, {"a": "3"}), ({}, {"a": "3"}), ({"a": "2"}, {})])
def test_a_file_that_both_changed_waits_for_a_word(one, other):
    with pytest.raises(Conflict, match="both changed a; `make merge TAKE=ours` or `make merge TAKE=theirs`"):
        merged({"a": "1"}, one, other)
    assert merged({"a": "1"}, one, other, "ours") == one
    assert merged({"a": "1"}, one, other, "theirs") == other


@pytest.fixture
def two(tmp_path):
    """Ann and Bob with the same start; a bare repository and a remote between them."""
    with folder_server(tmp_path / "server") as remote:
        first = start(tmp_path / "first", {"1.csv": "one\n", "2.csv": "two\n"})
        connect(first, remote)
        first.run("dvc", "push", "-q")
        first.run("git", "clone", "-q", "--bare", ".", str(tmp_path / "hub"))
        ann, bob = (git_clone(Clone(tmp_path / "hub"), tmp_path / name) for name in ("ann", "bob"))
        for clone in (ann, bob):
            clone.run("dvc", "pull", "-q")
        yield SimpleNamespace(ann=ann, bob=bob, remote=remote)


def publish(clone, **files):
    change(clone, **files)
    clone.run("dvc", "push", "-q")
    clone.run("git", "push", "-q")


def pull(clone):
    """Type `git pull` where no environment is active."""
    settings = [f"{name}={value}" for name, value in WITHOUT.items()]
    return clone.run("env", *settings, "git", "pull", "--no-rebase", "--no-edit", check=False)


def break_driver(clone):
    clone.run("git", "config", "merge.folder.driver", broken(clone))


def broken(clone):
    """Return the registered command with a Python that is not there."""
    command = clone.run("git", "config", "merge.folder.driver").stdout.strip()
    return re.sub(r'^"[^"]+"', '"/nowhere/python"', command)


def refusal(clone):
    return ours(clone, *CHECK, check=False).stderr


@slow
def test_a_bare_pull_merges_what_both_added_and_one_removed(two):
    publish(two.ann, **{"3.csv": "three\n", "1.csv": None})
    change(two.bob, **{"4.csv": "four\n"})
    done = pull(two.bob)
    assert done.returncode == 0, done.stderr
    assert ".csv" in refusal(two.bob)  # they are not checked out
    two.bob.run("dvc", "checkout", "-q")
    assert sorted(games(two.bob)) == ["2.csv", "3.csv", "4.csv"]
    assert refusal(two.bob) == ""
    before = (two.bob.folder / "games.dvc").read_text()
    two.bob.run("dvc", "add", "-q", "games")
    assert (two.bob.folder / "games.dvc").read_text() == before  # as DVC itself writes it


@slow
@pytest.mark.parametrize("reason", ["not pushed", "broken driver", "no driver", "same file"])
def test_what_cannot_be_merged_has_markers_that_everyone_refuses(two, reason):
    change(two.ann, **{"3.csv": "three\n", "1.csv": "ann\n"})
    change(two.bob, **{"4.csv": "four\n"} | ({"1.csv": "bob\n"} if reason == "same file" else {}))
    two.ann.run("git", "push", "-q")
    if reason != "not pushed":
        two.ann.run("dvc", "push", "-q")
    if reason == "broken driver":
        break_driver(two.bob)
    if reason == "no driver":
        two.bob.run("git", "config", "--unset", "merge.folder.driver")
    done = pull(two.bob)
    assert done.returncode != 0
    if reason in ("not pushed", "same file"):
        assert "make merge" in done.stderr
    text = (two.bob.folder / "games.dvc").read_text()
    assert "<<<<<<<" in text
    assert "games.dvc: not merged" in refusal(two.bob)
    two.bob.run("git", "add", "-A")
    two.bob.run("git", "commit", "-qm", "habit")
    assert "games.dvc: not merged" in refusal(two.bob)
    assert two.bob.run("dvc", "status", check=False).returncode != 0


@slow
def test_a_merge_that_kept_only_ours_is_refused(two):
    """As DVC's own driver leaves it when it fails."""
    publish(two.ann, **{"3.csv": "three\n"})
    change(two.bob, **{"4.csv": "four\n"})
    mine = (two.bob.folder / "games.dvc").read_text()
    two.bob.run("git", "config", "merge.folder.driver", "false")
    pull(two.bob)
    (two.bob.folder / "games.dvc").write_text(mine)
    assert "1 files of the last merge are missing, as 3.csv" in ours_after_add(two.bob)
    two.bob.run("git", "commit", "-qm", "habit")
    assert "as 3.csv, and neither side removed them; `make merge` brings them" in refusal(two.bob)


@slow
def test_what_a_merge_lost_comes_back_beside_what_was_added_since(two):
    publish(two.ann, **{"3.csv": "three\n"})
    change(two.bob, **{"4.csv": "four\n"})
    mine = (two.bob.folder / "games.dvc").read_text()
    pull(two.bob)
    (two.bob.folder / "games.dvc").write_text(mine)
    two.bob.run("git", "commit", "-q", "--amend", "-am", "only ours")
    change(two.bob, **{"5.csv": "five\n", "2.csv": None})
    assert "as 3.csv" in refusal(two.bob)
    code = "from stages.commands import join as m; m._resolve_folders(m._to_be_ended(), None); m._check_out()"
    ours(two.bob, "-c", code)
    assert sorted(games(two.bob)) == ["1.csv", "3.csv", "4.csv", "5.csv"]
    assert refusal(two.bob) == ""


@slow
def test_a_rebase_is_not_taken_for_the_last_merge(two):
    change(two.ann, **{"1.csv": "ann\n"})
    change(two.bob, **{"1.csv": "bob\n"})
    two.ann.run("git", "push", "-q")
    two.bob.run("git", "pull", "--rebase", check=False)
    code = "from stages.commands import join as m; m._to_be_ended()"
    assert "by no merge; end that first, as with `git rebase --abort`" in ours(two.bob, "-c", code, check=False).stderr


def ours_after_add(clone):
    clone.run("git", "add", "-A")
    return refusal(clone)


@slow
def test_what_is_removed_after_a_merge_is_no_loss(two, tmp_path):
    publish(two.ann, **{"3.csv": "three\n"})
    change(two.bob, **{"4.csv": "four\n"})
    pull(two.bob)
    two.bob.run("dvc", "checkout", "-q")
    assert refusal(two.bob) == ""
    (two.bob.folder / "games/3.csv").unlink()
    assert refusal(two.bob) == ""
    publish(two.bob)
    cloned = git_clone(Clone(tmp_path / "hub"), tmp_path / "late")
    cloned.run("dvc", "pull", "-q")
    assert sorted(games(cloned)) == ["1.csv", "2.csv", "4.csv"]
    cloned.run("git", "config", "user.email", "late@localhost")
    assert "whether the last merge lost files cannot be seen" in refusal(cloned)  # the merge itself was not pushed
    assert refusal(cloned) == ""


@slow
def test_a_pull_that_brings_only_the_other_side_is_not_taken_back(two):
    """`dvc repro` would take the folder, which lacks the new file, for the new version."""
    publish(two.ann, **{"3.csv": "three\n"})
    assert pull(two.bob).returncode == 0
    assert f"games: not the version that {Path('games.dvc')} names" in refusal(two.bob)
    two.bob.run("dvc", "pull", "-q", "games.dvc")
    assert refusal(two.bob) == ""
    assert folder_md5(two.bob) == folder_md5(two.ann)
