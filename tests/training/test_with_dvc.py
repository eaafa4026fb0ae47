"""The pipeline of models: what trains and what does not; tests/training/test_kills.py kills it."""

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.trainings import Trainings

pytestmark = [pytest.mark.train, pytest.mark.slow]

PIPELINE = "stages/training/dvc.yaml"


def repro(trainings):
    """Run the pipeline; return whether it trained."""
    process = trainings.dvc("repro", PIPELINE)
    told = process.communicate(timeout=120)[0]
    assert process.returncode == 0, told
    return "Running stage" in told


def edit(path):
    path.write_text(path.read_text() + "\n# Another line.\n")


def test_what_trains_and_what_does_not(tmp_path):
    trainings = Trainings(tmp_path / "trainings", epochs=1)
    trainings.add_dvc()
    assert repro(trainings)
    first = trainings.outs()
    assert not repro(trainings)
    edit(trainings.folder / "stages/training/progress.py")
    (trainings.folder / "stages/training/README.md").unlink()
    assert not repro(trainings)
    trainings.set(epochs=1, lr=0.5)
    assert repro(trainings)
    assert trainings.outs() != first
    edit(trainings.folder / "stages/datasets/toy/training/task.py")
    assert repro(trainings)
