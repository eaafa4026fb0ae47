"""The sweep in a real repository: what it trains, ranks and refuses, and how it goes on after Ctrl-C and kills."""

import json
import os
import re
import signal
import time

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.kills import wait_for
from tests.helpers.sweeps import DATASET, TARGET, Sweeps, make_sweeps

pytestmark = [pytest.mark.train, pytest.mark.slow]

LONG = {"samples": 60_000, "eval_every": 3_000}  # some seconds, with a checkpoint every few tenths
TWO = {"lr": [0.001, 0.002]}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make_sweeps(tmp_path_factory.mktemp("sweeps"))


@pytest.fixture
def make(first, tmp_path):
    """Return a function that makes a copy of the clone with a grid; the queue of each is ended."""
    made = []

    def new(grid, **entry):
        made.append(Sweeps(first, tmp_path / f"sweep{len(made)}", grid, **entry))
        return made[-1]

    yield new
    for sweeps in made:
        sweeps.end()


def test_it_ranks_what_ended_and_tells_what_failed(make):
    """A learning rate of 1e30 is a number above 0, and the loss no number at once."""
    sweeps = make({"lr": [0.00001, 0.01, 1e30], "grad_clip": [None]})
    params = (sweeps.folder / "params.yaml").read_text()
    code, told = sweeps.sweep()
    names = sweeps.experiments()
    assert (code, len(names)) == (1, 2), told
    ranked = re.findall(r"^splendor-lr\S+(?=  .*lr: )", told, re.MULTILINE)
    assert [re.sub(r"-\w{6}$", "", name) for name in ranked] == ["splendor-lr0.01", "splendor-lr1e-05"]
    failed = re.search(r"^(splendor-lr1e_30-\w{6}) failed: (.*)$", told, re.MULTILINE)
    assert "the loss is nan at step" in failed[2], told
    assert "error: sweep: 1 of 3 experiments failed, see above" in told
    assert (sweeps.folder / "params.yaml").read_text() == params
    assert sweeps.run("git", "status", "--short").stdout == ""

    # what is checked is what was trained: the checkpoints of each lie under the digits of its name
    digits = {path.parent.name[:6] for path in sweeps.checkpoints()}
    assert {name[-6:] for name in names} <= digits

    # what ended well is not trained again, what failed is
    code, told = sweeps.sweep()
    assert "3 experiments: 2 done before, 0 in DVC's queue, 1 to be queued" in told
    assert (code, sweeps.n_begun(), sorted(sweeps.experiments())) == (1, 4, sorted(names))

    # the best, as it is told to be written, is taken from DVC's run cache
    entry = re.search(rf"^  ({DATASET}: .*)$", told, re.MULTILINE)[1]
    path = sweeps.folder / "params.yaml"
    path.write_text(re.sub(r"^train: .*$", f"train:\n  {entry}", path.read_text(), flags=re.MULTILINE))
    done = sweeps.run("dvc", "repro", "--single-item", TARGET)
    assert "is cached - skipping run" in done.stdout
    model = json.loads((sweeps.folder / "data/models" / DATASET / "model.json").read_text())
    assert model["identity"].startswith(ranked[0][-6:])


def test_stopped_by_ctrl_c_it_says_what_goes_on_and_does(make):
    undisturbed, sweeps = make(TWO, **LONG), make(TWO, **LONG)
    assert undisturbed.sweep()[0] == 0
    process = sweeps.begin()
    wait_for(sweeps.checkpoints)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert [sweeps.queue(word) for word in ("queue-worker", "exec-run", "stages.train")] == [[], [], []]
    code, told = sweeps.sweep()
    assert "2 experiments: 0 done before, 1 in DVC's queue, 1 to be queued" in told
    assert (code, sweeps.weights()) == (0, undisturbed.weights()), told
    log = next((sweeps.folder / ".dvc/tmp/exps/run").glob("*/*.out"))
    logs = "".join(path.read_text() for path in log.parents[1].glob("*/*.out"))
    assert "goes on behind step" in logs


def test_killed_itself_the_queue_goes_on_and_the_next_one_waits_for_it(make):
    sweeps = make(TWO, **LONG)
    process = sweeps.begin()
    wait_for(sweeps.checkpoints)
    process.kill()
    process.wait()
    code, told = sweeps.sweep()
    assert "to be queued" in told
    assert ", 0 to be queued" in told
    assert (code, sweeps.n_begun(), len(sweeps.experiments())) == (0, 2, 2), told


@pytest.mark.parametrize("word", ["queue-worker", "exec-run", "stages.train"])
def test_a_killed_process_of_the_queue_is_made_up_for(make, word):
    """Beside a sweep that waits; a training that was killed has failed, and the next sweep goes on with it."""
    sweeps = make({"lr": [0.001]}, **LONG)
    process = sweeps.begin()
    wait_for(sweeps.checkpoints)
    for one in sweeps.queue(word):
        one.kill()
    code = process.wait(timeout=120)
    assert code == (0 if word == "queue-worker" else 1)
    assert sweeps.sweep()[0] == 0
    assert len(sweeps.experiments()) == 1
    assert sweeps.queue("stages.train") == []
