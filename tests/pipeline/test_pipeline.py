"""The pipeline under real git and DVC, in clones of this repository."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import yaml

from tests.helpers.clones import Clone, linked_copy_of, whole_clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone in which one bare `dvc repro` ran, and the stages it ran."""
    clone, ran = whole_clone(tmp_path_factory)
    return linked_copy_of(clone, tmp_path_factory.mktemp("finished")), ran


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    folder = tmp_path / "clone"
    shutil.copytree(finished[0].folder, folder, symlinks=True)
    return Clone(folder)


def test_one_bare_repro_on_a_fresh_clone_runs_every_stage_once(finished):
    clone, ran = finished
    of_splendor = [stage for stage in ran if stage.partition("@")[2].split("-")[0] == "splendor"]
    assert of_splendor == clone.expected_run(*clone.batches(), sample=True)
    assert len(clone.batches()) > 1
    assert len(set(ran)) == len(ran)
    assert "split@market" in ran


def test_a_fresh_clone_gives_the_committed_lock_file(finished):
    """The lock holds the hash of every array, so the arrays are those of the commit, byte for byte."""
    clone, _ = finished
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_a_second_repro_runs_nothing(finished):
    clone, _ = finished
    assert clone.repro() == []


def test_preprocess_ends_with_a_table_of_what_it_made(clone):
    done = clone.run(sys.executable, "-m", "stages.commands.preprocess")
    header, row = re.findall(r"^(?:dataset|splendor) .*$", done.stdout, re.MULTILINE)[-2:]
    rows = [len(np.load(clone.folder / f"data/processed/splendor/X_{p}.npy", mmap_mode="r")) for p in ("train", "val")]
    assert header.split()[:3] == ["dataset", "units", "run"]
    assert row.split()[:6] == ["splendor", "240", "0", str(len(clone.batches())), *(f"{n:,}" for n in rows)]
    assert row.endswith("data/processed/splendor/")


def test_trace_names_the_raw_file_and_line_of_a_row(finished):
    clone, _ = finished
    text = clone.run(sys.executable, "-m", "stages.commands.trace", "splendor", "val", "123").stdout
    file, line = re.search(r"^raw +(\S+), line (\d+)$", text, re.MULTILINE).groups()
    fields = (clone.folder / file).read_text().splitlines()[int(line) - 1].split(",")
    assert f"game_id {fields[0]}, " in text
    assert f"turn_number {fields[2]}" in text
    assert f"action_type {fields[383]!r}" in text
    keys = np.load(clone.folder / "data/processed/splendor/keys_val.npz")
    assert (keys["game_id"][123], keys["turn_number"][123]) == (int(fields[0]), int(fields[2]))


def test_trace_refuses_a_row_that_is_not_there(finished):
    done = finished[0].run(sys.executable, "-m", "stages.commands.trace", "splendor", "val", "99999999", check=False)
    assert done.returncode == 1
    assert "row 99999999, expected 0.." in done.stderr


def test_status_says_that_a_sample_was_edited(clone):
    path = next((clone.folder / "data/sample/splendor").rglob("*.csv"))
    content = path.read_bytes()
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(content + content[-100:])
    said = clone.run(sys.executable, "-m", "stages.commands.status", "splendor").stdout.splitlines()
    assert said == [
        "splendor: 1 file changed in 1 of 5 batches",
        "splendor: data/sample/splendor is not what simulate wrote; `dvc repro` makes it anew, SIMULATE=no keeps it",
    ]
    row = clone.run(sys.executable, "-m", "stages.commands.plan", "splendor").stdout.splitlines()[1]
    assert re.match(r"splendor +240 +0 +5 .* the sample is made anew$", row)


def add_comment(clone, name):
    with (clone.folder / name).open("a") as file:
        file.write("\n# A comment.\n")


def stale(clone):
    return set(json.loads(clone.run("dvc", "status", "--json").stdout))


@pytest.mark.parametrize("name", ["runtime/display.py", "pipeline/lock.py", "commands/plan.py", "loader/stream.py"])
def test_an_edit_of_what_changes_no_byte_makes_no_stage_stale(clone, name):
    add_comment(clone, f"stages/{name}")
    assert stale(clone) == set()


def test_an_edit_of_the_line_grammar_of_hex_makes_its_process_stages_stale_and_no_other(clone):
    add_comment(clone, "stages/datasets/hex/encode/lines.py")
    listed = yaml.safe_load((clone.folder / "data/manifests/hex/batches.yaml").read_text())["batches"]
    assert stale(clone) == {f"process@{key}" for key in listed}
    assert len(listed) > 1
