"""Which epoch the next pass over a dataset is, in memory that its worker processes share.

A DataLoader tells a worker neither the number of the pass nor, with persistent workers, what was set on the dataset
after they started. So the numbers lie in shared memory: worker 0 takes the place where the next pass begins, counts it
up for the pass after it, and writes down which pass took what; the other workers of that pass wait for its line. A pass
is known by the seed that the DataLoader drew for it, by the number of its first process, which is another one for each
start of workers, and by how many passes these workers began before. Without workers there is nobody to agree with.
"""

# mypy: disable-error-code="import-not-found, misc"

import multiprocessing
import time
from typing import Any

import torch
from torch.utils.data import get_worker_info

from stages.core.errors import ExpectedError
from stages.loader.stream import Place

WAIT_S = 60.0
LOOK_S = 0.0005
WORD = 2**62  # seeds are cut to what a signed word holds

EPOCH, NEXT = 0, 1  # of the pass that begins next
TAKEN_EPOCH, TAKEN_NEXT = 2, 3  # of the pass that worker 0 began last
MARK = slice(4, 7)  # of that pass; written last


class Passes:
    """Where the next pass begins, for this process and all that get a copy of it."""

    def __init__(self, first: Place) -> None:
        self._words = torch.zeros(7, dtype=torch.int64).share_memory_()
        self._n_begun = 0  # by this process
        self.set(first)

    @property
    def next(self) -> Place:
        """Where the next pass begins."""
        return Place(int(self._words[EPOCH]), int(self._words[NEXT]))

    def set(self, place: Place) -> None:
        """Let the next pass begin there."""
        self._words[EPOCH], self._words[NEXT] = place.epoch, place.next

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
            self._words[TAKEN_EPOCH], self._words[TAKEN_NEXT] = place.epoch, place.next
            self._words[MARK] = self._mark(worker)
        return place

    def _agreed(self, worker: Any) -> Place:
        """Return what worker 0 took for this pass."""
        mark, end = self._mark(worker), time.monotonic() + WAIT_S
        while not torch.equal(self._words[MARK], mark):
            if time.monotonic() > end:
                raise ExpectedError(
                    f"loader: worker {worker.id} waited {WAIT_S:.0f} s for worker 0 to begin the same pass, expected "
                    "that all start at once; make one DataLoader of a dataset at a time"
                )
            time.sleep(LOOK_S)
        return Place(int(self._words[TAKEN_EPOCH]), int(self._words[TAKEN_NEXT]))

    def _mark(self, worker: Any) -> torch.Tensor:
        """Return what the workers of one pass have in common and no others have."""
        number = multiprocessing.current_process().name.rpartition("-")[2]
        first = int(number) - worker.id if number.isdecimal() else 0
        return torch.tensor([(worker.seed - worker.id) % WORD, first, self._n_begun])
