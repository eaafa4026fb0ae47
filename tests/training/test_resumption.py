"""A training that is stopped, or killed early, and the same command again: the same bytes.

tests/training/test_kills.py kills it at any moment.
"""

import shutil
import signal
import time

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.trainings import ENTRY, Trainings

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a folder with an undisturbed training that lasts some seconds, and what it left."""
    trainings = Trainings(tmp_path_factory.mktemp("trainings"), **ENTRY)
    code, told = trainings.run()
    assert code == 0, told
    outs = trainings.outs()
    trainings.forget()
    return trainings, outs


def wait_for_checkpoint(trainings, process, after=()):
    while not set(trainings.checkpoints()) - set(after):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_killed_before_its_first_checkpoint_it_begins_anew(undisturbed):
    trainings, outs = undisturbed
    trainings.forget()
    process = trainings.begin()
    while not (trainings.folder / "data/logs/train.jsonl").exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert trainings.run()[0] == 0
    assert trainings.outs() == outs


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped")]
)
def test_told_to_stop_it_keeps_a_checkpoint_and_says_so(undisturbed, number, code, word):
    trainings, outs = undisturbed
    trainings.forget()
    process = trainings.begin()
    wait_for_checkpoint(trainings, process)
    time.sleep(0.3)
    process.send_signal(number)
    told = process.communicate(timeout=10)[0]
    last = int(trainings.checkpoints()[-1].stem.removeprefix("step_"))
    assert process.returncode == code, told
    folder = trainings.checkpoints()[-1].parent.relative_to(trainings.folder)
    assert f"{word}: the checkpoint of step {last:,} is kept in {folder}; run the same command to go on" in told
    code, told = trainings.run()
    assert f"goes on behind step {last:,}" in told
    assert (code, trainings.outs()) == (0, outs)


def test_a_checkpoint_of_other_code_or_params_is_named_and_not_used(undisturbed):
    trainings, _ = undisturbed
    trainings.forget()
    trainings.set(**{**ENTRY, "epochs": 1})
    trainings.run()
    first = trainings.outs()
    trainings.set(**{**ENTRY, "epochs": 1, "lr": 0.002})
    code, told = trainings.run()
    assert (code, "is not used, it differs in params.lr" in told, "goes on" in told) == (0, True, False), told
    trainings.set(**{**ENTRY, "epochs": 1})
    path = trainings.folder / "stages/datasets/toy/training/task.py"
    text = path.read_text()
    path.write_text(f"{text}\n# Another one.\n")
    code, told = trainings.run()
    path.write_text(text)
    assert (code, "it differs in code.toy/training" in told, "goes on" in told) == (0, True, False), told
    assert trainings.outs()["data/models/toy/weights.npz"] == first["data/models/toy/weights.npz"]
    shutil.rmtree(trainings.folder / "data/models")
    assert "goes on behind step 10" in trainings.run()[1]
    trainings.set(**ENTRY)


def test_two_processes_make_the_same_steps_and_go_on_from_one(tmp_path):
    """The same global batches, hence the same metrics but for the order of sums; a checkpoint of either serves both."""
    entry = {"model": {"dropout": 0.0}, "epochs": 8, "pause": 0.01}
    trainings = Trainings(tmp_path / "trainings", **entry)
    assert trainings.run()[0] == 0
    alone = trainings.metrics()
    for first, second in ((1, 2), (2, 1)):
        trainings.forget()
        process = trainings.begin(n_ranks=first)
        wait_for_checkpoint(trainings, process)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[0]
        assert "stopped: the checkpoint of step" in told
        assert not (trainings.folder / "data/models").exists()
        code, told = trainings.run(n_ranks=second)
        assert code == 0, told
        assert "goes on behind step" in told
        for part in ("val", "test"):
            for name, value in alone[part]["model"].items():
                assert trainings.metrics()[part]["model"][name] == pytest.approx(value, abs=1e-5)
