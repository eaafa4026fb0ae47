"""Compare the outputs, and the objects of DVC's cache behind them, with the digests in dvc.lock, and say what to type.

Each fault is a line with the files of one stage and the command that repairs them. An output may be a hard link to its
object, so that both are damaged; then both must go. The output of a stage that still has its object is checked out
again; else the stage runs again, or is pulled where a remote is set. What may have been made from a damaged file is
forgotten first (stages/commands/forget.py), so that it is made anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def damaged_files(dataset: str, is_simulated: bool, store: Store) -> Iterator[str]:
    """Yield a line for the outputs of each stage, or objects of DVC's cache, whose bytes are not those of dvc.lock."""
    present = [verb for verb in verbs.VERBS if is_simulated or verb != "simulate"]
    files, unread = recorded(verbs.stage_names(present, dataset, manifests.read_batch_list(dataset)), store)
    yield from unread
    yield from faults(
        [(output, fault) for output, found in digests(files) if (fault := fault_of(output, *found))], store
    )


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
    """Yield a line for all files of one stage with one fault, with the command that repairs them.

    They must be mended together: a stage that runs again is given the damaged object of another file of it.
    """
    entries = lock.read()
    groups: dict[tuple[str, Damage], list[CachedFile]] = {}
    for output, fault in found:
        groups.setdefault((output.stage, fault), []).append(output.file)
    for (stage, fault), files in groups.items():
        named = [file.object if fault is Damage.OBJECT else file.path for file in files]
        where = ", ".join(map(str, named[:MOST_NAMED])) + (
            f" and {n} more" if (n := len(named) - MOST_NAMED) > 0 else ""
        )
        yield f"{where}: {fault.value.format(stage=stage)}; `{' && '.join(_cure(entries, stage, fault, files, store))}`"


def _cure(
    entries: Mapping[str, lock.Entry], stage: str, fault: Damage, files: Sequence[CachedFile], store: Store
) -> list[str]:
    """Return the commands that repair some files of a stage, and what was made of damaged ones."""
    names = " ".join(str(file.path) for file in files)
    checkout = [f"dvc checkout --force {stage}"]
    if fault is Damage.LIST:
        return [f"rm -f {names}", f"python -m stages.{stage.replace('@', ' ')}", "dvc repro"]
    if fault in (Damage.MISSING, Damage.LOST):
        return checkout if fault is Damage.MISSING else [store.repro]
    # Forgotten before they are mended: whoever is interrupted is told of it again.
    is_read = any(readers(entries, file.path) for file in files)
    forget = [f"python -m stages.commands.forget {names}"] if is_read else []
    anew = [f"{store.repro} --no-run-cache" if is_read else store.repro]
    if fault is Damage.OBJECT:
        return [*forget, f"rm -f {' '.join(str(file.object) for file in files)} {names}", *anew]
    mend = anew if fault is Damage.ONLY else [*checkout, *(anew if is_read else [])]
    return [*forget, f"rm -f {names}", *mend]
