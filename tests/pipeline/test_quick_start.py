"""The commands that the documents begin with, typed in a clone one after the other as a new user would."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.clones import built_clone, linked_copy_of, make_clone
from tests.helpers.places import REPOSITORY

pytestmark = pytest.mark.slow

VENV = Path(sys.executable).parents[1]
PARAMS = "params.yaml"


def making_in(clone):
    """Return how to run make in a clone, with the environment that runs the tests; `-o` keeps it from being made."""
    return lambda *words: clone.run("make", "-o", str(VENV / ".ready"), f"VENV={VENV}", *words).stdout


def test_the_commands_of_the_documents_do_what_they_say(tmp_path):
    make = making_in(make_clone(tmp_path))
    assert "data/processed/splendor/" in make("preprocess")
    assert np.load(tmp_path / "data/processed/splendor/X_train.npy", mmap_mode="r").shape == (15_227, 1_308)
    assert make("trace", "DATASET=splendor", "PART=train", "ROW=123") in (REPOSITORY / "README.md").read_text()
    assert "every file is as written" in make("verify")
    assert "up to date" in make("status")
    assert "nothing was run" in make("plan")
    make("report")
    assert (tmp_path / "data/reports/index.html").is_file()
    make("slim")
    assert not (tmp_path / "data/merged/splendor").exists()
    assert "make preprocess DATASET=sensors" in make("dataset", "NAME=sensors")
    assert (tmp_path / "stages/datasets/sensors/find.py").is_file()


def test_a_folder_of_ones_own_needs_two_keys(tmp_path_factory, tmp_path):
    """As under "Your own data": files anywhere, `raw` and `batch_size` changed, the rest left."""
    clone = linked_copy_of(built_clone(tmp_path_factory)[0], tmp_path)
    make = making_in(clone)
    shutil.copytree(clone.folder / "data/sample/splendor", clone.folder / "data/games")
    params = (clone.folder / PARAMS).read_text()
    for before, after in (("raw: data/sample/splendor", "raw: data/games"), ("batch_size: 64", "batch_size: 500")):
        assert before in params
        params = params.replace(before, after)
    (clone.folder / PARAMS).write_text(params)
    line = next(line for line in make("preprocess").splitlines() if line.startswith("splendor"))
    assert line.split()[1:4] == ["240", "1", "0"]
    assert "data/games/" in make("trace", "DATASET=splendor", "ROW=0")
