"""dvc.lock, in which DVC records of each stage its command, and the digests of what it read and wrote.

It is read here, put into an order that does not depend on history, kept as a copy, and compared with an earlier one.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import load
from stages.pipeline import internals, lock_text, verbs

LOCK = Path("dvc.lock")
COPY = Path(".dvc/tmp/batchwise/dvc.lock")  # of the last one that was whole
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"  # of the placeholder that process leaves for a batch that is no more
NAME = re.compile(r"^  (\S+@\S+):$", re.MULTILINE)
STATES = ("rebuilt", "new", "gone", "reused")

Entry = Mapping[str, Any]
Rank = Callable[[str], tuple[int, int, str]]  # the sort key of stage names


# Reading.


@dataclass(frozen=True)
class RecordedOutput:
    """An output as its stage wrote it: path, MD5 (of a folder with the suffix ``.dir``) and bytes."""

    stage: str
    path: Path
    md5: str
    size: int


def read() -> dict[str, Entry]:
    """Return the entries of dvc.lock by stage name, without those of stages that were forgotten.

    Raises
    ------
    ExpectedError
        When it is missing or damaged.
    """
    if not LOCK.is_file():
        raise ExpectedError(f"{LOCK}: not found, expected the record of a run; `dvc repro`")
    entries = parsed(LOCK.read_text(encoding="utf-8"), str(LOCK))
    return {stage: entry for stage, entry in entries.items() if "outs" in entry}


def parsed(text: str, where: str) -> dict[str, Entry]:
    """Return the entries in the text of a dvc.lock by stage name.

    Raises
    ------
    ExpectedError
        When it is none.
    """
    try:
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # 10 times faster
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ExpectedError(f"{where}: not readable as YAML: {reason}; `git checkout {LOCK}`") from None
    stages = content.get("stages") or {} if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ExpectedError(f"{where}: no stages, expected the record of a run; `git checkout {LOCK}`")
    return stages


def outputs(entries: Mapping[str, Entry], stage: str) -> list[RecordedOutput]:
    """Return the outputs of a stage.

    Raises
    ------
    ExpectedError
        When dvc.lock has no such stage.
    """
    if stage not in entries:
        raise ExpectedError(f"{LOCK}: no {stage}, expected the record of its last run; `dvc repro`")
    return [
        RecordedOutput(stage, Path(out["path"]), str(out["md5"]), int(out["size"])) for out in entries[stage]["outs"]
    ]


# A whole one, and its copy.


def is_whole(text: str) -> bool:
    """Say whether a text is all of a dvc.lock, and not what a kill left of it.

    Most cuts leave no YAML, or no end of the last line. One between two lines can leave YAML, so the last item is
    looked at: `path`, `hash`, `md5`, `size` and, of a folder, `nfiles` come in this order; and so is a file of params
    without one, with which DVC would start no command. A cut between two items or params leaves a stage that DVC takes
    for changed, and one between two stages a dvc.lock of the first ones.
    """
    if not text.endswith("\n"):
        return False
    try:
        entries = parsed(text, str(LOCK))
        return _is_whole_entry(list(entries.values())[-1]) if entries else text.endswith("\nstages: {}\n")
    except (ExpectedError, AttributeError, TypeError):
        return False


def _is_whole_entry(entry: Entry) -> bool:
    if None in entry.values() or None in entry.get("params", {}).values():
        return False
    items = entry.get("outs", entry.get("deps", []))
    return all(map(_is_whole_item, items[-1:]))


def _is_whole_item(item: Mapping[str, Any]) -> bool:
    md5 = str(item.get("md5", ""))
    if not md5:  # of another system than this one: told by an `etag`, say
        return len(item) > 1 and "hash" not in item
    return "size" in item and ("nfiles" in item or not md5.endswith(".dir"))


def keep_copy() -> None:
    """Leave a copy of a dvc.lock that is whole where `stages.pipeline.repair` finds it."""
    if not LOCK.is_file() or not COPY.parents[2].is_dir():
        return
    text = LOCK.read_text(encoding="utf-8", errors="replace")
    is_kept = COPY.is_file() and COPY.read_text(encoding="utf-8", errors="replace") == text
    if not is_kept and is_whole(text):
        write_text(COPY, text)


def add(entries: Mapping[str, Entry]) -> None:
    """Record stages that were run elsewhere; those that are recorded alike stay as they are."""
    with internals.modified(LOCK) as content:
        stages = content["stages"]
        for name, entry in entries.items():
            if stages.get(name) != entry:
                stages[name] = entry


def forget(stages: Collection[str]) -> None:
    """Forget what some stages read and wrote, so that DVC runs them again; their places stay, with their commands."""
    with internals.modified(LOCK) as content:
        for stage in stages:
            content["stages"][stage] = {"cmd": content["stages"][stage]["cmd"]}


# Tidying.


def tidy(dataset: str, batches: Collection[str]) -> None:
    """Make dvc.lock independent of history: drop batches that are no more, put the rest into the order of a first run.

    DVC keeps the entries of such batches, and reads them, for ever. It reads the file anew after each stage, so it may
    be changed while a stage runs.

    Parameters
    ----------
    dataset
        Whose batches are looked at; all stages are sorted.
    batches
        The present list.
    """
    if not LOCK.is_file():
        return
    rank = _rank(list(load().datasets))
    if _is_tidy(LOCK.read_text(encoding="utf-8"), dataset, batches, rank):
        return

    def tidied(blocks: lock_text.Blocks) -> lock_text.Blocks:
        _drop_placeholders(blocks, dataset)
        kept = [name for name in blocks if not _is_vanished(name, dataset, batches)]
        return {name: blocks[name] for name in sorted(kept, key=rank)}

    lock_text.change(LOCK, tidied)
    keep_copy()


def reserve(dataset: str, batches: Collection[str]) -> None:
    """Give the stages of a dataset that dvc.lock lacks their places, each with its command alone.

    DVC writes the entry of a stage that is new to the file behind all others, and fills one that is there. It takes a
    place for a stage that never ran.

    Parameters
    ----------
    dataset, batches
        Of the stages from process on; the present list.
    """
    names = verbs.stage_names(verbs.VERBS[verbs.VERBS.index("expand") :], dataset, batches)
    text = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    if not text or set(names) <= set(_names(text)):
        return
    rank = _rank(list(load().datasets))

    def with_places(blocks: lock_text.Blocks) -> lock_text.Blocks:
        places = {name: lock_text.place(name, verbs.command(name)) for name in names}
        return {name: blocks.get(name) or places[name] for name in sorted({*blocks, *places}, key=rank)}

    lock_text.change(LOCK, with_places)


def _names(text: str) -> list[str]:
    return NAME.findall(text)


def _is_tidy(text: str, dataset: str, batches: Collection[str], rank: Rank) -> bool:
    """Say whether nothing is to be done, from the lines of the text alone; reading its YAML takes 50 ms."""
    names = _names(text)
    has_vanished = any(_is_vanished(name, dataset, batches) for name in names)
    return not has_vanished and EMPTY_MD5 not in text and names == sorted(names, key=rank)


def _is_vanished(name: str, dataset: str, batches: Collection[str]) -> bool:
    """Say whether a stage processes a batch of the dataset that is not in the list."""
    stage = verbs.parsed(name)
    return stage.dataset == dataset and stage.batch not in ("", *batches)


def _drop_placeholders(blocks: dict[str, str], dataset: str) -> None:
    """Drop the batches of a dataset that wrote a placeholder, and forget them in the run cache.

    They were made from the manifest of a batch that may come back, and DVC would take them for its arrays.
    """
    found = {name: lock_text.entry(name, block) for name, block in blocks.items() if EMPTY_MD5 in block}
    dropped = [name for name, entry in found.items() if _is_batch_of(name, dataset) and _is_placeholder(entry)]
    internals.forget([found[name] for name in dropped])
    for name in dropped:
        del blocks[name]


def _is_batch_of(name: str, dataset: str) -> bool:
    stage = verbs.parsed(name)
    return stage.dataset == dataset and stage.batch != ""


def _is_placeholder(entry: Entry) -> bool:
    return any(out.get("md5") == EMPTY_MD5 for out in entry.get("outs", ()))


def _rank(datasets: Sequence[str]) -> Rank:
    """Return the sort key of stage names in dvc.lock: verb, then dataset as in params.yaml, then batch.

    What is not known comes last.
    """

    def rank(name: str) -> tuple[int, int, str]:
        stage = verbs.parsed(name)
        verb_place = (*verbs.LOCK_ORDER, stage.verb).index(stage.verb)
        dataset_place = (*datasets, stage.dataset).index(stage.dataset)
        return verb_place, dataset_place, name

    return rank


# Comparing.


@dataclass(frozen=True)
class StageState:
    """A stage of dvc.lock: one of `STATES`, and the paths and params that differ."""

    name: str
    state: str
    differs: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """The dataset it belongs to; `process@splendor-b01` belongs to splendor."""
        return verbs.parsed(self.name).dataset


def differences(before: Mapping[str, Entry], now: Mapping[str, Entry]) -> list[StageState]:
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


def _digests(entry: Entry) -> dict[str, object]:
    """Return what decides whether a stage is as it was: the digest of each path, and each param."""
    paths = {item["path"]: item.get("md5") for kind in ("deps", "outs") for item in entry.get(kind, [])}
    params = {key: value for values in entry.get("params", {}).values() for key, value in values.items()}
    return {**paths, **params, "cmd": entry.get("cmd")}
