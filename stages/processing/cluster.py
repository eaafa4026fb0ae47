"""The batches of a run that the workers of a Dask cluster make: all of them are in flight at once.

A worker writes the NPZ of a batch under a temporary name into the shared folder (`stages.processing.on_worker`); here
it gets its own. What nobody took is removed when the run ends.
"""

import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams
from stages.processing.on_worker import BatchJob, Made, left_overs, make_batch, manifest_digest, md5_of
from stages.runtime import memory_log
from stages.runtime.workers import backend_name

logger = logging.getLogger("batchwise")


def is_asked_for() -> bool:
    """Say whether ``BACKEND`` asks for a cluster."""
    return backend_name("threading") == "dask"


class Cluster:
    """The cluster of ``DASK_SCHEDULER``, as one that makes batches; use it in a ``with`` statement.

    Parameters
    ----------
    params
        The settings of each dataset, by name.

    Raises
    ------
    ExpectedError
        When there is no scheduler, no worker that answers, or a worker does not run what this process runs.
    """

    def __init__(self, params: Mapping[str, DatasetParams]) -> None:
        from stages.runtime import dask_pool  # an extra package, and 0.5 s of imports

        for token in dask_pool.tokens_of_killed():
            token.unlink(missing_ok=True)
            _remove_left_overs(str(token))
        self._params = params
        self._pool = dask_pool.DaskPool()
        self._since = time.monotonic()
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Leave the cluster, and remove what its workers made and nobody took."""
        self._pool.close(is_done=kind is None)
        _remove_left_overs(self._pool.token)
        self._woken.close()
        self._wakes.close()

    def begin(self, dataset: str, batch: str) -> "OnCluster":
        """Have a worker make a batch."""
        manifest = manifest_digest(dataset, batch)
        weight = paths.manifest(dataset, batch).stat().st_size
        job = BatchJob(dataset, batch, self._params[dataset], manifest, self._pool.token, weight)
        promise = self._pool.submit(make_batch, job)
        promise.add_done_callback(self._wake)
        return OnCluster(job, promise)

    def _wake(self, _: object) -> None:
        """Let it be known that a batch is done; Dask's thread calls this."""
        with contextlib.suppress(OSError):  # the run is over
            self._wakes.send(b".")

    def fileno(self) -> int:
        """Return what can be read from when a batch is done: for `select`."""
        return self._woken.fileno()

    def look(self) -> None:
        """See what became of the workers: what a silent one has goes to others. To be called every second or so.

        Raises
        ------
        ExpectedError
            When no worker was heard of for long.
        """
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        self._pool.look()
        self._pool.refuse_silence(self._since)

    def busy(self) -> Mapping[str, str]:
        """Return the batch that each worker has in hand, as of about a second ago."""
        return self._pool.busy()


def _remove_left_overs(token: str) -> None:
    for path in left_overs(token):
        path.unlink(missing_ok=True)


def check_digest(path: Path, expected: str) -> None:
    """Read the NPZ of a batch that a worker made, and compare its MD5; `make preprocess` has DVC's, and need not.

    Raises
    ------
    ExpectedError
        When the file here is another than the worker wrote.
    """
    found = md5_of(path)
    if found != expected:
        raise ExpectedError(
            f"{path}: MD5 {found}, expected {expected} as a worker wrote it; see to the shared file system, run again"
        )


class OnCluster:
    """A batch that a worker makes."""

    def __init__(self, job: BatchJob, promise: "Future[Made]") -> None:
        self._job, self._promise = job, promise

    def is_done(self) -> bool:
        """Say whether it is made, or failed."""
        return self._promise.done()

    def cancel(self) -> None:
        """Wait for it no more."""
        self._promise.cancel()

    def take(self) -> str:
        """Wait for the batch, give its NPZ its name, and tell what the worker has to tell.

        Returns
        -------
        str
            The MD5 of the NPZ as the worker wrote it.

        Raises
        ------
        BadUnit, ExpectedError
            When the batch cannot be made, or its file did not arrive.
        """
        made = self._promise.result()
        path = paths.intermediate(self._job.dataset, self._job.batch)
        found = made.path.stat().st_size if made.path.is_file() else None
        if found != made.n_bytes:
            raise ExpectedError(
                f"{path}: {found} bytes, expected the {made.n_bytes} that a worker wrote; is the folder shared by all? "
                "run again"
            )
        made.path.replace(path)
        memory_log.add("process", made.entries)
        for level, line in made.told:
            logger.log(level, line)
        return made.md5
