"""List the raw units of a dataset, with their digests, and deal them into batches.

In: the dataset's raw folder. Out: one manifest per batch and the batch list (see `stages.core.manifests`). Files whose
content is unchanged are not rewritten.

Under `dvc repro` the list of batches is already in use, so when it changes, discover leaves a note for `expand` and
keeps the manifests and arrays of vanished batches until the run is over. Run directly, or by one who reads the list
again before anything else runs (the environment variable ``LIST_IS_READ_AGAIN``), it removes them at once.
"""

import logging
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from stages.core import manifests, paths, units
from stages.core.errors import BadUnit, ExpectedError
from stages.core.files import write_text
from stages.core.params import DatasetParams
from stages.datasets import base
from stages.datasets.base.raw import read_unit
from stages.runtime import cli
from stages.runtime.memory_log import MemoryLog
from stages.runtime.notes import ThreadNotes
from stages.runtime.text import counted

logger = logging.getLogger("batchwise")

MANY_BATCHES = 128
READ_AGAIN = "LIST_IS_READ_AGAIN"  # environment variable


def discover(dataset: str, params: DatasetParams) -> None:
    """Write the manifests and the batch list of a dataset.

    Raises
    ------
    ExpectedError
        When the raw folder is missing or holds no unit, or two units have one key; nothing is written then.
    BadUnit
        When more units than `max_bad_units` cannot be read.
    """
    refuse_missing(dataset, params)
    notes = ThreadNotes()
    notes.register()
    with MemoryLog("discover", dataset) as log:
        log.doing = lambda: "".join(f" with {file} in work" for file in notes.read().values())
        log.record("start")
        found = base.finder(dataset).find(params.raw_dir, params.options)
        chosen = units.lowest_hashes(found, params.limit)
        log.note("end", n_units=len(chosen))
    _tell_unreadable(dataset, chosen, params)
    batches = _write_manifests(dataset, chosen, params.batch_size)
    before = set(manifests.read_batch_list(dataset))
    write_text(paths.batch_list(dataset), manifests.batch_list_text(dataset, batches))
    gone = before - set(batches)
    remove_vanished(dataset, set(batches) | before if _is_in_use() else set(batches))
    if before != set(batches) and _is_in_use():
        _keep_plan_runnable(dataset, gone)
        write_text(paths.list_changed_marker(dataset), "".join(f"{batch}\n" for batch in batches))
    logger.info(
        "discover %s: %s in %s (%d new, %d gone)",
        *(dataset, counted(len(chosen), "unit", "units"), counted(len(batches), "batch", "batches")),
        *(len(set(batches) - before), len(gone)),
    )
    if len(batches) > MANY_BATCHES:
        logger.warning("discover %s: %d batches cost `dvc repro` seconds each; raise batch_size", dataset, len(batches))


def refuse_missing(dataset: str, params: DatasetParams) -> None:
    """Raise `ExpectedError` when the raw folder is missing."""
    if not params.raw_dir.is_dir():
        raise ExpectedError(f"{params.raw_dir}: not a folder, expected the raw files of {dataset}; set its `raw`")


def _is_in_use() -> bool:
    """Say whether a DVC that has read the list of batches goes on by it."""
    return "DVC_STAGE" in os.environ and not os.environ.get(READ_AGAIN)


def _write_manifests(dataset: str, chosen: Sequence[units.Unit], batch_size: int) -> dict[str, list[str]]:
    """Deal the units into batches and write the manifest of each; return the keys of each batch."""
    by_key = {unit.key: unit for unit in chosen}
    batches = units.deal((unit.key for unit in chosen), batch_size)
    for batch, keys in batches.items():
        text = manifests.manifest_text(dataset, batch, [by_key[key] for key in keys])
        write_text(paths.manifest(dataset, batch), text)
    return batches


def _tell_unreadable(dataset: str, chosen: Sequence[units.Unit], params: DatasetParams) -> None:
    """Refuse more units that cannot be read than may be left out, and name the first of fewer."""
    unreadable = [unit for unit in chosen if not unit.digest]
    if not unreadable:
        return
    n_bad, most = len(unreadable), params.max_bad_units
    first = _why(unreadable[0], params)
    if n_bad <= most:
        count = "1 unit cannot be read and is" if n_bad == 1 else f"{n_bad:,} units cannot be read and are"
        logger.warning("discover %s: %s left out (max_bad_units = %d), first %s", dataset, count, most, first)
    elif most == 0:
        raise BadUnit(first)
    else:
        raise BadUnit(f"{n_bad} bad units, expected at most {dataset}.max_bad_units = {most}; the first: {first}")


def _why(unit: units.Unit, params: DatasetParams) -> str:
    """Return why a unit cannot be read, with its file."""
    if reason := unit.context.get("bad"):
        return f"{params.raw_dir}/{reason}"
    try:
        read_unit(params.raw_dir, unit)
    except BadUnit as error:
        return str(error)
    raise BadUnit(f"{params.raw_dir / unit.key}: was not readable a moment ago; run discover again")


def vanished(dataset: str, kept: Collection[str]) -> list[Path]:
    """Return the manifests and arrays of other batches than these."""
    found = [*paths.manifest_dir(dataset).glob("*.json"), *paths.intermediate_dir(dataset).glob("*.npz")]
    return [path for path in found if path.stem not in kept]


def remove_vanished(dataset: str, kept: Collection[str]) -> None:
    """Remove the manifests and arrays of other batches than these."""
    for path in vanished(dataset, kept):
        path.unlink(missing_ok=True)


def _keep_plan_runnable(dataset: str, gone: Collection[str]) -> None:
    """Give each vanished batch that has no manifest, as on a fresh clone, one without units.

    The DVC that runs discover has those batches in its plan and stops at a missing dependency.
    """
    for batch in gone:
        if not paths.manifest(dataset, batch).is_file():
            write_text(paths.manifest(dataset, batch), manifests.manifest_text(dataset, batch, []))


def main() -> int:
    """Run the verb from the command line."""
    return cli.on_dataset(
        "discover",
        "List a dataset's raw units and deal them into batches (data/manifests/).",
        lambda params, dataset: discover(dataset, params.dataset(dataset)),
    )


if __name__ == "__main__":
    sys.exit(main())
