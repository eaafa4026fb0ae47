"""Mend what a kill left half written of DVC's own files, so that no command fails until the user mends by hand.

DVC writes some files in place, and a kill in that moment leaves them empty or cut:

- .dvc/tmp/rwlock, which of its processes reads or writes which path. It also keeps the names of killed processes, and
  a later process may have the number of one;
- dvc.lock. Each of our commands leaves a copy of a whole one in .dvc/tmp/batchwise/. What an older copy does not know,
  a run takes from DVC's run cache;
- data/games.dvc, the record of a raw folder that is tracked. The next run brings it up to date again;
- .dvc/config, which `make remote` writes. It is short, so that a kill leaves it empty, and DVC without its settings.

An entry of the run cache it writes to `runs/ab/abcd.../*.tmp` and renames it. A kill before leaves the folder empty,
and the stage then fails for ever with `join() argument must be str ..., not 'NoneType'`, since DVC looks for the newest
entry there. A kill or a full disk during it leaves the temporary file, which DVC takes for the newest entry, and fails
for ever when it was cut between two outputs. Both are removed from the cache in its usual place, .dvc/cache; one
elsewhere may be in use by other clones.

What it brings from the cache it writes as `.<22 characters>.tmp`, and renames that. A kill before leaves that name
among the outputs of the stages for ever.

What DVC keeps in its databases (SQLite, in /var/tmp/dvc) and as objects of its cache (renamed into place) stays whole.

Nothing is touched while a DVC is at work in this repository. DVC holds .dvc/tmp/lock and rwlock.lock while it uses
these files, and not while a stage runs; then rwlock, or the list of processes, tells of it.

In: these files, the copy, git's HEAD. Out: the files mended, and a line for each that says what was done.
"""

import itertools
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from stages.core.files import write_text
from stages.pipeline import internals, lock

logger = logging.getLogger("batchwise")

RWLOCK = Path(".dvc/tmp/rwlock")
CONFIG = Path(".dvc/config")
RUN_CACHE = Path(".dvc/cache/runs")
DATA = Path("data")
WRITTEN = ("manifests", "intermediate", "merged", "processed", "reports", "metrics", "plots", "models", "train")
TEMPORARY = re.compile(r"\.[\w-]{22}\.tmp")  # as dvc_objects names it
CONFLICT = "<<<<<<< "  # of a merge that is not finished: that is for the user to end
CLOCK_SLACK_S = 60  # the start of a process and the time of a file come from two clocks


def mend(raw_dirs: Iterable[Path] = ()) -> list[str]:
    """Mend DVC's files, and keep a copy of a dvc.lock that is whole.

    Parameters
    ----------
    raw_dirs
        Folders of raw data, which may be tracked with `dvc add`.

    Returns
    -------
    list of str
        One line for each thing that was done, or that is to be done and cannot be.
    """
    records = [record for folder in raw_dirs for record in _tracked_by(folder)]
    if not _faults(records):
        lock.keep_copy()
        return []
    try:
        with internals.locked():
            faults = _faults(records)  # what looked cut may have been in writing
            if faults and (working := _at_work()):
                return [f"{path}: damaged, and `{working}` is at work; wait until it ends" for path in faults]
            return [repair(path) for path, repair in faults.items()]
    except internals.DvcAtWork:
        logger.debug("a DVC is at work; its files are left alone")
        return []


def _faults(records: Iterable[Path]) -> dict[Path, Callable[[Path], str]]:
    """Return the files that are to be mended, each with what mends it."""
    faults: dict[Path, Callable[[Path], str]] = {}
    if _is_left_over():
        faults[RWLOCK] = _remove_rwlock
    if _is_cut(lock.LOCK, _is_whole_lock):
        faults[lock.LOCK] = _put_back_lock
    faults |= {path: _put_back_record for path in records if _is_cut(path, _is_whole_record)}
    if CONFIG.is_file() and CONFIG.stat().st_size == 0 and _committed(CONFIG):
        faults[CONFIG] = _put_back_config
    faults |= dict.fromkeys(_left_beside_outputs(), _remove_unfinished)
    return faults | dict.fromkeys(_left_in_run_cache(), _remove_left_over)


# .dvc/tmp/rwlock.


def _is_left_over() -> bool:
    """Say whether rwlock is no list of processes, or names some and none of them is a DVC that lives."""
    if not RWLOCK.is_file():
        return False
    holders = _holders()
    if holders is None:
        return True
    return bool(holders) and not any(map(_is_alive, holders))


def _holders() -> list[dict[str, Any]] | None:
    """Return the processes that rwlock names; None when it cannot be read."""
    try:
        content = json.loads(RWLOCK.read_bytes())
        writers = list(content.get("write", {}).values())
        readers = [reader for some in content.get("read", {}).values() for reader in some]
        return [{"pid": int(holder["pid"]), "cmd": str(holder["cmd"])} for holder in (*writers, *readers)]
    except FileNotFoundError:
        return []
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return None


