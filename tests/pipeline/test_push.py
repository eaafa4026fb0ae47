"""A push that was killed, or what a remote lost later: one `make push` mends it, and says what it cannot mend."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.clones import Clone
from tests.helpers.places import REPOSITORY
from tests.helpers.servers import SERVERS, connect, reach
from tests.helpers.tracked_folders import folder_md5, games, git_clone, ours, start

pytestmark = pytest.mark.slow

N_FILES = 60
KILLS = {"folder": 2, "ssh": 1, "s3": 1}
MOST_ATTEMPTS = 5  # to meet a push while it runs; nearly always the first one does
SEED = 20240614
LARGE = 4_000_000  # bytes, so that a kill may meet it on its way

each_server = pytest.mark.parametrize("kind", SERVERS)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A repository with a tracked folder, which was pushed nowhere; not to be changed."""
    files = {f"{number}.csv": f"game {number}\n" for number in range(N_FILES)}
    return start(tmp_path_factory.mktemp("source") / "clone", files | {"large.csv": "x" * LARGE})


@pytest.fixture
def clone(source, tmp_path):
    return Clone(shutil.copytree(source.folder, tmp_path / "clone", symlinks=True))


def push(clone, check=True):
    return ours(clone, "-m", "stages.commands.push", check=check)


def pulled(clone, remote, folder):
    """Return what a cold clone gets."""
    other = reach(git_clone(clone, folder), remote)
    other.run("dvc", "pull", "-q")
    return games(other)


def on_remote(clone, code, md5):
    """Run code with the remote, `r`, and the path of an object there, `path`."""
    opened = "from stages.pipeline.remote import open_remote; r = open_remote()"
    ours(clone, "-c", f"{opened}; path = r.address({md5!r}); {code}")


def md5_of(text):
    return hashlib.md5(text.encode()).hexdigest()


def cached(clone, md5):
    return clone.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@each_server
def test_a_lost_file_of_a_pushed_folder_is_sent_again(kind, clone, tmp_path):
    """DVC's own push says that everything is there, since the folder's list is."""
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(clone, remote)
        total = f"{N_FILES + 2} of {N_FILES + 2} objects are in store"
        assert push(clone).stdout.splitlines()[-1] == total
        on_remote(clone, "r.fs.rm_file(path)", md5_of("game 7\n"))
        assert "up to date" in clone.run("dvc", "push").stdout
        assert push(clone).stdout.splitlines()[-1] == total
        assert pulled(clone, remote, tmp_path / "other") == games(clone)


@each_server
def test_a_half_sent_object_is_sent_again(kind, clone, tmp_path):
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(clone, remote)
        push(clone)
        on_remote(clone, "r.fs.rm_file(path); r.fs.pipe_file(path, b'ga')", md5_of("game 7\n"))
        assert "2 bytes, expected 7" in push(clone).stderr
        assert pulled(clone, remote, tmp_path / "other") == games(clone)


@each_server
def test_a_flipped_object_is_found_and_mended_when_asked(kind, clone, tmp_path):
    code = "from stages.commands.push import remote_faults; raise SystemExit(remote_faults())"
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(clone, remote)
        push(clone)
        on_remote(clone, "r.fs.rm_file(path); r.fs.pipe_file(path, b'gams 7\\n')", md5_of("game 7\n"))
        assert "sending again" not in push(clone).stderr
        found = ours(clone, "-c", code, REMOTE="yes")
        assert f"{N_FILES + 2} of {N_FILES + 2} objects in store have the bytes of their digests" in found.stdout
        assert pulled(clone, remote, tmp_path / "other") == games(clone)
        assert ours(clone, "-c", code).stdout == ""


@each_server
def test_kills_of_a_push_are_mended_by_one_push(kind, clone, tmp_path):
    """Where a push came to its end before the kill, again after one of other objects."""
    rng = random.Random(SEED)
    n_running = n_attempts = 0
    with SERVERS[kind](tmp_path / "server") as remote:
        connect(clone, remote)
        while n_running < KILLS[kind]:
            n_attempts += 1
            assert n_attempts <= MOST_ATTEMPTS * KILLS[kind], "no kill met a push"
            change_all(clone, n_attempts)
            command = [sys.executable, "-m", "stages.commands.push"]
            process = subprocess.Popen(
                command,
                cwd=clone.folder,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            n_before = n_objects(remote)
            n_wanted = n_before + rng.randrange(1, N_FILES)
            while n_objects(remote) < n_wanted and process.poll() is None:
                time.sleep(0.001)
            n_running += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
            process.wait(timeout=60)
            assert f"{N_FILES + 2} of {N_FILES + 2}" in push(clone).stdout
            assert pulled(clone, remote, tmp_path / f"other{n_attempts}") == games(clone)
    print(f"{n_running} kills of a running push to {kind} in {n_attempts} attempts")


def change_all(clone, number):
    for path in (clone.folder / "games").iterdir():
        text = path.read_text()
        path.unlink()
        path.write_text(f"{text}{number}\n")
    clone.run("dvc", "add", "-q", "games")
    clone.run("git", "commit", "-qam", f"change {number}")


def n_objects(remote):
    return sum(len(names) for _, _, names in os.walk(remote.folder / "files"))


def test_what_a_kill_left_of_dvcs_own_files_is_mended_first(clone, tmp_path):
    """Else DVC fails with `Unable to read RWLock-file`, and the user must run `make repair`."""
    with SERVERS["folder"](tmp_path / "server") as remote:
        connect(clone, remote)
        (clone.folder / ".dvc/tmp").mkdir(exist_ok=True)
        (clone.folder / ".dvc/tmp/rwlock").write_text('{"write": {"/a": {"pi')
        done = push(clone)
    assert "rwlock: damaged when a DVC was killed; removed" in done.stderr
    assert f"{N_FILES + 2} of {N_FILES + 2} objects are in store" in done.stdout


def test_what_is_in_neither_place_is_an_error_that_names_it(clone, tmp_path):
    with SERVERS["folder"](tmp_path / "server") as remote:
        connect(clone, remote)
        cached(clone, md5_of("game 7\n")).unlink()
        done = push(clone, check=False)
    assert done.returncode == 1
    assert f"{N_FILES} of {N_FILES + 2} objects are in store, expected all: " in done.stderr
    assert "7.csv: missing" in done.stderr


def test_a_damaged_object_of_the_cache_does_not_replace_a_sound_one(clone, tmp_path):
    with SERVERS["folder"](tmp_path / "server") as remote:
        connect(clone, remote)
        push(clone)
        damaged = cached(clone, md5_of("game 7\n"))
        expected = games(clone)
        damaged.unlink()
        damaged.write_text("ga")
        assert "7 bytes, expected 2" in push(clone, check=False).stderr
        assert pulled(clone, remote, tmp_path / "other") == expected


def test_a_folder_whose_list_is_only_on_the_remote_is_checked_too(clone, tmp_path):
    with SERVERS["folder"](tmp_path / "server") as remote:
        connect(clone, remote)
        push(clone)
        other = reach(git_clone(clone, tmp_path / "other"), remote)
        assert not cached(other, folder_md5(other)).exists()
        assert f"{N_FILES + 2} of {N_FILES + 2} objects" in push(other).stdout
