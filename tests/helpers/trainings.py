"""Trainings of the toy task: its arrays, and a folder in which `python -m stages.train toy` runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np

from stages.core import arrays
from tests.helpers.places import REPOSITORY
from tests.helpers.torchrun import torchrun

ROWS = {"train": 330, "val": 100, "test": 60}
OUTS = (
    "data/models/toy/weights.npz",
    "data/models/toy/model.json",
    "data/train/toy/metrics.json",
    "data/train/toy/figures.json",
    "data/curves/toy/curve.csv",
)
# A little of everything that has a state: dropout, an average, early stopping, a plateau, batches in pieces, clipping.
ENTRY = {
    "model": {"dropout": 0.5},
    "epochs": 12,
    "eval_every": 500,
    "ema": 0.9,
    "early_stop": {"patience": 50},
    "schedule": "plateau",
    "lr_patience": 1,
    "micro_batch": 20,
    "grad_clip": 0.5,
    "pause": 0.01,
}


def write_parts(folder, rows=ROWS, seed=0):
    """Write the arrays of all parts: X float32 (n, 8), a label of the largest legal of its first five, and the mask."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in rows.items():
        x = rng.normal(size=(n, 8)).astype(np.float32)
        mask = (rng.random((n, 5)) < 0.7).astype(np.uint8)
        mask[np.arange(n), rng.integers(0, 5, n)] = 1
        label = np.where(mask == 1, x[:, :5], -np.inf).argmax(1).astype(np.int16)
        np.save(folder / f"X_{part}.npy", x)
        arrays.save_npz(folder / f"labels_{part}.npz", {"largest": [label]})
        arrays.save_npz(folder / f"masks_{part}.npz", {"largest": [mask]})
        arrays.save_npz(folder / f"keys_{part}.npz", {"name": [np.arange(n).astype("S8")]})
    crcs = {path.name: f"{zlib.crc32(path.read_bytes()):08x}" for path in sorted(folder.glob("*.np?"))}
    (folder / "stats.json").write_text(json.dumps({"files": crcs, "rows": dict(rows)}))
    return folder


class Trainings:
    """A folder with a copy of the pipeline and the dataset `toy`, whose entry of `train` is `entry`."""

    def __init__(self, folder, **entry):
        self.folder = folder
        ignore = shutil.ignore_patterns("*.pyc.*")
        shutil.copytree(REPOSITORY / "stages", folder / "stages", ignore=ignore)
        package = folder / "stages/datasets/toy"
        shutil.copytree(REPOSITORY / "tests/helpers/toy_training", package / "training", ignore=ignore)
        (package / "__init__.py").write_text("")
        self._replace("training/run.py", "CHECKPOINT_S = 20.0", "CHECKPOINT_S = 0.1")
        write_parts(folder / "data/processed/toy")
        self.set(**entry)

    def _replace(self, name, old, new):
        path = self.folder / "stages" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def add_dvc(self):
        """Make it a DVC repository with the pipeline of models alone."""
        for room in ("schema", "reading", "encode", "simulate"):
            (self.folder / "stages/datasets/toy" / room).mkdir()
            (self.folder / "stages/datasets/toy" / room / "__init__.py").touch()
        (self.folder / ".dvcignore").write_text("__pycache__/\n*.tmp\n")
        process = self.dvc("init", "--no-scm", "--quiet")
        told = process.communicate()[0]
        assert process.returncode == 0, told

    def dvc(self, *words):
        """Start a command of DVC's in a process group of its own, and in a terminal's place take what it says."""
        return self.begin_command(sys.executable, "-m", "dvc", *words)

    def set(self, **entry):
        """Write params.yaml anew."""
        content = {"datasets": {"toy": {"raw": "raw"}}, "train": {"toy": entry}}
        (self.folder / "params.yaml").write_text(json.dumps(content))

    def begin(self, *words, n_ranks=1, **variables):
        """Start a training in a process group of its own."""
        python = torchrun(n_ranks) if n_ranks > 1 else [sys.executable]
        return self.begin_command(*python, "-m", "stages.train", *(words or ["toy"]), **variables)

    def begin_command(self, *command, **variables):
        """Start a command in a process group of its own."""
        of_others = ("DVC_", "GIT_", "MAKE", "RANK", "WORLD_SIZE", "PYTHONPATH", "LOG")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(of_others)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *words, **options):
        """Train to the end; return the exit code and what was said."""
        process = self.begin(*words, **options)
        told = process.communicate(timeout=300)[0]
        return process.returncode, told

    def outs(self):
        """Return the bytes of all that a training leaves."""
        return {name: (self.folder / name).read_bytes() for name in OUTS}

    def metrics(self):
        return json.loads((self.folder / "data/train/toy/metrics.json").read_text())

    def checkpoints(self):
        return sorted((self.folder / "data/checkpoints/toy").glob("*/*.ckpt"))

    def forget(self):
        """Remove what trainings left, checkpoints too."""
        for name in ("models", "train", "curves", "checkpoints"):
            shutil.rmtree(self.folder / "data" / name, ignore_errors=True)
