"""Trainings of the toy task in this process."""

import pytest

from tests.helpers.trainings import write_parts


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return a function that trains in an empty folder, with an entry of `train`, and gives what is left there."""
    torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
    from stages.training.run import make_job, run
    from tests.helpers.toy_training.task import TaskToy

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    write_parts(tmp_path / "data/processed/toy")

    def trained(tell_kept=lambda _: None, **entry):
        run(make_job("toy", entry, TaskToy), tell_kept)
        return tmp_path / "data"

    yield trained
    torch.use_deterministic_algorithms(False)
