"""Say which stages were rebuilt since the last commit: compare dvc.lock with the one of HEAD."""

import subprocess
from dataclasses import dataclass

from stages.core.errors import ExpectedError
from stages.pipeline.lock import LOCK, StageState, differences, parsed, read


@dataclass(frozen=True)
class Comparison:
    """The stages with their states, the commit they are compared with, or why there is no comparison."""

    stages: tuple[StageState, ...] = ()
    commit: str = ""
    why_not: str = ""

    def of(self, dataset: str) -> list[StageState]:
        """Return the stages of one dataset."""
        return [stage for stage in self.stages if stage.dataset == dataset]


def compare() -> Comparison:
    """Compare dvc.lock of the working directory with the one of git's last commit."""
    if not LOCK.is_file():
        return Comparison(why_not="There is no dvc.lock: DVC has not run here yet.")
    commit = _git("log", "-1", "--format=%h: %s")
    if commit is None:
        return Comparison(why_not="There is no git commit to compare with.")
    committed = _git("show", f"HEAD:./{LOCK}")
    try:
        before = {} if committed is None else parsed(committed, f"{LOCK} of {commit}")
        now = read()
    except ExpectedError as error:
        return Comparison(why_not=f"There is nothing to compare: {error}.")
    return Comparison(tuple(differences(before, now)), commit)


def _git(*arguments: str) -> str | None:
    """Return what git prints, None when it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
