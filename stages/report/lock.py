"""Say what changed since the last commit: which stages were rebuilt, by dvc.lock, and what differs in the data."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.errors import ExpectedError
from stages.differences.compare import Difference
from stages.differences.compare import compare as compare_data
from stages.differences.places import opened
from stages.pipeline import verbs
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


def changed_data(dataset: str, stages: Sequence[StageState]) -> Difference | None:
    """Return what differs in a dataset from the last commit; None where no stage that makes it was rebuilt.

    Raises
    ------
    ExpectedError
        When the data of the last commit are neither in DVC's cache nor on the remote.
    """
    made = [stage for stage in stages if verbs.parsed(stage.name).verb in ("discover", "split")]
    if not any(stage.state == "rebuilt" for stage in made):  # what is new has nothing to be compared with
        return None
    with opened("HEAD", [dataset]) as before, opened("") as now:
        return compare_data(before, now, dataset) if before.has(dataset) and now.has(dataset) else None


def _git(*arguments: str) -> str | None:
    """Return what git prints, None when it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()
