"""A clone with a few games of Splendor whose arrays are made, and `make sweep` in it, to be stopped and killed."""

import json
import re
import signal
import sys
from pathlib import Path

import psutil

from tests.helpers.clones import Clone, linked_copy_of, make_clone, with_few_games
from tests.helpers.kills import begin

DATASET = "splendor"
TARGET = "stages/training/dvc.yaml:train@splendor"
SMALL = {"model": {"widths": [16], "dropout": 0.2}, "batch_size": 64, "samples": 2000, "eval_every": 500}
QUEUE = ("queue-worker", "exec-run", "stages.train")


def make_sweeps(folder):
    """Make a clone in which the arrays are up to date; not to be changed, `Sweeps` takes copies."""
    clone = with_few_games(make_clone(folder / "first", DATASET), 40)
    clone.run(sys.executable, "-m", "stages.commands.preprocess", DATASET)
    return clone


class Sweeps(Clone):
    """A copy of such a clone.

    Parameters
    ----------
    clone, folder
        What is copied, and where to.
    grid, entry
        What is tried, and what ``train.splendor`` has besides.
    """

    def __init__(self, clone, folder, grid, **entry):
        super().__init__(linked_copy_of(clone, folder).folder)
        self._begun = []
        self.write(grid, **entry)
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "small")

    def write(self, grid, **entry):
        """Write `train` and `sweep` of params.yaml anew."""
        path = self.folder / "params.yaml"
        text = re.sub(r"^train: .*\Z", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        train, sweep = {DATASET: {**SMALL, **entry}}, {DATASET: {"grid": grid}}
        path.write_text(f"{text}train: {json.dumps(train)}\nsweep: {json.dumps(sweep)}\n")

    def sweep(self):
        """Run it to its end; return the exit code, and what it printed."""
        done = self.run(sys.executable, "-m", "stages.commands.sweep", DATASET, check=False)
        return done.returncode, done.stdout + done.stderr

    def begin(self, output=None):
        """Start it in a process group of its own; what it says goes to an open file, or nowhere."""
        self._begun.append(begin(self, sys.executable, "-m", "stages.commands.sweep", DATASET, output=output))
        return self._begun[-1]

    def experiments(self):
        """Return the names of the experiments that ended well."""
        return [ref.rpartition("/")[2] for ref in self.references()]

    def references(self):
        lines = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
        return [ref for ref in lines if ref.count("/") == 4]

    def queue(self, word):
        """Return the processes of DVC's queue here with a word in their command line."""
        return [process for process in psutil.process_iter() if self._is_one(process, word)]

    def _is_one(self, process, word):
        try:
            is_here = Path(process.cwd()).is_relative_to(self.folder)
            return is_here and word in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def checkpoints(self):
        return sorted((self.folder / "data/checkpoints" / DATASET).glob("*/*.ckpt"))

    def n_begun(self):
        """Return how often DVC's worker took an experiment from the queue."""
        logs = (self.folder / ".dvc/tmp/exps/celery").glob("*.out")
        return sum(len(re.findall(r"run_exp\[\S+\] received", log.read_text())) for log in logs)

    def logs(self):
        """Return what all experiments said."""
        return "".join(log.read_text() for log in (self.folder / ".dvc/tmp/exps/run").glob("*/*.out"))

    def weights(self):
        """Return the MD5 of the weights that each experiment left, by its name."""
        found = {}
        for ref in self.references():
            lock = self.run("git", "show", f"{ref}:stages/training/dvc.lock").stdout
            found[ref.rpartition("/")[2]] = re.search(r"weights\.npz\n +hash: md5\n +md5: (\w+)", lock)[1]
        return found

    def end(self):
        """Kill what is left: the sweeps first, which would begin anew what is killed."""
        for process in self._begun:
            process.kill()
            process.wait()
        for word in QUEUE:
            for process in self.queue(word):
                process.send_signal(signal.SIGKILL)
