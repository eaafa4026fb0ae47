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


MOST_ATTEMPTS = 5  # to meet a training while it runs; nearly always the first one does


def stopped(trainings, number, n_checkpoints=1, n_ranks=1):
    """Begin anew, and send a signal once there were so many checkpoints; return the exit code and what was said.

    Again where the training came to its end before.
    """
    for _ in range(MOST_ATTEMPTS):
        trainings.forget()
        process, seen = trainings.begin(n_ranks=n_ranks), set()
        while len(seen) < n_checkpoints and process.poll() is None:
            time.sleep(0.005)
            seen.update(trainings.checkpoints())
        process.send_signal(number)
        told = process.communicate(timeout=60)[0]
        if process.returncode != 0:
            return process.returncode, told
    return pytest.fail(f"no signal met a training in {MOST_ATTEMPTS} attempts: {told}")


def test_killed_before_its_first_checkpoint_it_begins_anew(undisturbed):
    trainings, outs = undisturbed
    trainings.forget()
    log = trainings.folder / "data/logs/train.jsonl"
    n_bytes = log.stat().st_size
    process = trainings.begin()
    while log.stat().st_size == n_bytes:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert trainings.run()[0] == 0
    assert trainings.outs() == outs


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped")]
)
def test_told_to_stop_it_keeps_a_checkpoint_and_says_so(undisturbed, number, code, word):
    trainings, outs = undisturbed
    returned, told = stopped(trainings, number, n_checkpoints=2)
    last = int(trainings.checkpoints()[-1].stem.removeprefix("step_"))
    assert returned == code, told
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
        _, told = stopped(trainings, signal.SIGTERM, n_ranks=first)
        assert "stopped: the checkpoint of step" in told
        assert not (trainings.folder / "data/models").exists()
        code, told = trainings.run(n_ranks=second)
        assert code == 0, told
        assert "goes on behind step" in told
        for part in ("val", "test"):
            for name, value in alone[part]["model"].items():
                assert trainings.metrics()[part]["model"][name] == pytest.approx(value, abs=1e-5)
