"""Say what is out of date and why, in the user's words: files, batches, code, params.

Raw files are compared with the manifests by digest; code, params and missing outputs are what `dvc status` reports. An
output that is missing here and held by DVC's cache, as after `make slim`, is not out of date: no stage runs for it.
"""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from stages.commands.repair import look_first
from stages.core import manifests, paths, units
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, Params
from stages.datasets import base
from stages.pipeline import dvc, internals, merges, verbs
from stages.runtime import cli
from stages.runtime.text import counted, printable

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
    gone
        The batches of the present list that the next one will not name.
    is_first
        No batch of the present list has a manifest: nothing has run here yet.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    batches: dict[str, list[units.Unit]]
    stale: list[str]
    gone: list[str]
    is_first: bool

    @property
    def n_units(self) -> int:
        """Number of units in all batches."""
        return sum(map(len, self.batches.values()))

    def __str__(self) -> str:
        counts = {"changed": len(self.changed), "added": len(self.added), "removed": len(self.removed)}
        parts = [f"{count:,} {name}" for name, count in counts.items() if count]
        if not parts:
            return ""
        first, *others = parts
        count, _, kind = first.partition(" ")
        noun = units.noun([unit for some in self.batches.values() for unit in some], int(count.replace(",", "")))
        return ", ".join([f"{count} {noun} {kind}", *others])


def changes(dataset: str, params: DatasetParams, is_restored: bool = False) -> Changes:
    """Compare the raw folder with the manifests.

    Parameters
    ----------
    dataset
        Its name.
    params
        Its settings.
    is_restored
        The folder will be again as the manifests have it, before anything reads it.

    Raises
    ------
    ExpectedError
        When the raw folder is missing or holds no unit.
    """
    if not params.raw_dir.is_dir():
        raise ExpectedError(
            f"{params.raw_dir}: not a folder, expected the raw files of {dataset}; `dvc repro` or `dvc pull`"
        )
    before = {batch: _recorded(dataset, batch) for batch in manifests.read_batch_list(dataset)}
    then = {unit.key: unit for recorded in before.values() for unit in recorded}
    with _unheard():
        found = list(then.values()) if is_restored else base.finder(dataset).find(params.raw_dir, params.options)
    now = {unit.key: unit for unit in units.lowest_hashes(found, params.limit)}
    dealt = units.deal(now, params.batch_size)
    batches = {batch: [now[key] for key in keys] for batch, keys in dealt.items()}
    return Changes(
        added=sorted(set(now) - set(then)),
        changed=sorted(key for key in set(now) & set(then) if now[key] != then[key]),
        removed=sorted(set(then) - set(now)),
        batches=batches,
        stale=[batch for batch, content in batches.items() if before.get(batch) != content],
        gone=sorted(set(before) - set(batches)),
        is_first=not then,
    )


@contextmanager
def _unheard() -> Iterator[None]:
    """Drop log lines: what is strange in the raw files, discover tells."""
    logger = logging.getLogger("batchwise")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _recorded(dataset: str, batch: str) -> list[units.Unit]:
    return manifests.read_manifest(dataset, batch) if paths.manifest(dataset, batch).is_file() else []


@dataclass(frozen=True)
class StaleStage:
    """A stage that `dvc status` does not call up to date.

    Attributes
    ----------
    changed, missing
        What of it changed, and what of it is missing in the workspace: paths, and params with the file's name.
    is_cached
        Nothing of it changed, and DVC's cache holds what is missing: a run takes it from there.
    other_outs
        Those of what changed that are its own outputs.
    """

    name: str
    changed: list[str]
    missing: list[str]
    is_cached: bool = False
    other_outs: frozenset[str] = frozenset()

    @property
    def verb(self) -> str:
        """The stage's name without its dataset and batch."""
        return verbs.parsed(self.name).verb


def stale_stages(dataset: str, takes_sample: bool, known: Mapping[str, list[Any]]) -> list[StaleStage]:
    """Return the stages of a dataset that `dvc status` does not call up to date, raw data and outputs included.

    Parameters
    ----------
    dataset
        Its name.
    takes_sample
        Whether its raw files are simulated; if not, that stage does not count.
    known
        What `dvc.status` returns, for all datasets.
    """
    entries = {
        name: value
        for name, value in known.items()
        if verbs.parsed(name).dataset == dataset and (takes_sample or verbs.parsed(name).verb != "simulate")
    }
    return _mark_cached([_stale_stage(name, value) for name, value in sorted(entries.items())])


def _mark_cached(stages: list[StaleStage]) -> list[StaleStage]:
    """Mark the stages of which nothing changed and all outputs are in DVC's cache."""
    unchanged = {stage.name for stage in stages if stage.missing and not stage.changed}
    if not unchanged:
        return stages
    cached = internals.restorable(unchanged)
    return [replace(stage, is_cached=stage.name in cached) for stage in stages]


def _stale_stage(name: str, entries: Sequence[object]) -> StaleStage:
    changed: list[str] = []
    missing: list[str] = []
    outs: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            changed.append(str(entry).removeprefix("changed "))
            continue
        for kind, what in entry.items():
            outs.update(path for path, state in what.items() if kind == "changed outs" and state == "modified")
            for path, state in what.items():
                is_params = isinstance(state, dict)
                nested = {f"{path}: {key}": word for key, word in state.items()} if is_params else {path: state}
                for item, word in nested.items():
                    (missing if word in MISSING else changed).append(item)
    return StaleStage(name, sorted(changed), sorted(missing), other_outs=frozenset(outs))


