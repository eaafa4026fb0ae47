"""Which epoch the next pass over a dataset is, in memory that its worker processes share.

A DataLoader tells a worker neither the number of the pass nor, with persistent workers, what was set on the dataset
after they started. So the numbers lie in shared memory: worker 0 takes the place where the next pass begins, counts it
up for the pass after it, and writes down which pass took what; the other workers of that pass wait for its line. A pass
is known by the seed that the DataLoader drew for it, by the number of its first process, which is another one for each
start of workers, and by how many passes these workers began before. Without workers there is nobody to agree with.
"""

# mypy: disable-error-code="import-not-found, misc"

import multiprocessing
import os
import time
from typing import Any

import torch
from torch.utils.data import get_worker_info

from stages.core.errors import ExpectedError
from stages.loader.stream import Place

WAIT_S = 60.0
LOOK_S = 0.0005
WORD = 2**62  # seeds are cut to what a signed word holds

EPOCH, NEXT = 0, 1  # of the first row: the pass that begins next
MARK, TAKEN = slice(0, 3), slice(3, 5)  # of the other rows: a pass that worker 0 began, and the place that it took
N_PASSES = 64  # so many passes later a worker that was slow to start still finds its own


class Passes:
    """Where the next pass begins, for this process and all that get a copy of it."""

    def __init__(self, first: Place) -> None:
        self._shared = torch.zeros(1 + N_PASSES, 5, dtype=torch.int64).share_memory_()
        self._pid = os.getpid()
        self._n_begun = 0  # by this process
        self.set(first)

    @property
    def _words(self) -> torch.Tensor:
        """The shared memory; a process that trains has its own, a worker that of the process that started it."""
        is_copy = os.getpid() != self._pid or not self._shared.is_shared()
        if is_copy and get_worker_info() is None:
            self._shared, self._pid = self._shared.clone().share_memory_(), os.getpid()
        return self._shared

    @property
    def next(self) -> Place:
        """Where the next pass begins."""
        return Place(*self._words[0, : NEXT + 1].tolist())

    def set(self, place: Place) -> None:
        """Let the next pass begin there."""
        self._words[0, EPOCH], self._words[0, NEXT] = place.epoch, place.next

    def begin(self, own: Place | None = None) -> Place:
        """Return where this pass begins, the same for all its workers; `own` if that is known already.

        Raises
        ------
        ExpectedError
            When worker 0 does not say it.
        """
        self._n_begun += 1
        worker = get_worker_info()
        if worker is not None and worker.id > 0:
            return own or self._agreed(worker)
        place = own or self.next
        self.set(Place(place.epoch + 1, 0))
        if worker is not None:
            row = self._words[1 + self._n_begun % N_PASSES]
            row[TAKEN] = torch.tensor([place.epoch, place.next])
            row[MARK] = self._mark(worker)  # last: the others wait for it
        return place

    def _agreed(self, worker: Any) -> Place:
        """Return what worker 0 took for this pass."""
        row, mark, end = self._words[1 + self._n_begun % N_PASSES], self._mark(worker), time.monotonic() + WAIT_S
        while not torch.equal(row[MARK], mark):
            if time.monotonic() > end:
                raise ExpectedError(
                    f"loader: worker {worker.id} waited {WAIT_S:.0f} s for worker 0 to begin the same pass, expected "
                    "that all start at once; make one DataLoader of a dataset at a time"
                )
            time.sleep(LOOK_S)
        return Place(*row[TAKEN].tolist())

    def _mark(self, worker: Any) -> torch.Tensor:
        """Return what the workers of one pass have in common and no others have."""
        number = multiprocessing.current_process().name.rpartition("-")[2]
        first = int(number) - worker.id if number.isdecimal() else 0
        return torch.tensor([(worker.seed - worker.id) % WORD, first, self._n_begun])
