"""A batch on a worker of a Dask cluster: it is made in the worker's own process, and lands in the shared folder.

The worker reads the manifest and the raw files, and writes the NPZ under a temporary name beside its place, whole or
not at all. Back go that name and a digest, a kilobyte; the run that asked gives the file its name. So what a worker
makes too late, when another made the batch or the run is over, never takes the place of anything; and what it has made
stays when it dies, since the name is then that of the run.

A file of a run that is over is of no use: the worker looks before each chunk whether the run's token is there.
"""

import glob
import hashlib
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams
from stages.processing import batch as batches
from stages.processing.batch import Advances, Bench
from stages.runtime.worker_log import WorkerLog
from stages.runtime.workers import Inline, Workers

SHARE_OF_LIMIT = 0.8  # Dask gives a worker nothing more to do above 80 % of its memory limit


class RunIsOver(ExpectedError):
    """Nobody waits for what a worker makes."""


@dataclass(frozen=True)
class BatchJob:
    """What a worker needs to make a batch.

    Attributes
    ----------
    manifest
        SHA-256 of the batch's manifest as the run sees it: a shared file system may show a worker an older one.
    token
        A file that is there as long as the run is.
    weight
        Bytes of the manifest: those of the raw files would cost a look at each.
    """

    dataset: str
    batch: str
    params: DatasetParams
    manifest: str
    token: str
    weight: int = 0

    @property
    def label(self) -> str:
        """What tells the batch from others: "splendor-b01"."""
        return f"{self.dataset}-{self.batch}"


@dataclass(frozen=True)
class Made:
    """What a worker made of a batch.

    Attributes
    ----------
    path
        The NPZ, under its temporary name.
    md5
        Of the NPZ.
    n_bytes
        Of the NPZ.
    told
        What a user should see: level and line.
    entries
        Lines for the log of process.
    """

    path: Path
    md5: str
    n_bytes: int
    told: list[tuple[int, str]]
    entries: list[dict[str, Any]]


def make_batch(job: BatchJob) -> Made:
    """Make the NPZ of a batch on this worker.

    Raises
    ------
    BadUnit, ExpectedError
        As `stages.processing.batch.make`; also when this worker sees another manifest, or the run is over.
    """
    _refuse_other_manifest(job)
    limit_mb, n_threads = _worker_limits()
    with WorkerLog("process", job.label, SHARE_OF_LIMIT * limit_mb) as log:
        bench = Bench(log, lambda _, __: _alone(job), 1 / n_threads)
        batch = batches.read(job.dataset, job.batch, job.params)
        path = _temporary(job)
        batches.make(batch, path, bench, log.tell)
    try:
        md5 = md5_of(path)
        _refuse_if_over(job)
        path = path.replace(_of_run(job))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Made(path, md5, path.stat().st_size, log.told, log.entries)


@contextmanager
def _alone(job: BatchJob) -> Iterator[tuple[Workers, Advances]]:
    """Give this thread as the only worker, and a progress that nobody looks at."""
    with Workers(pool=Inline()) as workers:
        yield workers, _Unseen(job)


class _Unseen:
    """Progress that is not shown; the work ends when the run is over."""

    def __init__(self, job: BatchJob) -> None:
        self._job = job

    def advance(self, n_units: int, n_rows: int) -> None:
        """See that the run still goes on."""
        _refuse_if_over(self._job)


def _refuse_if_over(job: BatchJob) -> None:
    if not Path(job.token).is_file():
        raise RunIsOver(f"process {job.label}: the run is over, the batch is dropped")


def _refuse_other_manifest(job: BatchJob) -> None:
    if manifest_digest(job.dataset, job.batch) != job.manifest:
        raise ExpectedError(
            f"{paths.manifest(job.dataset, job.batch)}: {socket.gethostname()} sees another file than the run does; "
            "the shared file system shows changes late there, run again"
        )


def manifest_digest(dataset: str, batch: str) -> str:
    """Return the SHA-256 of a batch's manifest.

    Raises
    ------
    ExpectedError
        When there is none.
    """
    path = paths.manifest(dataset, batch)
    if not path.is_file():
        raise ExpectedError(f"{path}: not found, expected the units of the batch; run discover first")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which is DVC's digest too."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _temporary(job: BatchJob) -> Path:
    """Return a name beside the batch's place for what this process has in hand: who finds it dead may remove it."""
    return _beside(job, f"{Path(job.token).name}.{socket.gethostname()}-{os.getpid()}")


def _of_run(job: BatchJob) -> Path:
    """Return a name beside the batch's place for what is made: it is the run's, whatever becomes of this worker."""
    return _beside(job, Path(job.token).name)


def _beside(job: BatchJob, whose: str) -> Path:
    return paths.intermediate_dir(job.dataset) / f".{job.batch}.npz.{secrets.token_hex(4)}.{whose}.tmp"


def left_overs(token: str) -> list[Path]:
    """Return what workers made for a run and nobody took."""
    run = glob.escape(Path(token).name)
    return sorted(paths.intermediate_dir("").glob(f"*/.*.npz.*.{run}*.tmp"))


def _worker_limits() -> tuple[float, int]:
    """Return the memory limit of this worker in MB, that of its machine for none, and how many threads it has."""
    from distributed import get_worker

    worker = get_worker()
    limit = worker.memory_manager.memory_limit or psutil.virtual_memory().total
    return limit / 2**20, worker.state.nthreads