def is_input(path: str) -> bool:
    """Say whether a changed path is code or a param, which a user edits, and not what another stage makes."""
    return not path.startswith("data/")


def status(dataset: str, params: Params, known: Mapping[str, list[Any]]) -> str:
    """Return the lines that say what is out of date; `known` is what `dvc.status` returns."""
    raw = changes(dataset, params.dataset(dataset))
    stale = stale_stages(dataset, params.takes_sample(dataset), known)
    runs = [stage for stage in stale if not stage.is_cached]
    if raw.is_first:
        return f"{dataset}: nothing has run here yet on these {_size(raw)}; `dvc repro` builds all\n"
    lines = [*_raw_lines(raw), *_edit_lines(runs)]
    edited = sorted(path for stage in runs if stage.verb == "simulate" for path in stage.changed if not is_input(path))
    lines += [f"{path} is not what simulate wrote; `dvc repro` makes it anew, SIMULATE=no keeps it" for path in edited]
    missing = sorted({path for stage in runs for path in stage.missing})
    if missing:
        lines.append(f"missing: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}; `dvc repro` makes them")
    lines = lines or [_without_edit(runs) if runs else f"up to date, {_size(raw)}"]
    n_cached = len({path for stage in stale if stage.is_cached for path in stage.missing if _is_array(path)})
    if n_cached:
        lines.append(f"{n_cached} outputs are in DVC's cache only; a run takes them from there when it needs them")
    return "".join(f"{dataset}: {printable(line)}\n" for line in lines)


def _without_edit(runs: Sequence[StaleStage]) -> str:
    """Say why stages are out of date though no raw file, code or param changed and nothing is missing."""
    if is_discover_alone(runs):
        return "other bytes in the raw folder hold the same input; discover looks at them once more"
    if others := _of_another_version(runs):
        some = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
        return f"outputs are of another version than dvc.lock: {some}; `dvc checkout` brings those of dvc.lock"
    return f"the last run did not finish: {_stages([stage.verb for stage in runs])}"


def _of_another_version(runs: Sequence[StaleStage]) -> list[str]:
    """Return the outputs that are not those of dvc.lock, if nothing else is out of date, as after an experiment."""
    others = frozenset[str]().union(*(stage.other_outs for stage in runs))
    is_all = all(others.issuperset(stage.changed) and not stage.missing for stage in runs)
    return sorted(others) if is_all else []


def is_discover_alone(runs: Sequence[StaleStage]) -> bool:
    """Say whether all that a run has to do is to list the raw folder anew, as of files that were compressed anew."""
    return {stage.verb for stage in runs} == {"discover"} and all(stage.changed and not stage.missing for stage in runs)


def _size(raw: Changes) -> str:
    found = [unit for some in raw.batches.values() for unit in some]
    return f"{raw.n_units:,} {units.noun(found)} in {counted(len(raw.batches), 'batch', 'batches')}"


def _raw_lines(raw: Changes) -> list[str]:
    """Say which files changed and how many batches that touches, or that only the batches change."""
    gone = f"{len(raw.gone)} {'batch is' if len(raw.gone) == 1 else 'batches are'} gone"
    touched = f"{len(raw.stale)} of {len(raw.batches)} batches"
    if str(raw):
        return [f"{raw} in {touched}" if raw.stale else f"{raw}; {gone}"]
    return [f"same input, {touched} are new or changed"] if raw.stale else []


def _edit_lines(runs: Sequence[StaleStage]) -> list[str]:
    """Say which code and params a user edited and which stages read them."""
    edits: dict[str, list[str]] = {}
    for stage in runs:
        for path in filter(is_input, stage.changed):
            edits.setdefault(path, []).append(stage.verb)
    return [f"{path} changed: {_stages(readers)}" for path, readers in sorted(edits.items())]


def _is_array(path: str) -> bool:
    return path.endswith(".npz") or path.startswith(("data/merged/", "data/processed/"))


def _stages(stale: Sequence[str]) -> str:
    """Name the verbs of stages that rerun, in their order, the many of process by their number."""
    n_process = stale.count("process")
    of_process = f"process ({counted(n_process, 'batch', 'batches')})"
    return ", ".join(of_process if verb == "process" else verb for verb in verbs.VERBS if verb in stale)


def known_stages(params: Params, datasets: Sequence[str]) -> Mapping[str, list[Any]]:
    """Return what `dvc.status` returns: one call for all datasets, a second each; none where no sample is made yet.

    Raises
    ------
    ExpectedError
        When `dvc status` fails.
    """
    return {} if all(not_simulated(dataset, params) for dataset in datasets) else dvc.status()


def not_simulated(dataset: str, params: Params) -> bool:
    """Say whether a dataset's raw files are a sample that is still to be made, as on a fresh clone."""
    return params.takes_sample(dataset) and not params.datasets[dataset].raw_dir.is_dir()


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        merges.check()
        look_first(params, datasets)
        dvc.complete_params()
        known = known_stages(params, datasets)
        for dataset in datasets:
            if not_simulated(dataset, params):
                text = f"{dataset}: nothing has run here yet; `dvc repro` simulates the sample and builds all\n"
            else:
                text = status(dataset, params, known)
            sys.stdout.write(text)

    return cli.on_datasets("commands.status", "Say what is out of date and why.", action)


if __name__ == "__main__":
    sys.exit(main())
