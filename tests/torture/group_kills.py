"""Kill `make preprocess` with all it started; one more must give the same bytes."""

import shutil
from functools import partial

from tests.helpers.clones import copy_of
from tests.helpers.kills import assert_one_more_run_gives, carry_out, seeded_kills
from tests.torture.places import PREPROCESS


def attempts(scratch, n_attempts):
    """Yield kills with SIGKILL, SIGHUP, SIGTERM and SIGINT, half of them while DVC writes a file of its own."""
    for number, kill in enumerate(seeded_kills(n_attempts, scratch.seconds, scratch.seed)):
        yield str(kill), partial(_attempt, scratch, number, kill)


def _attempt(scratch, number, kill):
    folder = scratch.attempt_dir(f"kill{number}")
    clone = copy_of(scratch.start, folder)
    was_running = carry_out(kill, clone, PREPROCESS)
    mended = assert_one_more_run_gives(clone, PREPROCESS, scratch.expected)
    shutil.rmtree(folder)
    return " ".join([*([] if was_running else ["it had ended"]), *mended])