def _is_alive(holder: dict[str, Any]) -> bool:
    """Say whether the process that rwlock names is still that one: its number may be another's by now."""
    try:
        process = psutil.Process(holder["pid"])
        words, started = process.cmdline(), process.create_time()
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    if not words or started > RWLOCK.stat().st_mtime + CLOCK_SLACK_S:
        return False
    return _is_python(words) and _last_names(holder["cmd"]) & _last_names(words[-1]) != set()


def _is_python(words: list[str]) -> bool:
    return any(name in Path(words[0]).name for name in ("python", "dvc"))


def _last_names(text: str) -> set[str]:
    """Return the last word and, if it names a module, the module's last name: `python -m a.b` is known as `a/b.py`.

    DVC joins the arguments with spaces, and one may hold spaces itself.
    """
    return {name for word in text.split()[-1:] for name in (word, Path(word).stem, word.rpartition(".")[2])}


def _remove_rwlock(path: Path) -> str:
    holders = _holders()
    path.unlink()
    if not holders:
        return f"{path}: damaged when a DVC was killed; removed"
    numbers = ", ".join(map(str, sorted({holder["pid"] for holder in holders})))
    return f"{path}: left by a DVC that was killed (process {numbers}); removed"


# .dvc/cache/runs.


def _left_in_run_cache() -> Iterator[Path]:
    """Yield the temporary files of the run cache, or their folder where it holds nothing else."""
    for folder in RUN_CACHE.glob("*/*"):
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):  # another command removed it, or it is nobody's
            continue
        left = [name for name in names if name.endswith(".tmp")]
        if len(left) == len(names):
            yield folder
        else:
            yield from (folder / name for name in left)


def _remove_left_over(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return f"{path}: of the run cache, not written when a DVC was killed; removed"


# Beside the outputs of stages.


def _left_beside_outputs() -> Iterator[Path]:
    """Yield the temporary files of DVC in the folders to which stages write, and nobody else."""
    for place in WRITTEN:
        for folder, _, names in os.walk(DATA / place):
            yield from (Path(folder, name) for name in names if TEMPORARY.fullmatch(name))


def _remove_unfinished(path: Path) -> str:
    path.unlink()
    return f"{path}: not written to its end when a DVC was killed; removed"


# Which DVC is at work.


def _at_work() -> str:
    """Return the command line of a DVC that works in this repository, nothing if there is none."""
    here = Path.cwd()
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if _is_dvc(words) and Path(process.cwd()).is_relative_to(here):
                return " ".join(words)
        except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
            continue
    return ""


def _is_dvc(words: list[str]) -> bool:
    """Say whether a command line runs DVC: `dvc`, `python .../dvc`, `python -m dvc` or our own; not its daemon."""
    is_script = any(Path(word).name == "dvc" for word in words[:2])
    is_module = any(("-m", name) in itertools.pairwise(words) for name in ("dvc", "stages.pipeline.dvc_cli"))
    return (is_script or is_module) and "daemon" not in words


# dvc.lock and the records of tracked folders.


def _is_cut(path: Path, is_whole: Callable[[str], bool]) -> bool:
    """Say whether a file is there and was cut; one with the marks of a merge is not."""
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    return CONFLICT not in text and not is_whole(text)


def _is_whole_lock(text: str) -> bool:
    return (text != "" and text == _text(lock.COPY)) or lock.is_whole(text)  # to read its YAML takes 40 ms


def _is_whole_record(text: str) -> bool:
    """Say whether a text is all of a .dvc file, whose last line is the path of its last output."""
    try:
        content = yaml.safe_load(text)
        return text.endswith("\n") and "path" in content["outs"][-1]
    except (yaml.YAMLError, TypeError, KeyError, IndexError):
        return False


def _tracked_by(folder: Path) -> Iterator[Path]:
    """Yield the .dvc files that may track a folder: its own and those of the folders that it is in."""
    inside = (Path(folder), *Path(folder).parents)
    yield from (path.with_name(f"{path.name}.dvc") for path in inside if path.name)


def _put_back_lock(path: Path) -> str:
    sources = {"the copy of the last run": _text(lock.COPY), "git's last commit": _committed(path)}
    return _replaced(path, {name: text for name, text in sources.items() if lock.is_whole(text)})


def _put_back_record(path: Path) -> str:
    committed = _committed(path)
    return _replaced(path, {"git's last commit": committed} if _is_whole_record(committed) else {})


def _put_back_config(path: Path) -> str:
    return _replaced(path, {"git's last commit": _committed(path)})


def _replaced(path: Path, sources: dict[str, str]) -> str:
    """Move a cut file aside and write the first of the sources in its place; say so."""
    aside = lock.COPY.with_name(f"{path.name}.damaged")
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, aside)
    if not sources:
        path.unlink()
        again = "the next run makes it anew, from DVC's run cache" if path == lock.LOCK else "`dvc add` makes it anew"
        return f"{path}: cut when a DVC was killed, and there is no copy; moved to {aside}, {again}"
    name, text = next(iter(sources.items()))
    write_text(path, text)
    return f"{path}: cut when a DVC was killed; put back from {name}, the cut one is {aside}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _committed(path: Path) -> str:
    """Return a file as it is in git's last commit, nothing if it is not."""
    try:
        done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return "" if done.returncode else done.stdout
