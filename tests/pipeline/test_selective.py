"""Parts of the pipeline run on their own, on what exists, and never touch what is the user's; under real DVC."""

import os
import subprocess
import sys

import pytest

from tests.pipeline.test_incremental import copy_of, edit, finished_clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone whose raw folder also holds files that are no games, in which one `dvc repro` ran."""
    clone = copy_of(finished_clone(tmp_path_factory)[0], tmp_path_factory.mktemp("finished") / "clone")
    for name in ("notes.txt", "2_games/17.csv.backup", ".hidden", "processed/X.npy"):
        path = clone.folder / "data/games" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    clone.repro()
    return clone


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    return copy_of(finished, tmp_path / "clone")


def raw_files(clone):
    folder = clone.folder / "data/games"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def preprocess(clone, simulate):
    environment = {**os.environ, "SIMULATE": simulate}
    command = [sys.executable, "-m", "stages.commands.preprocess"]
    return subprocess.run(command, cwd=clone.folder, env=environment, capture_output=True, text=True, check=False)


def add_simulation(clone):
    """Point the dataset at a sample that params.yaml has a simulation for; it holds other games, one fewer now."""
    edit(clone, "params.yaml", "raw: data/games", "raw: data/sample/splendor")
    edit(clone, "params.yaml", "simulate: {}", "simulate: {splendor: {games: 5, seed: 1}}")
    sample = clone.folder / "data/sample/splendor"
    sample.parent.mkdir(parents=True, exist_ok=True)
    (clone.folder / "data/games").rename(sample)
    next(sample.rglob("*.csv")).unlink()
    return sample


def test_a_target_runs_with_what_lies_before_it_and_no_more(clone):
    edit(clone, "params.yaml", "seed: 42", "seed: 43")
    edit(clone, "params.yaml", "max_bad_units: 0", "max_bad_units: 1")
    ran = clone.repro("merge@splendor")
    assert (ran[0], ran[-1]) == ("discover@splendor", "merge@splendor")
    assert clone.repro("split@splendor") == ["split@splendor"]


def test_a_single_stage_runs_on_what_exists(clone):
    """The raw folder is gone, and so are the batches: split needs neither."""
    (clone.folder / "data/games").rename(clone.folder / "data/elsewhere")
    edit(clone, "params.yaml", "seed: 42", "seed: 43")
    assert clone.repro("--single-item", "split@splendor") == ["split@splendor"]


def test_without_simulation_the_raw_folder_is_taken_as_it_is(clone):
    """What a simulation with these settings would write is not written, and what it would remove is there."""
    sample = add_simulation(clone)
    before = sorted(sample.rglob("*"))
    done = preprocess(clone, "no")
    assert done.returncode == 0, done.stderr
    ran = clone.ran(done)
    assert (ran[0], ran[-1]) == ("discover@splendor", "split@splendor")
    assert sorted(sample.rglob("*")) == before


def test_simulate_must_be_yes_or_no(clone):
    done = preprocess(clone, "maybe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "error: SIMULATE: 'maybe', expected yes or no; correct it"


def test_a_frozen_stage_does_not_run(clone):
    sample = add_simulation(clone)
    before = sorted(sample.rglob("*"))
    edit(clone, "dvc.yaml", "      cmd: python -m stages.simulate ${key}\n", FROZEN)
    ran = clone.repro("split@splendor")
    assert "simulate@splendor" not in ran
    assert ran[-1] == "split@splendor"
    assert sorted(sample.rglob("*")) == before


FROZEN = "      cmd: python -m stages.simulate ${key}\n      frozen: true\n"


def test_nothing_of_the_user_is_deleted_or_changed(clone):
    """Through runs that succeed and fail, a shrinking list, `make slim` and `make clean`."""
    before = raw_files(clone)
    assert before["notes.txt"] == b"mine"
    assert len(before) > 20
    clone.run(sys.executable, "-m", "stages.commands.slim")
    edit(clone, "params.yaml", "limit: null", "limit: 12")
    clone.repro()
    edit(clone, "params.yaml", "limit: 12", "limit: null")
    broken = clone.folder / "data/games/2_games/broken.csv"
    broken.write_text("no game")
    assert clone.run("dvc", "repro", check=False).returncode != 0
    clone.run("make", "clean")
    assert raw_files(clone) == before | {"2_games/broken.csv": b"no game"}
    broken.unlink()
    clone.repro()
    assert raw_files(clone) == before
