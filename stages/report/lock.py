"""Say which stages were rebuilt since the last commit: compare dvc.lock with the one of HEAD."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LOCK = Path("dvc.lock")
STATES = ("rebuilt", "new", "gone", "reused")


@dataclass(frozen=True)
class StageState:
    """A stage of dvc.lock: one of `STATES`, and the paths and params that differ."""

    name: str
    state: str
    differs: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """The dataset it belongs to; `process@splendor-b01` belongs to splendor."""
        return re.sub(r"-b[01]*$", "", self.name.partition("@")[2])


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
    before = _git("show", f"HEAD:./{LOCK}")
    now = _stages(LOCK.read_text(encoding="utf-8"))
    if before is None:
        return Comparison(tuple(differences({}, now)), commit)
    return Comparison(tuple(differences(_stages(before), now)), commit)


def _git(*arguments: str) -> str | None:
    """Return what git prints, None when it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def _stages(text: str) -> Mapping[str, Any]:
    """Return the stages of a dvc.lock, none when it is not one."""
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return {}
    stages = content.get("stages") if isinstance(content, dict) else None
    return stages if isinstance(stages, dict) else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[StageState]:
    """Return the state of each stage of two locks, by name."""
    result = []
    for name in sorted({*before, *now}):
        if name not in now or name not in before:
            result.append(StageState(name, "gone" if name in before else "new"))
            continue
        old, new = _digests(before[name]), _digests(now[name])
        differs = tuple(sorted(key for key in {*old, *new} if old.get(key) != new.get(key)))
        result.append(StageState(name, "rebuilt" if differs else "reused", differs))
    return result


def _digests(stage: Mapping[str, Any]) -> dict[str, object]:
    """Return what decides whether a stage is as it was: the digest of each path, and each param."""
    paths = {entry["path"]: entry.get("md5") for kind in ("deps", "outs") for entry in stage.get(kind, [])}
    params = {key: value for values in stage.get("params", {}).values() for key, value in values.items()}
    return {**paths, **params, "cmd": stage.get("cmd")}
