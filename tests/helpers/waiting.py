"""Wait for what must happen, however busy the machine is."""

import os
import tempfile
import time

LONGEST_S = 90


def until(condition, seconds=LONGEST_S):
    """Return when `condition()` holds; fail after that many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.005)


def until_files_get_times_after(time_ns, folder):
    """Return when a file that is changed in a folder gets a later time: many kernels' clock of files ticks every 4 ms.

    Without it a change may leave all that `stat` says as it was.
    """
    with tempfile.TemporaryFile(dir=folder) as file:

        def is_later():
            os.utime(file.fileno())
            return os.fstat(file.fileno()).st_mtime_ns > time_ns

        until(is_later)
