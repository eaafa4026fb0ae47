"""The clones that the attacks work in: of one dataset with a small sample, each with all that DVC keeps beside it."""

import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.clones import Clone, copy_of, make_clone, with_few_games
from tests.helpers.kills import everything

VENV = Path(sys.executable).parents[1]
GAMES = 24


def make(target, *variables):
    """Return the command `make <target>`, with the environment that runs this."""
    return ("make", "-o", f"{VENV}/.ready", f"VENV={VENV}", target, *variables)


PREPROCESS = make("preprocess")


def keep_site_inside(clone, folder):
    """Let DVC keep what it keeps per machine (its databases, usually in /var/tmp/dvc) in a folder."""
    (clone.folder / ".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {folder}\n")
    return clone


@dataclass
class Scratch:
    """A scratch folder with a clone in which nothing ran (`start`) and, made when asked for, one that is `finished`."""

    folder: Path
    seed: int
    start: Clone = field(init=False)

    def __post_init__(self):
        (self.folder / "start").mkdir(parents=True)
        self.start = with_few_games(make_clone(self.folder / "start"), GAMES)
        for name, value in (("user.name", "t"), ("user.email", "t@localhost")):
            self.start.run("git", "config", name, value)
        keep_site_inside(self.start, self.folder / "site")
        self._finished, self._seconds, self._expected = None, 0.0, {}

    @property
    def finished(self):
        """A clone in which `make preprocess` ran undisturbed; not to be changed."""
        if self._finished is None:
            clone = copy_of(self.start, self.folder / "finished")
            began = time.monotonic()
            clone.run(*PREPROCESS)
            self._seconds, self._finished, self._expected = time.monotonic() - began, clone, everything(clone)
        return self._finished

    @property
    def seconds(self):
        """The seconds that it took there."""
        return self.finished and self._seconds

    @property
    def expected(self):
        """The bytes of all that it made there."""
        return self.finished and self._expected

    def attempt_dir(self, name):
        """Return the path of an empty place for one attempt."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name
