"""What DVC computes once and not six times a stage: right also where a command changes what a later stage reads."""

import shutil
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from stages.pipeline import side_by_side
from stages.pipeline.computed_once import Hashed

PIPELINE = """
stages:
  first: {cmd: "cat code/a > first.txt", deps: [code], params: [x.y], outs: [first.txt]}
  edit: {cmd: "echo 2 > code/a; echo 3 > edited.txt", deps: [first.txt], outs: [edited.txt]}
  use: {cmd: "mkdir used; cat code/a > used/a", deps: [code, edited.txt], params: [x], outs: [used]}
"""


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of a package that DVC uses
def test_digests_are_those_of_dvc_where_a_command_edits_what_a_later_one_reads(here, dvc, monkeypatch):
    (here / "own/code").mkdir(parents=True)
    (here / "own/code/a").write_text("1\n")
    (here / "own/dvc.yaml").write_text(PIPELINE)
    (here / "own/params.yaml").write_text("x: {y: 1, z: [1e-05, yes]}\n")
    shutil.copytree(here / "own", here / "dvc")
    for folder in ("own", "dvc"):
        monkeypatch.chdir(here / folder)
        dvc("init", "--no-scm", "--quiet")
    dvc("repro")
    monkeypatch.chdir(here / "own")
    with side_by_side.Reproducer("it failed") as stages:
        stages.repro(["use"])
    assert Path("used/a").read_text() == "2\n"
    assert Path("dvc.lock").read_text() == (here / "dvc/dvc.lock").read_text()
    assert MemoryFileSystem.store == {}


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
def test_an_input_that_changes_while_a_command_runs_is_taken_in_by_the_next_run(here, dvc, caplog):
    (here / "code").mkdir()
    (here / "code/a").write_text("1\n")
    cmd = "cat code/a > read.txt; [ -e late ] || { touch late; echo 2 > code/a; echo 3 > code/b; }"
    (here / "dvc.yaml").write_text(f'stages: {{read: {{cmd: "{cmd}", deps: [code], outs: [read.txt]}}}}\n')
    dvc("init", "--no-scm", "--quiet")

    def run():
        caplog.clear()
        with side_by_side.Reproducer("it failed") as stages:
            stages.repro(["read"])
        return Path("read.txt").read_text(), [record.message for record in caplog.records]

    assert run() == ("1\n", ["read: code changed while it ran; the next run takes that in"])
    assert run() == ("2\n", [])
    Path("read.txt").chmod(0o644)
    Path("read.txt").write_text("left alone\n")
    assert "read" in dvc("status")
    assert run() == ("2\n", [])


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")
def test_what_was_made_of_an_edit_that_is_taken_back_is_made_anew(here, dvc, caplog):
    """The edit comes after the inputs were looked at and before the command reads them."""
    (here / "code").write_text("1\n")
    cmd = "[ -e late ] || { touch late; echo 2 > code; }; cat code > read.txt"
    (here / "dvc.yaml").write_text(f'stages: {{read: {{cmd: "{cmd}", deps: [code], outs: [read.txt]}}}}\n')
    dvc("init", "--no-scm", "--quiet")
    for made in ("2\n", "1\n"):
        with side_by_side.Reproducer("it failed") as stages:
            stages.repro(["read"])
        assert Path("read.txt").read_text() == made
        (here / "code").write_text("1\n")


@pytest.mark.parametrize(
    ("written", "left"),
    [("/d/a", {"/d/ab", "/e"}), ("/d", {"/e"}), ("/d/a/b/c", {"/d/ab", "/e"}), ("/x", {"/d", "/d/a", "/d/ab", "/e"})],
)
def test_what_was_written_is_hashed_again_with_what_is_in_it_and_what_it_is_in(written, left):
    hashed, paths = Hashed(), {"/d", "/d/a", "/d/ab", "/e"}
    computed = []

    def look():
        computed.clear()
        for path in paths:
            assert hashed.of(path, "md5", lambda path=path: computed.append(path) or path) == path

    look()
    assert set(computed) == paths
    hashed.forget([written])
    look()
    assert set(computed) == paths - left
