"""Two generations of very small games: made by one command, killed and gone on, gates alone when only they change."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from tests.helpers.clones import Clone, make_clone

pytestmark = [pytest.mark.train, pytest.mark.slow]

SIMULATE = {
    "games": 60, "workers": 16, "seed": 1, "started": "2025-01-01T00:00:00", "widths": [2], "temperature": 0.5,
}  # fmt: skip
ITERATE = {
    "selfplay": {"games": 32, "workers": 32, "width": 2, "warm_moves": 6},
    "mix": {"window": 2, "passes": 1.0},
    "gate": {"games": 20, "anchor_games": 4, "accept": 0.4, "raw_too": False},
}
FOLDER = "data/generations"
MARK = "Running stage 'data/generations/dvc.yaml:"


class Iterations:
    """A clone with hex alone, and `make iterate` in it, in one process: others would each import torch."""

    jobs = "1"

    def __init__(self, folder):
        self.folder = make_clone(folder, "hex", trains=True).folder
        self.params = yaml.safe_load((self.folder / "params.yaml").read_bytes())
        self.params |= {"simulate": {"hex": SIMULATE}, "iterate": {"hex": ITERATE}}
        self.params["train"] = {"hex": {"model": {"channels": 8, "blocks": 1}, "epochs": 4}}
        self.write()

    def write(self):
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))

    def copied_to(self, folder):
        """Return a copy as it stands, with a cache of its own."""
        shutil.copytree(self.folder, folder, symlinks=True)
        copy = Iterations.__new__(Iterations)
        copy.folder, copy.params = folder, self.params
        return copy

    def shared_with(self, folder, store):
        """Commit and push; return a colleague's clone into which everything was pulled."""
        one, other = Clone(self.folder), Clone(folder)
        one.run("dvc", "remote", "add", "--default", "store", str(store))
        one.run("git", "add", "--all")
        one.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "generations")
        one.run(sys.executable, "-m", "stages.commands.push")
        one.run("git", "clone", "--quiet", ".", str(folder))
        other.run(sys.executable, "-m", "stages.commands.pull")
        copy = Iterations.__new__(Iterations)
        copy.folder, copy.params = folder, self.params
        return copy

    def begin(self, n_generations):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        environment |= {"GENERATIONS": str(n_generations), "JOBS": self.jobs}
        environment |= {"PATH": path, "PYTHONPATH": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-m", "stages.commands.iterate", "hex"], cwd=self.folder, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def run(self, n_generations):
        """Return the stages of generations that ran, and the lines that were told."""
        process = self.begin(n_generations)
        told = process.communicate(timeout=600)[0]
        assert process.returncode == 0, told
        return [line.removeprefix(MARK)[:-2] for line in told.splitlines() if line.startswith(MARK)], told

    def outs(self):
        """Return the bytes of all that the generations left."""
        files = [path for path in (self.folder / FOLDER).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files if "work" not in path.parts}


def all_of(*numbers):
    return [f"{stage}@hex-g00{n}" for n in numbers for stage in ("selfplay", "ingest", "learn", "gate")]


def killed_in(n_kills):
    """Return the stages of generation 2 that kills meet, in their order: an earlier one has ended by then."""
    stages = all_of(2)
    return [stages[number * len(stages) // n_kills] for number in range(n_kills)]


def test_generations(tmp_path):
    one = Iterations(tmp_path / "one")
    ran, _ = one.run(1)
    assert ran == all_of(1)
    other = one.copied_to(tmp_path / "other")
    other.jobs = "2"  # kills meet the processes that play, and the bytes are those of one
    ran, told = one.run(2)
    assert ran == all_of(2)
    rows = [line.split() for line in told.splitlines() if line.startswith("hex-g00")]
    assert [row[0] for row in rows] == ["hex-g001", "hex-g002"]
    assert all(int(row[1]) == 32 and int(row[2]) > 24 for row in rows)
    gates = [json.loads((one.folder / FOLDER / f"hex-g00{n}/gate.json").read_bytes()) for n in (1, 2)]
    for gate in gates:
        assert gate["search"]["distinct"] <= gate["search"]["games"] == 20
        assert gate["kept"] == (gate["search"]["share"] >= 0.4)
    undisturbed = one.outs()
    assert one.run(2)[0] == []
    colleague = one.shared_with(tmp_path / "colleague", tmp_path / "store")
    assert colleague.outs() == undisturbed
    assert colleague.run(2)[0] == []

    one.params["iterate"]["hex"] = {**ITERATE, "gate": {**ITERATE["gate"], "anchor_games": 6}}
    one.write()
    ran, _ = one.run(2)
    assert ran == ["gate@hex-g001", "gate@hex-g002"]

    rng = random.Random(5)
    for stage in killed_in(int(os.environ.get("KILLS") or 2)):
        process = other.begin(2)
        line = next((line for line in process.stdout if line == f"{MARK}{stage}':\n"), None)
        assert line, f"{stage} did not run"
        time.sleep(rng.uniform(0, 0.4))  # a start of Python with torch takes longer, whatever the stage does
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(0.2)
    other.run(2)
    assert other.outs() == undisturbed


def test_what_cannot_be_iterated_is_one_line(tmp_path):
    one = Iterations(tmp_path / "one")
    one.params["iterate"]["hex"] = {"mix": {"windw": 3}}
    one.write()
    process = one.begin(1)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "error: params.yaml: iterate.hex.mix" in told
    assert "did you mean 'window'" in told
