"""How many samples travel together: a fixed number, or one that follows the memory of this process tree.

The size decides neither which samples come nor in which order, so that a change of it changes no result. Memory is that
of this process and its descendants, not the machine's: what the neighbours use would change the size.
"""

import time
from collections.abc import Callable

from stages.loader.settings import Adaptive
from stages.runtime import memory

GROW_BELOW = 0.7  # of the limit
REST_SHARE = 50  # times as long as a measurement took nothing is measured: a trainer of 10 GB takes 0.1 s


def next_size(size: int, used_mb: float, limit_mb: float, bounds: Adaptive) -> int:
    """Return a fifth less over the limit, a fifth more (and at least one more) below 70 % of it, within the bounds."""
    if used_mb > limit_mb:
        size = size * 4 // 5
    elif used_mb < GROW_BELOW * limit_mb:
        size = max(size + 1, size * 6 // 5)
    return min(max(size, bounds.least), bounds.most)


def _used_mb() -> float:
    return memory.usage().pss_mb


class Sizes:
    """The size of the next batch; memory is measured at most twice a second, and in at most 2 % of the time.

    Attributes
    ----------
    used_mb
        As last measured.
    """

    def __init__(self, size: int, adaptive: Adaptive | None, measure: Callable[[], float] | None = None) -> None:
        self._size, self._adaptive, self._measure = size, adaptive, measure or _used_mb
        self._limit_mb = (adaptive and adaptive.limit_mb) or memory.TARGET_SHARE * memory.budget_mb()
        self._due = 0.0
        self.used_mb = 0.0

    def next(self) -> int:
        """Return the number of samples of the next batch."""
        started = time.monotonic()
        if started >= self._due:
            self.used_mb = self._measure()
            ended = time.monotonic()
            self._due = ended + max(memory.SAMPLE_S, REST_SHARE * (ended - started))
            if self._adaptive:
                self._size = next_size(self._size, self.used_mb, self._limit_mb, self._adaptive)
        return self._size
