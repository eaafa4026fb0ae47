"""Where the benchmark of training works: a scratch folder for each training, with parameters and arrays of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from measure import Usage, run

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "JOBS": "2", "LOG": "warning"}
FROM_RAW = ("discover", "process", "merge", "split")

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Place:
    """A folder with params.yaml and data/ of one dataset."""

    folder: Path
    dataset: str

    @property
    def processed(self) -> Path:
        """The arrays."""
        return self.folder / "data/processed" / self.dataset

    @property
    def model(self) -> Path:
        """What a training leaves."""
        return self.folder / "data/models" / self.dataset

    def verb(self, verb: str) -> Usage:
        """Run a verb."""
        command = [sys.executable, "-m", f"stages.{verb}", self.dataset]
        return run(command, self.folder, ENVIRONMENT)

    def metrics(self, part: str = "test") -> Metrics:
        """Return the metrics of the model and of each baseline on a part."""
        content = json.loads((self.folder / f"data/train/{self.dataset}/metrics.json").read_bytes())
        return {str(name): dict(found) for name, found in content[part].items()}

    def make_arrays(self) -> None:
        """Run the pipeline of the place's parameters up to the processed arrays."""
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        if self.dataset in params["simulate"]:
            self.verb("simulate")
        for verb in FROM_RAW:
            self.verb(verb)
        shutil.rmtree(self.folder / "data/intermediate")
        shutil.rmtree(self.folder / "data/merged")

    def train_killed(self, after_s: float) -> bool:
        """Start a training and kill it after some seconds; say whether it was still at work."""
        command = [sys.executable, "-m", "stages.train", self.dataset]
        with subprocess.Popen(command, cwd=self.folder, env={**_environ(), **ENVIRONMENT}) as process:
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                return True
        return False


def _environ() -> Mapping[str, str]:
    import os

    return os.environ


@contextmanager
def place(dataset: str, entry: Mapping[str, Any], **sections: Any) -> Iterator[Place]:
    """Give an empty place, removed at the end.

    Parameters
    ----------
    dataset
        Whose it is.
    entry
        Its entry of `datasets`, and `sections` those of `train` and `simulate`.
    """
    params = {"datasets": {dataset: dict(entry)}, "simulate": {}, "train": {dataset: {}}}
    params |= {name: {dataset: section} for name, section in sections.items()}
    with tempfile.TemporaryDirectory(prefix=f"bench-{dataset}-", suffix=".tmp", dir=ROOT / "data") as name:
        Path(name, "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        yield Place(Path(name), dataset)


@contextmanager
def sample_place(dataset: str) -> Iterator[Place]:
    """Give a place with the sample's arrays as the repository has them, and its parameters."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    arrays = ROOT / "data/processed" / dataset
    if not (arrays / "stats.json").is_file():
        sys.exit(f"error: {arrays}: not there, expected the sample's arrays; run `make preprocess`")
    with place(dataset, params["datasets"][dataset], train=params["train"][dataset]) as found:
        found.processed.parent.mkdir(parents=True)
        found.processed.symlink_to(arrays)
        yield found


def seconds(command: list[str], folder: Path) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    run(command, folder, {})
    return time.perf_counter() - start
