"""Say what is out of date and why, in the user's words: files, batches, code, params.

Raw files are compared with the manifests by digest; code, params and missing outputs are what `dvc status` reports.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from stages import cli, paths, units
from stages.datasets import base
from stages.errors import ExpectedError
from stages.params import DatasetParams, load

MISSING = ("deleted", "not in cache")


@dataclass(frozen=True)
class Changes:
    """How the raw units differ from the manifests.

    Attributes
    ----------
    added, changed, removed
        Keys of units.
    batches
        What the next discover will deal: batch id to its units.
    stale
        The batches of these whose manifest is new or will change.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    batches: dict[str, list[units.Unit]]
    stale: list[str]

    def __str__(self) -> str:
        counts = {"changed": len(self.changed), "added": len(self.added), "removed": len(self.removed)}
        parts = [f"{count:,} {name}" for name, count in counts.items() if count]
        if not parts:
            return ""
        noun = "file" if sum(counts.values()) == 1 else "files"
        first, *others = parts
        count, _, kind = first.partition(" ")
        return ", ".join([f"{count} {noun} {kind}", *others])


def changes(dataset: str, params: DatasetParams) -> Changes:
    """Compare the raw folder with the manifests.

    Raises
    ------
    ExpectedError
        When the raw folder is missing or holds no unit.
    """
    if not params.raw_dir.is_dir():
        raise ExpectedError(
            f"{params.raw_dir}: not a folder, expected the raw files of {dataset}; `dvc repro` or `dvc pull`"
        )
    found = units.lowest_hashes(base.finder(dataset).find(params.raw_dir, params.options), params.limit)
    now = {unit.key: unit for unit in found}
    dealt = units.deal(now, params.batch_size)
    batches = {batch: [now[key] for key in keys] for batch, keys in dealt.items()}
    before = {batch: _recorded(dataset, batch) for batch in units.read_batch_list(dataset)}
    then = {unit.key: unit for recorded in before.values() for unit in recorded}
    return Changes(
        added=sorted(set(now) - set(then)),
        changed=sorted(key for key in set(now) & set(then) if now[key] != then[key]),
        removed=sorted(set(then) - set(now)),
        batches=batches,
        stale=[batch for batch, content in batches.items() if before.get(batch) != content],
    )


def _recorded(dataset: str, batch: str) -> list[units.Unit]:
    return units.read_manifest(dataset, batch) if paths.manifest(dataset, batch).is_file() else []


@dataclass(frozen=True)
class StaleStage:
    """A stage that DVC would look at again: what of it changed, and what of it is missing, as paths and params."""

    name: str
    changed: list[str]
    missing: list[str]


def stale_stages(dataset: str) -> list[StaleStage]:
    """Return the stages of a dataset that `dvc status` does not call up to date, raw data and outputs included.

    Raises
    ------
    ExpectedError
        When `dvc status` fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ExpectedError(f"dvc status failed: {done.stderr.strip().splitlines()[-1]}")
    entries = {name: value for name, value in json.loads(done.stdout).items() if dataset in _dataset_of(name)}
    return [_stale_stage(name, value) for name, value in sorted(entries.items())]


def _dataset_of(stage: str) -> tuple[str, ...]:
    item = stage.partition("@")[2]
    return (item, item.rpartition("-")[0])


def _stale_stage(name: str, entries: Sequence[object]) -> StaleStage:
    changed: list[str] = []
    missing: list[str] = []
    for entry in entries:
        if not isinstance(entry, dict):
            changed.append(str(entry).removeprefix("changed "))
            continue
        for what in entry.values():
            for path, state in what.items():
                nested = state if isinstance(state, dict) else {path: state}
                for item, word in nested.items():
                    (missing if word in MISSING else changed).append(item)
    return StaleStage(name, sorted(changed), sorted(missing))


def is_input(path: str) -> bool:
    """Say whether a changed path is code or a param, which a user edits, and not what another stage makes."""
    return not path.startswith("data/")


def status(dataset: str, params: DatasetParams) -> str:
    """Return the lines that say what is out of date."""
    raw = changes(dataset, params)
    stale = stale_stages(dataset)
    lines = []
    if str(raw):
        lines.append(f"{raw} in {len(raw.stale)} of {len(raw.batches)} batches")
    edits: dict[str, list[str]] = {}
    for stage in stale:
        for path in filter(is_input, stage.changed):
            edits.setdefault(path, []).append(stage.name.partition("@")[0])
    lines += [f"{path} changed: {_stages(names)}" for path, names in sorted(edits.items())]
    missing = sorted({path for stage in stale for path in stage.missing})
    if missing:
        lines.append(f"missing: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}; `dvc repro` makes them")
    n_units = sum(map(len, raw.batches.values()))
    if not lines:
        lines.append(f"up to date, {n_units:,} files in {len(raw.batches)} batches")
    return "".join(f"{dataset}: {line}\n" for line in lines)


def _stages(names: Sequence[str]) -> str:
    """Name the stages that rerun, the many process stages by their number."""
    verbs = dict.fromkeys(names)
    return ", ".join(f"{verb} ({names.count(verb)} batches)" if verb == "process" else verb for verb in verbs)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m stages.status", description="Say what is out of date and why.")
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        for dataset in chosen or sorted(params.datasets):
            sys.stdout.write(status(dataset, params.dataset(dataset)))

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
