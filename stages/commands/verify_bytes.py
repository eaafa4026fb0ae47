"""Compare the outputs, and the objects of DVC's cache behind them, with the digests in dvc.lock, and say what to type.

Each fault is a line with the files of one stage, and the last line has the command that repairs all of them. An output
may be a hard link to its object, so that both are damaged; then both must go. The output of a stage that still has its
object is checked out again; else the stage runs again, or is pulled where a remote is set. What may have been made from
a damaged file is forgotten first (stages/commands/forget.py), so that it is made anew.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from stages.commands.forget import readers
from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.pipeline import lock, verbs
from stages.pipeline.internals import CachedFile, Store
from stages.runtime.workers import ordered

MOST_NAMED = 3


class OutputFile(NamedTuple):
    """A file, the stage that wrote it, and whether it is the batch list, which git holds and not DVC's cache."""

    stage: str
    file: CachedFile
    is_list: bool = False


class Damage(Enum):
    """What is wrong with an output: its batch list, its object, or its workspace file, with or without an object."""

    LIST = "not the list that {stage} wrote"
    OBJECT = "DVC's copy of what {stage} wrote is damaged"
    MISSING = "missing, expected an output of {stage}"
    LOST = "missing, and so is DVC's copy, expected an output of {stage}"
    WORKSPACE = "not what {stage} wrote"
    ONLY = "not what {stage} wrote, and DVC has no copy"


DAMAGED = (Damage.OBJECT, Damage.WORKSPACE, Damage.ONLY)  # something may have been made from it
CHECKED_OUT = (Damage.WORKSPACE, Damage.MISSING)  # DVC's cache holds it as it was


def damaged_files(dataset: str, is_simulated: bool, store: Store) -> tuple[list[tuple[OutputFile, Damage]], list[str]]:
    """Return the outputs whose bytes, or those of their objects, are not those of dvc.lock.

    Returns
    -------
    list of tuple
        Each with what is wrong.
    list of str
        A line for each output of which it cannot be told.
    """
    present = [verb for verb in verbs.VERBS if is_simulated or verb != "simulate"]
    files, unread = recorded(verbs.stage_names(present, dataset, manifests.read_batch_list(dataset)), store)
    return [(output, fault) for output, found in digests(files) if (fault := fault_of(output, *found))], unread


def recorded(stages: Iterable[str], store: Store) -> tuple[list[OutputFile], list[str]]:
    """Return the files that dvc.lock records of some stages, and a line for each output of which it cannot be told."""
    entries = lock.read()
    files: list[OutputFile] = []
    unread: list[str] = []
    for stage in stages:
        try:
            for output in lock.outputs(entries, stage):
                is_list = output.path == paths.batch_list(verbs.parsed(stage).dataset)
                files += [OutputFile(stage, file, is_list) for file in store.files(output.path, output.md5)]
        except ExpectedError as error:
            unread.append(str(error))
    return files, unread


def digests(files: Sequence[OutputFile]) -> Iterator[tuple[OutputFile, tuple[str | None, str | None]]]:
    """Yield each output with the MD5 of its workspace file and of its object, None if absent."""
    yield from zip(files, ordered(CachedFile.digests, [output.file for output in files], "threading"), strict=True)


def fault_of(output: OutputFile, workspace: str | None, cached: str | None) -> Damage | None:
    """Return what is wrong with an output, given the MD5 of the workspace file and of the object."""
    md5 = output.file.md5
    if output.is_list:  # git holds it, and DVC cannot start without it
        return None if workspace == md5 else Damage.LIST
    if cached not in (md5, None):
        return Damage.OBJECT
    if workspace == md5:
        return None
    if workspace is None:
        return Damage.LOST if cached is None else Damage.MISSING
    return Damage.ONLY if cached is None else Damage.WORKSPACE


def faults(found: Sequence[tuple[OutputFile, Damage]], store: Store) -> Iterator[str]:
    """Yield a line for all files of one stage with one fault; the last one has the command that repairs all of them.

    They must be mended together: a stage that runs again is given the damaged object of another file of it, and one
    that reads what is damaged too fails.
    """
    groups: dict[tuple[str, Damage], list[CachedFile]] = {}
    for output, fault in found:
        groups.setdefault((output.stage, fault), []).append(output.file)
    for number, ((stage, fault), files) in enumerate(groups.items(), 1):
        named = [file.object if fault is Damage.OBJECT else file.path for file in files]
        where = ", ".join(map(str, named[:MOST_NAMED])) + (
            f" and {n} more" if (n := len(named) - MOST_NAMED) > 0 else ""
        )
        again = f"`{' && '.join(_cure(found, store))}`" if number == len(groups) else "the last such line mends it too"
        yield f"{where}: {fault.value.format(stage=stage)}; {again}"


def _cure(found: Sequence[tuple[OutputFile, Damage]], store: Store) -> list[str]:
    """Return the commands that repair some files, and what was made of damaged ones."""
    entries = lock.read()
    read = {o.file.path: readers(entries, o.file.path) for o, fault in found if fault in DAMAGED}
    forgotten = {stage for stages in read.values() for stage in stages}
    # Forgotten before they are mended: whoever is interrupted is told of it again.
    paths_read = [str(path) for path, stages in read.items() if stages]
    objects = [str(o.file.object) for o, fault in found if fault is Damage.OBJECT]
    files = [str(o.file.path) for o, fault in found if fault in (*DAMAGED, Damage.LIST)]
    lists = dict.fromkeys(o.stage.replace("@", " ") for o, fault in found if fault is Damage.LIST)
    # A stage that runs again anyhow need not be checked out, and has nothing in dvc.lock to check out.
    kept = dict.fromkeys(o.stage for o, fault in found if fault in CHECKED_OUT and o.stage not in forgotten)
    must_run = bool(forgotten) or any(fault not in CHECKED_OUT for _, fault in found)
    return [
        *([f"python -m stages.commands.forget {' '.join(paths_read)}"] if forgotten else []),
        *([f"rm -f {' '.join([*objects, *files])}"] if files else []),
        *(f"python -m stages.{verb}" for verb in lists),
        *([f"dvc checkout --force {' '.join(kept)}"] if kept else []),
        *([f"{store.repro} --no-run-cache" if forgotten else store.repro] if must_run else []),
    ]
