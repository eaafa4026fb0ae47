"""Kill `make push` while objects are on their way; one more, and a cold clone's `make pull` must bring everything."""

import os
import random
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial

from tests.helpers.clones import Clone, linked_copy_of
from tests.helpers.kills import begin, differences, everything, kill_group
from tests.helpers.servers import SERVERS, Remote, connect
from tests.torture.places import make

PUSH = make("push")
LONGEST_S = 120.0  # that a push may take


@dataclass(frozen=True)
class Setting:
    """A finished clone that is connected to a remote, and how many objects a push of it sends."""

    clone: Clone
    remote: Remote
    n_objects: int


def attempts(kind, scratch, n_attempts):
    """Yield kills of a push to a folder, to an S3 or to an SSH server, each as soon as some objects are there."""
    rng = random.Random(scratch.seed)
    with SERVERS[kind](scratch.attempt_dir(f"server-{kind}")) as remote:
        clone = linked_copy_of(scratch.finished, scratch.attempt_dir(f"connected-{kind}"))
        clone.run("git", "add", "-A")
        connect(clone, remote)
        n_objects = count(clone.folder / ".dvc/cache/files")
        for number in range(n_attempts):
            n_sent = rng.randrange(n_objects)
            setting = Setting(clone, remote, n_objects)
            yield f"after {n_sent} of {n_objects} objects", partial(_attempt, scratch, setting, number, n_sent)


def _attempt(scratch, setting, number, n_sent):
    folder = scratch.attempt_dir(f"push{number}")
    clone = linked_copy_of(setting.clone, folder)
    _turn_to(clone, setting.remote, number)
    was_running = _cut_push(clone, setting.remote.folder / str(number), n_sent)
    again = clone.run(*PUSH)
    assert f"{setting.n_objects} of {setting.n_objects} objects are in store" in again.stdout, again.stdout
    cold = _cold_clone(clone, folder / "cold")
    cold.run(*make("pull"))
    assert (found := differences(everything(cold), scratch.expected)) == [], f"differ in a cold clone: {found}"
    shutil.rmtree(folder)
    return "" if was_running else "it had ended"


def _turn_to(clone, remote, number):
    """Let the clone's remote be an empty folder on the same server."""
    path = clone.folder / ".dvc/config"
    path.write_text(path.read_text().replace(remote.url, f"{remote.url}/{number}"))
    clone.run("git", "commit", "-qam", f"remote {number}")


def _cut_push(clone, store, n_sent):
    """Kill a push as soon as the store has that many objects; say whether it was still at work."""
    process = begin(clone, *PUSH)
    end = time.monotonic() + LONGEST_S
    while count(store) < n_sent and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    return kill_group(process, signal.SIGKILL)


def _cold_clone(clone, folder):
    """Clone as a colleague does, and give it the secrets, which git does not carry."""
    clone.run("git", "clone", "-q", str(clone.folder), str(folder))
    shutil.copy(clone.folder / ".dvc/config.local", folder / ".dvc")
    return Clone(folder)


def count(folder):
    """Return the number of files below a folder, be it there or not."""
    return sum(len(names) for _, _, names in os.walk(folder))
