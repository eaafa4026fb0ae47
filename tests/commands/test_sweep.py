"""The sweep in a real repository: what it trains, ranks and refuses, and how it goes on after Ctrl-C and kills."""

import hashlib
import json
import os
import re
import shutil
import signal
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from tests.helpers.kills import wait_for
from tests.helpers.sweeps import DATASET, QUEUE, TARGET, Sweeps, make_sweeps

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


def test_killed_and_stopped_it_goes_on_and_does_nothing_twice(make):
    """First the sweep alone is killed, and the queue goes on; then Ctrl-C stops the next sweep and the queue."""
    sweeps = make(TWO, **LONG)
    process = sweeps.begin()
    wait_for(sweeps.checkpoints, 300)
    process.kill()
    process.wait()
    assert len(sweeps.queue("stages.train")) == 1

    with (sweeps.folder / "told").open("w") as file:
        process = sweeps.begin(file)
        wait_for(lambda: len({path.parent for path in sweeps.checkpoints()}) == 2, 300)
        assert len(sweeps.experiments()) == 1
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) == 130
    told = (sweeps.folder / "told").read_text()
    assert "2 experiments: 0 done before, 2 in DVC's queue, 0 to be queued" in told
    words = r"^interrupted: 1 of 2 experiments are done, splendor-lr0.002-\w{6} goes on at its checkpoint;"
    assert re.search(words, told, re.MULTILINE), told
    assert [sweeps.queue(word) for word in QUEUE] == [[], [], []]

    code, told = sweeps.sweep()
    assert "2 experiments: 1 done before, 0 in DVC's queue, 1 to be queued" in told
    assert (code, sweeps.n_begun(), len(sweeps.experiments())) == (0, 3, 2), told
    assert "goes on behind step" in sweeps.logs()

    # the bytes are those of a training that nobody disturbed
    sweeps.write(TWO, **LONG, lr=0.002)
    shutil.rmtree(sweeps.folder / "data/checkpoints")
    sweeps.run(sys.executable, "-m", "stages.train", DATASET)
    weights = (sweeps.folder / "data/models" / DATASET / "weights.npz").read_bytes()
    assert hashlib.md5(weights).hexdigest() == next(md5 for name, md5 in sweeps.weights().items() if "lr0.002" in name)
