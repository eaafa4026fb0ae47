"""Let the disk be full in the middle of `make preprocess`; with more space, one more must give the same bytes."""

import random
from functools import partial

from tests.helpers.clones import linked_copy_of
from tests.helpers.disks import disk_use, enlarge, memory_disk
from tests.helpers.kills import assert_one_more_run_gives
from tests.torture.places import PREPROCESS, keep_site_inside

ENOUGH = 1 << 30  # bytes
SLACK = 256 << 10  # bytes that the smallest disk has left for the run


def attempts(scratch, n_attempts):
    """Yield disks of sizes between that of a clone in which nothing ran and that of a finished one."""
    rng = random.Random(scratch.seed)
    before, after = disk_use(scratch.start.folder) + SLACK, disk_use(scratch.finished.folder)
    for number in range(n_attempts):
        n_bytes = int(before + (after - before) * (number + rng.random()) / n_attempts)
        yield f"{n_bytes / 1e6:.1f} MB of {after / 1e6:.1f} MB", partial(_attempt, scratch, number, n_bytes)


def _attempt(scratch, number, n_bytes):
    with memory_disk(scratch.attempt_dir(f"disk{number}"), n_bytes) as disk:
        clone = keep_site_inside(linked_copy_of(scratch.start, disk), disk / "site")
        ended = clone.run(*PREPROCESS, check=False)
        enlarge(disk, ENOUGH)
        mended = assert_one_more_run_gives(clone, PREPROCESS, scratch.expected)
    return " ".join([*([] if ended.returncode else ["it had room"]), *mended])
