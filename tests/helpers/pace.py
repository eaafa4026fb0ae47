"""How fast this machine is now, for limits in seconds that were measured on another one."""

import time

import numpy as np

WORK_S = 0.09  # of CPU, on the machine where the limits were measured


def slowness(clock=time.process_time):
    """Return how many times as long a piece of work takes here and now as where limits were measured; at least 1.

    Parameters
    ----------
    clock
        `time.process_time` for limits of CPU; `time.monotonic` for those of time, which other work on the machine
        takes too.
    """
    return max(1.0, min(_seconds(clock) for _ in range(3)) / WORK_S)


def _seconds(clock):
    """Return what some Python and some NumPy takes, about as much of each."""
    started = clock()
    text = ",".join(f"{number:.2f}" for number in range(40_000))
    np.sort(np.frombuffer(text.encode(), np.uint8).repeat(8).astype(np.float64) % 7.3)
    return clock() - started
