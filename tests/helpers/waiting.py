"""Wait for what must happen, however busy the machine is."""

import time

LONGEST_S = 90


def until(condition, seconds=LONGEST_S):
    """Return when `condition()` holds; fail after that many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.005)
