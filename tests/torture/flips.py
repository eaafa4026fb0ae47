"""Flip one bit of a file, as a failing disk does; `make verify` must find it, and what it says to type must cure it."""

import random
import shutil
from functools import partial

from tests.helpers.clones import flip, linked_copy_of, type_cures
from tests.helpers.kills import differences, everything
from tests.torture.places import make

STORE = "store"  # the remote, a folder in the clone
PLACES = {
    "sample": "data/sample",
    "batches": "data/intermediate",
    "merged": "data/merged",
    "parts": "data/processed",
    "cache": ".dvc/cache/files/md5",
    "remote": f"{STORE}/files/md5",
}


def attempts(scratch, n_attempts):
    """Yield flips in each place in turn, of a file and a bit that are drawn."""
    rng = random.Random(scratch.seed)
    shared = _shared(scratch)
    for number in range(n_attempts):
        kind = list(PLACES)[number % len(PLACES)]
        files = [path for path in (shared.folder / PLACES[kind]).rglob("*") if path.is_file() and path.stat().st_size]
        path = rng.choice(sorted(path for path in files if ".hex.played" not in path.parts))  # nobody's output
        bit = rng.randrange(8 * path.stat().st_size)
        name = path.relative_to(shared.folder)
        yield f"bit {bit:,} of {name}", partial(_attempt, scratch, shared, name, bit)


def _shared(scratch):
    """Make a finished clone that has pushed everything."""
    clone = linked_copy_of(scratch.finished, scratch.attempt_dir("shared"))
    clone.run("dvc", "remote", "add", "--default", "store", STORE)
    clone.run("git", "add", "-A")
    clone.run(*make("push"))
    clone.run(*make("preprocess"))  # a copy has other inodes than what was recorded
    return clone


def _attempt(scratch, shared, name, bit):
    folder = scratch.attempt_dir("flip")
    clone = linked_copy_of(shared, folder)
    before = (clone.folder / name).read_bytes()
    flip(clone.folder / name, bit)
    is_remote = name.parts[0] == STORE
    verify = make("verify", *(["REMOTE=yes"] if is_remote else []))
    done = clone.run(*verify, check=False)
    if is_remote:  # it sends the object again by itself
        assert (done.returncode, "sending again" in done.stderr) == (0, True), done.stdout + done.stderr
    else:
        assert done.returncode != 0, f"verify does not see it: {done.stdout}"
        assert type_cures(clone, done) > 0, done.stdout
    clone.run(*verify)
    assert (clone.folder / name).read_bytes() == before, f"not cured: {done.stdout}"
    assert (found := differences(everything(clone), scratch.expected)) == [], f"differ after the cure: {found}"
    shutil.rmtree(folder)
    return ""
