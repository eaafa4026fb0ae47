"""What a worker of a Dask cluster does: see that it runs what the run it works for runs, then do the work.

The bytes of a result are a function of the raw files, the code, Python and NumPy; so these must be the same.
"""

import functools
import hashlib
import pickle
import platform
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.runtime import notes

CODE_DIR = Path(__file__).parents[1]  # stages: a dataset's encoder runs on workers as well


@dataclass(frozen=True)
class Site:
    """What must be the same on a worker: the folder, which `token`, a new file in it, tells, and what runs in it."""

    folder: str
    token: str
    code: str
    python: str
    numpy: str


def here(folder: str = "", token: str = "") -> Site:
    """Return what this process runs, and the folder and token of another one if given."""
    return Site(folder or str(Path.cwd()), token, code_digest(), platform.python_version(), np.__version__)


@functools.cache
def code_digest() -> str:
    """Return the digest of all files of `stages` as they were when first asked, which is what this process loaded."""
    paths = sorted(path for path in CODE_DIR.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    lines = [
        f"{path.relative_to(CODE_DIR).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=16)
def refusal(expected: Site) -> str:
    """Return why this process must not work for a run at `expected`; empty if it may."""
    if not Path(expected.token).is_file():
        return f"works in {str(Path.cwd())!r}, expected the folder {expected.folder!r} on a shared file system"
    found = here(expected.folder, expected.token)
    return ", ".join(
        f"runs {what} {getattr(found, what)!r}, expected {getattr(expected, what)!r} as here"
        for what in ("code", "python", "numpy")
        if getattr(found, what) != getattr(expected, what)
    )


def work(expected: Site, payload: bytes) -> tuple[str, Any]:
    """Do on a worker what `payload` holds, a pickled function and its item.

    Returns
    -------
    tuple[str, Any]
        Why the worker refuses, with its address, and None; or an empty text and the function's result.
    """
    from distributed import get_worker

    reason = refusal(expected)
    if reason:
        return f"worker {get_worker().address} {reason}", None
    function, item = pickle.loads(payload)
    _take_name(short(get_worker().address))
    return "", function(item)


def _take_name(address: str) -> None:
    """Name this thread after its worker, for the log: "10.0.0.7:40123/0" is the worker's first thread."""
    notes.name_this_thread(f"{address}/{threading.current_thread().name.rpartition('-')[2]}")


def short(address: str) -> str:
    """Return a worker's address without its scheme."""
    return address.rpartition("/")[2]
