"""Which epoch the next pass over a dataset is, in memory that its worker processes share.

A DataLoader tells a worker neither the number of the pass nor, with persistent workers, what was set on the dataset
after they started. So the numbers lie in shared memory: worker 0 takes the place where the next pass begins, counts it
up for the pass after it, and writes down which pass took what; the other workers of that pass wait for its line. A pass
is known by the pipe through which its workers send their batches, which is another one for each start of workers, and
by how many passes these workers began before. Without workers there is nobody to agree with.
"""

# mypy: disable-error-code="import-not-found, misc"

import multiprocessing
import os
import time
from multiprocessing.queues import Queue

import torch
from torch.utils.data import get_worker_info

from stages.core.errors import ExpectedError
from stages.loader.stream import Place
from stages.loader.torch_adapter.gate import Gate

WAIT_S = 60.0
LOOK_S = 0.0005

EPOCH, NEXT, BEGUN = 0, 1, 2  # of the first row: the pass that begins next, and how many workers 0 have begun
MARK, TAKEN = slice(0, 2), slice(2, 4)  # of the other rows: a pass that worker 0 began, and the place that it took
N_PASSES = 64  # so many passes later a worker that was slow to start still finds its own


class Passes:
    """Where the next pass begins, for this process and all that get a copy of it.

    Attributes
    ----------
    n_set
        How often this process has set it: what was said of a pass before is no longer so.
    """

    def __init__(self, first: Place) -> None:
        self._shared = torch.zeros(1 + N_PASSES, 4, dtype=torch.int64).share_memory_()
        self._gate = Gate()
        self._pid = os.getpid()
        self._n_begun = 0  # by this process
        self.n_set = 0
        self._put(first)

    @property
    def _words(self) -> torch.Tensor:
        """The shared memory; a process that trains has its own, a worker that of the process that started it."""
        is_copy = os.getpid() != self._pid or not self._shared.is_shared()
        if is_copy and get_worker_info() is None:
            self._shared, self._pid = self._shared.clone().share_memory_(), os.getpid()
            self._gate = Gate()
        return self._shared

    @property
    def next(self) -> Place:
        """Where the next pass begins."""
        return Place(*self._words[0, : NEXT + 1].tolist())

    def set(self, place: Place) -> None:
        """Let the next pass begin there."""
        self.n_set += 1
        self._put(place)

    def begin(self, own: Place | None = None) -> Place:
        """Return where this pass begins, the same for all its workers; `own` if that is known already.

        Raises
        ------
        ExpectedError
            When worker 0 does not say it.
        """
        self._n_begun += 1
        worker, words = get_worker_info(), self._words
        if worker is not None and worker.id > 0:
            return own or self._agreed(worker.id)
        with self._gate:
            place = own or self.next
            self._put(Place(place.epoch + 1, 0))
            if worker is not None:
                row = words[1 + int(words[0, BEGUN]) % N_PASSES]
                words[0, BEGUN] += 1
                row[MARK] = 0
                row[TAKEN] = torch.tensor([place.epoch, place.next])
                row[MARK] = self._mark()  # last: the others wait for it
        return place

    def _put(self, place: Place) -> None:
        self._words[0, EPOCH], self._words[0, NEXT] = place.epoch, place.next

    def _agreed(self, worker: int) -> Place:
        """Return what worker 0 took for this pass."""
        rows, mark, end = self._words[1:], self._mark(), time.monotonic() + WAIT_S
        while not (is_own := (rows[:, MARK] == mark).all(1)).any():
            if time.monotonic() > end:
                raise ExpectedError(
                    f"loader: worker {worker} waited {WAIT_S:.0f} s for worker 0 to begin the same pass, expected that "
                    "all start at once; look what keeps worker 0, and begin the pass anew"
                )
            time.sleep(LOOK_S)
        return Place(*rows[is_own][0, TAKEN].tolist())

    def _mark(self) -> torch.Tensor:
        """Return what the workers of one pass have in common and no others have, int64 (2,)."""
        return torch.tensor([_pipe_of_worker(), self._n_begun])


def _pipe_of_worker() -> int:
    """Return the number, in the system, of the pipe by which this worker and its siblings send batches.

    The DataLoader gives a worker two queues: its own one of what to do, then that of all workers of this start.
    """
    arguments = multiprocessing.current_process()._args  # type: ignore[attr-defined]
    of_all = [queue for queue in arguments if isinstance(queue, Queue)][-1]
    return os.fstat(of_all._writer.fileno()).st_ino  # type: ignore[attr-defined]
