"""A copy of the pipeline with one dataset, `scripted`, whose raw files say what the workers do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.places import REPOSITORY, module_of

KNOBS = ("JOBS", "BACKEND", "MEMORY_GB", "LOG", "COLUMNS", "LINES", "PYTHONPATH")
# The copy is compiled once, not by each process, whatever is wanted for the repository.
COMPILE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


class Workspace:
    """A folder in which the verbs run on the `scripted` dataset.

    Parameters
    ----------
    folder
        Empty.
    scripts
        Content of each raw file, by its name.
    settings
        Of the dataset, as in params.yaml.
    """

    def __init__(self, folder, scripts, **settings):
        self.folder = folder
        ignore = shutil.ignore_patterns("*.pyc.*")  # what another process compiles now
        shutil.copytree(REPOSITORY / "stages", folder / "stages", ignore=ignore)
        shutil.copytree(REPOSITORY / "tests/helpers/scripted", folder / "stages/datasets/scripted", ignore=ignore)
        (folder / "raw").mkdir()
        for name, script in scripts.items():
            (folder / "raw" / name).write_text(script)
        entry = {"raw": "raw", "batch_size": 100, "limit": None, "max_bad_units": 0, "options": {}, "split": {}}
        entry |= settings
        split = {"train": 0.8, "val": 0.1, "test": 0.1, "seed": 1}
        (folder / "params.yaml").write_text(json.dumps({"datasets": {"scripted": entry}, "split": split, "train": {}}))

    def environment(self, **variables):
        of_others = {key for key in os.environ if key.startswith(("DVC_", "GIT_", "MAKE"))}
        clean = {key: value for key, value in os.environ.items() if key not in {*of_others, *KNOBS, *COMPILE}}
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
        return {**clean, "PATH": path, "TERM": "xterm-256color", **variables}

    def run(self, *command, **variables):
        """Run a command to its end and return it."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def verb(self, name, *arguments, **variables):
        """Run a verb to its end and return it."""
        return self.run(sys.executable, "-m", module_of(name), "scripted", *arguments, **variables)

    def discover(self):
        done = self.verb("discover")
        assert done.returncode == 0, done.stderr

    def add_dvc(self):
        """Make it a DVC repository."""
        for name in ("dvc.yaml", "Makefile", ".dvcignore"):
            shutil.copy(REPOSITORY / name, self.folder)
        path = self.folder / "dvc.yaml"
        lines = [line for line in path.read_text().splitlines() if not line.startswith("  - data/manifests/")]
        lines.insert(lines.index("vars:") + 1, "  - data/manifests/scripted/batches.yaml")
        text = "\n".join(lines).replace("foreach: ${simulate}", "foreach: {}")
        path.write_text(f"{text}\n")
        done = self.run("dvc", "init", "--no-scm", "--quiet")
        assert done.returncode == 0, done.stderr
        shutil.copytree(REPOSITORY / ".dvc/plots", self.folder / ".dvc/plots", dirs_exist_ok=True)

    def batches(self):
        """Return the ids of all batches."""
        return sorted(path.stem for path in (self.folder / "data/manifests/scripted/batches").iterdir())

    def finished(self):
        """Return the ids of the batches that have their arrays."""
        return sorted(path.stem for path in (self.folder / "data/intermediate/scripted").glob("b*.npz"))

    def left_overs(self):
        """Return the temporary files in the data folders."""
        found = (self.folder / "data").rglob("*")
        return [str(path) for path in found if path.name.startswith(".") or "tmp" in path.name]
