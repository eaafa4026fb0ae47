"""What the stages of a generation share: their command line, and verbs that run in a folder of their own."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

import stages
from stages.core import params as params_file
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.generations.places import Generation, of_key
from stages.runtime import cli
from stages.runtime.signals import die_with_parent

ROOT = Path(stages.__file__).resolve().parents[1]


def run_stage(name: str, description: str, action: Callable[[Params, Generation], None]) -> int:
    """Run a stage of a generation from the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m stages.generations.{name}", description=description)
    parser.add_argument("generation", help="such as hex-g001")
    key = parser.parse_args().generation
    return cli.run(lambda: action(params_file.load(), of_key(key)), lambda: "what is complete is kept")


def begin_place(folder: Path, dataset: str, entry: Mapping[str, Any], **sections: Any) -> None:
    """Write the params.yaml of a folder in which verbs are to run, with one dataset.

    Parameters
    ----------
    folder
        Made if absent.
    dataset, entry
        The dataset, and its entry of `datasets`; `sections` are the others of params.yaml.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"datasets": {dataset: dict(entry)}, **sections}
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def run_verb(verb: str, dataset: str, folder: Path) -> None:
    """Run a verb in a folder, with what it shows.

    Raises
    ------
    ExpectedError
        When it fails; it has said why then.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder.resolve())}
    environment.pop("DVC_STAGE", None)
    command = [sys.executable, "-m", f"stages.{verb}", dataset]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, preexec_fn=die_with_parent)
    if done.returncode:
        raise ExpectedError(f"{verb} {dataset} in {folder} failed, see above")
