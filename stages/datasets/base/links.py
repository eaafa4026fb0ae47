"""Which links of the raw folder are followed: those that lead to a file of it, and those that DVC made.

DVC may keep the files of a tracked folder as links to its cache. Where that cache is, only DVC knows, by its own
settings, so the dvc command is asked: once in a process, and only when a link looks like one of DVC's (0.7 s).
"""

import re
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

CACHE_OBJECT = re.compile(r"files/md5/[0-9a-f]{2}/[0-9a-f]{30}")  # below the cache
OBJECT_DEPTH = 4  # of its path there

_asking = threading.Lock()


def is_inside(raw_dir: Path, path: Path) -> bool:
    """Say whether a file, links followed, lies in the raw folder, or is an object that DVC linked from its cache."""
    if not path.is_symlink():
        return _real(path.parent).is_relative_to(_real(raw_dir))
    target = path.resolve()
    return target.is_relative_to(_real(raw_dir)) or _is_cache_object(target)


def _is_cache_object(path: Path) -> bool:
    if not CACHE_OBJECT.fullmatch("/".join(path.parts[-OBJECT_DEPTH:])):
        return False
    with _asking:  # threads that ask at once wait for one answer
        return path.parents[OBJECT_DEPTH - 1] == _cache_dir()


@cache
def _cache_dir() -> Path | None:
    """Return the folder of this repository's DVC cache; None where there is no such repository."""
    command = (sys.executable, "-m", "dvc", "cache", "dir")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return None if done.returncode else Path(done.stdout.removesuffix("\n")).resolve()


@cache
def _real(folder: Path) -> Path:
    return folder.resolve()
