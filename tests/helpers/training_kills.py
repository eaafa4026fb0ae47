"""Kill a training at random moments, with SIGKILL, and see that the same command then leaves the same bytes.

    python -m tests.helpers.training_kills 20

Three ways to train are killed in turn: ``verb`` is `python -m stages.train`, killed with all of its process group;
``repro`` is `dvc repro stages/training/dvc.yaml`, likewise; ``queue`` is `make sweep`, of which the sweep itself is
killed, and DVC's worker, what runs the experiment, the training, or all three.

A moment lies anywhere in the time that an undisturbed run takes, so a kill hits imports, steps, checkpoints,
evaluations and the writing of what is left. Where a run has ended before its moment, its bytes are compared, and the
next one begins from nothing.
"""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.kills import wait_for
from tests.helpers.sweeps import QUEUE, Sweeps, make_sweeps
from tests.helpers.trainings import ENTRY, Trainings

WAYS = ("verb", "repro", "queue")
MOST_ENDED = 10  # runs that end before their moment, for each kill; about as many as kills do
VICTIMS = (QUEUE, *((word,) for word in QUEUE))
PIPELINE = "stages/training/dvc.yaml"
MEND = "from stages.pipeline import repair; print(repair.mend())"


class OfVerb:
    """The verb itself, on the toy task."""

    def __init__(self, folder):
        self.trainings = Trainings(folder / type(self).__name__, **ENTRY)
        self.prepare()

    def prepare(self):
        """Do what is done once."""

    def begin(self):
        return self.trainings.begin()

    def kill(self, process, number):
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def outs(self):
        return self.trainings.outs()

    def forget(self):
        self.trainings.forget()

    def end(self):
        """End what was started."""


class OfRepro(OfVerb):
    """The verb as DVC runs it."""

    def prepare(self):
        self.trainings.add_dvc()

    def begin(self):
        mending = self.trainings.begin_command(sys.executable, "-c", MEND)  # as `make train` does first
        told = mending.communicate()[0]
        assert mending.returncode == 0, told
        return self.trainings.dvc("repro", PIPELINE)

    def forget(self):
        super().forget()
        (self.trainings.folder / "stages/training/dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(self.trainings.folder / ".dvc/cache/runs", ignore_errors=True)


class OfQueue:
    """An experiment of a sweep, on a few games of Splendor."""

    def __init__(self, folder):
        entry = {"samples": 60_000, "eval_every": 3_000, "ema": 0.9, "schedule": "plateau", "lr_patience": 1}
        self.sweeps = Sweeps(make_sweeps(folder), folder / "copy", {"lr": [0.001]}, **entry)

    def begin(self):
        process = self.sweeps.begin()
        wait_for(lambda: self.sweeps.queue("stages.train") or process.poll() is not None, 300)
        return process

    def kill(self, process, number):
        for word in VICTIMS[number % len(VICTIMS)]:
            for victim in self.sweeps.queue(word):
                victim.send_signal(signal.SIGKILL)
        process.kill()
        process.wait()

    def outs(self):
        return self.sweeps.weights()

    def forget(self):
        self.sweeps.run("dvc", "exp", "remove", "--all-commits", check=False)
        for name in ("data/checkpoints", ".dvc/cache/runs"):
            shutil.rmtree(self.sweeps.folder / name, ignore_errors=True)

    def end(self):
        self.sweeps.end()


KINDS = {"verb": OfVerb, "repro": OfRepro, "queue": OfQueue}


def attack(way, folder, n_kills, seed):
    """Kill a way to train so many times, and let it end; return a line that says what was done.

    Every run that ends must leave the bytes of an undisturbed one.
    """
    kind, rng = KINDS[way](folder), random.Random(f"{way} {seed}")
    try:
        started = time.monotonic()
        seconds, undisturbed = _to_its_end(kind), kind.outs()
        kind.forget()
        n_killed = n_ended = 0
        while n_killed < n_kills:
            assert n_ended <= MOST_ENDED * n_kills, f"{way}: {n_killed} of {n_kills} kills met a run"
            process, moment = kind.begin(), rng.uniform(0, seconds)
            begun = time.monotonic()
            while process.poll() is None and time.monotonic() < begun + moment:
                time.sleep(0.005)
            if process.poll() is None:
                kind.kill(process, n_killed)
                n_killed += 1
            else:
                assert (process.returncode, kind.outs()) == (0, undisturbed), way
                kind.forget()
                n_ended += 1
        _to_its_end(kind)
        assert kind.outs() == undisturbed, way
    finally:
        kind.end()
    took = time.monotonic() - started
    return f"{way}: {n_killed} kills, {n_ended + 1} runs ended, each with the bytes of an undisturbed one; {took:.0f} s"


def _to_its_end(kind):
    """Run to the end; return the seconds it took, from where moments are counted."""
    process = kind.begin()
    begun = time.monotonic()
    told = process.communicate(timeout=600)[0]
    assert process.returncode == 0, told
    return time.monotonic() - begun


def shares(n_kills):
    """Return how many of the kills each way gets."""
    return {way: len(range(number, n_kills, len(WAYS))) for number, way in enumerate(WAYS)}


def main():
    """Run the attack that the command line asks for: how many kills (20), and the seed (1)."""
    n_kills, seed = (int(word) for word in [*sys.argv[1:], *("20", "1")[len(sys.argv) - 1 :]])
    for way, number in shares(n_kills).items():
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(f"{attack(way, Path(folder), number, seed)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
