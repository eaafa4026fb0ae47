"""Whether a byte of an output changed behind DVC's back since the last run of preprocess.

DVC takes a file whose size, time of change (mtime) and inode are as before for unchanged, and an object of its cache
that is read-only for right. So a bit that flips in an output, whose link is its object, is not seen by `dvc repro`, and
goes into what is made next. At the end of preprocess `remember` writes of each output in the workspace size, mtime,
ctime and inode to .dvc/tmp/batchwise/outputs.json, and `refuse_damaged` compares at the start of the next one; ctime
is set by the system alone, so it also shows a change whose mtime was set back. That costs a look at each file; only one
that differs is read, and its MD5 compared with dvc.lock. Often it is right, as when DVC linked it anew.

A file that lacks, and one that DVC itself will see as changed while its object is right, are left to DVC.
"""

import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from stages.commands.verify_bytes import Damage, digests, fault_of, faults, recorded
from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.pipeline import lock
from stages.pipeline.internals import open_store

RECORD = Path(".dvc/tmp/batchwise/outputs.json")

Look = list[int]  # size, mtime_ns, inode, ctime_ns


def remember() -> None:
    """Write how the outputs that dvc.lock records look now."""
    looks = {str(path): look for path in sorted(_outputs()) if (look := _look(path))}
    write_text(RECORD, json.dumps(looks, separators=(",", ":")))


def refuse_damaged() -> None:
    """Read the outputs that look otherwise than at the end of the last run, and say which are damaged.

    Raises
    ------
    ExpectedError
        When some are; each was told on stdout, with what to type.
    """
    before, changed, hidden = _remembered(), set(), set()
    for name, old in before.items():
        new = _look(Path(name))
        if new is not None and new != old:
            changed.add(Path(name))
            if new[:3] == old[:3]:
                hidden.add(Path(name))
    lines = list(_faults(changed, hidden)) if changed and lock.LOCK.is_file() else []
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if lines:
        raise ExpectedError("outputs were damaged since the last run, see above; type what is printed, then run again")


def _faults(changed: Collection[Path], hidden: Collection[Path]) -> Iterator[str]:
    """Yield lines for the changed files that DVC takes for right and are not; of the hidden ones DVC sees nothing."""
    store = open_store()
    stages = {output.stage: None for output in _recorded() if any(_is_in(path, output.path) for path in changed)}
    files = [output for output in recorded(stages, store)[0] if output.file.path in changed]
    found = [(output, fault) for output, digest in digests(files) if (fault := fault_of(output, *digest))]
    yield from faults([(o, fault) for o, fault in found if fault is Damage.OBJECT or o.file.path in hidden], store)


def _is_in(path: Path, output: Path) -> bool:
    return path == output or output in path.parents


def _recorded() -> list[lock.RecordedOutput]:
    entries = lock.read()
    return [output for stage in entries for output in lock.outputs(entries, stage)]


def _outputs() -> Iterator[Path]:
    """Yield every file of every output that dvc.lock records, as far as it is in the workspace."""
    for output in _recorded():
        yield from output.path.rglob("*") if output.path.is_dir() else [output.path]


def _look(path: Path) -> Look | None:
    """Return how a file looks; None where there is none."""
    if not path.is_file():
        return None
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]


def _remembered() -> dict[str, Look]:
    """Return what the last run wrote; nothing where it is not there or not readable, since it is only a hint."""
    try:
        content = json.loads(RECORD.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
