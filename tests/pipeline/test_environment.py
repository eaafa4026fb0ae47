"""Full disks, read-only folders, files that come and go, two runs at once: a clear message, and nothing corrupted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers import disks
from tests.helpers.clones import copy_of, make_clone

pytestmark = pytest.mark.slow

DATASET = "splendor"
GAME = "2_games/2.csv"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A clone with 42 games of the user's own and small batches, in which discover ran."""
    clone = make_clone(tmp_path_factory.mktemp("start"))
    clone.run(sys.executable, "-m", "stages.simulate", DATASET)
    for game in sorted((clone.folder / "data/sample/splendor").rglob("*.csv")):
        target = clone.folder / "data/games" / game.parent.name
        target.mkdir(parents=True, exist_ok=True)
        if int(game.stem) <= 42:
            shutil.copy(game, target)
    shutil.rmtree(clone.folder / "data/sample")
    params = (clone.folder / "params.yaml").read_text()
    params = params.replace("data/sample/splendor", "data/games").replace("batch_size: 64", "batch_size: 16")
    (clone.folder / "params.yaml").write_text(params[: params.index("simulate:")] + "simulate: {}\ntrain: {}\n")
    (clone.folder / "dvc.lock").unlink()
    verb(clone, "discover")
    return clone


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The results of one `dvc repro`."""
    clone = copy_of(start, tmp_path_factory.mktemp("undisturbed"))
    clone.repro()
    return results(clone)


@pytest.fixture
def clone(start, tmp_path):
    return copy_of(start, tmp_path)


def verb(clone, name, *arguments, check=True):
    return clone.run(sys.executable, "-m", f"stages.{name}", DATASET, *arguments, check=check)


def results(clone):
    """Return the bytes of all arrays and what dvc.lock says, in whatever order the stages ended."""
    return clone.arrays() | {"dvc.lock": yaml.safe_load((clone.folder / "dvc.lock").read_text())}


def left_overs(clone):
    return list((clone.folder / "data").rglob("*.tmp"))


def message(done):
    """Return the one line that an expected failure ends with."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.fixture
def mounted():
    """Mount small disks; unmount them at the end."""
    folders = []

    def mount(folder, *options):
        disks.mount(folder, *options)
        folders.append(folder)

    def unmount():
        while folders:
            disks.unmount(folders.pop())

    mount.end = unmount
    yield mount
    unmount()


BEFORE = {"process": (), "merge": ("process",), "split": ("process", "merge")}


@pytest.mark.parametrize(
    ("name", "folder"),
    [("process", "data/intermediate/splendor"), ("merge", "data/merged"), ("split", "data/processed")],
)
def test_a_full_disk_is_named_with_its_space_and_costs_nothing(clone, undisturbed, mounted, name, folder):
    for earlier in BEFORE[name]:
        verb(clone, earlier)
    mounted(clone.folder / folder, "-t", "tmpfs", "-o", "size=600k", "tmpfs")
    error = message(verb(clone, name, check=False))
    assert "No space left on device" in error
    assert "MB " in error
    assert folder in error
    assert left_overs(clone) == []
    mounted.end()
    clone.repro()
    assert results(clone) == undisturbed


def test_a_disk_that_is_full_during_a_repro_costs_nothing(clone, undisturbed, mounted):
    mounted(clone.folder / "data/merged", "-t", "tmpfs", "-o", "size=600k", "tmpfs")
    done = clone.run("dvc", "repro", check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    mounted.end()
    ran = clone.repro()
    assert [stage for stage in ran if stage.startswith("process")] == []
    assert results(clone) == undisturbed


@pytest.mark.parametrize(("name", "folder"), [("process", "data/intermediate/splendor"), ("split", "data/processed")])
def test_a_read_only_folder_is_named(clone, mounted, name, folder):
    for earlier in BEFORE[name]:
        verb(clone, earlier)
    mounted(clone.folder / folder, "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs")
    error = message(verb(clone, name, check=False))
    assert "Read-only file system" in error
    assert folder in error


def test_a_file_that_vanished_since_discover_is_named(clone):
    (clone.folder / "data/games" / GAME).unlink()
    error = message(verb(clone, "process", check=False))
    assert f"data/games/{GAME}: not readable (No such file or directory)" in error
    assert "run `dvc repro` again" in error


def test_a_file_that_changed_since_discover_is_named_and_the_next_repro_takes_it_in(clone, undisturbed):
    game = clone.folder / "data/games" / GAME
    original = game.read_bytes()
    game.write_bytes(b"".join(original.splitlines(keepends=True)[:-2]))
    error = message(verb(clone, "process", check=False))
    assert f"data/games/{GAME}: changed since discover listed it; run `dvc repro` again" in error
    clone.repro()
    assert results(clone) != undisturbed
    game.write_bytes(original)
    clone.repro()
    assert results(clone) == undisturbed


def a_fifo(path):
    os.mkfifo(path)


def a_dangling_link(path):
    path.symlink_to("nowhere.csv")


def a_folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [a_fifo, a_dangling_link, a_folder])
def test_what_is_no_file_is_named_and_never_waited_for(clone, make):
    make(clone.folder / "data/games/3_games/77777.csv")
    before = (clone.folder / "data/manifests/splendor/batches.yaml").read_bytes()
    error = message(verb(clone, "discover", check=False))
    assert "data/games/3_games/77777.csv: not " in error
    assert (clone.folder / "data/manifests/splendor/batches.yaml").read_bytes() == before


@pytest.mark.parametrize(("make", "found"), [(a_fifo, "a FIFO"), (a_dangling_link, "a link to nowhere")])
def test_what_is_no_file_stops_make_preprocess_until_it_is_removed(clone, undisturbed, make, found):
    """A bare `dvc repro` waits for a FIFO for ever: DVC opens every raw file to hash it before any stage runs."""
    odd = clone.folder / "data/games/3_games/77777.csv"
    make(odd)
    done = clone.run("timeout", "120", sys.executable, "-m", "stages.commands.preprocess", check=False)
    assert f"77777.csv: {found}" in message(done)
    odd.unlink()
    clone.run(sys.executable, "-m", "stages.commands.preprocess")
    assert results(clone) == undisturbed


OF_ANOTHER_RUN = ("Unable to acquire lock", "is busy", "is at work")


def test_two_preprocess_at_once_end_with_the_right_arrays(clone, undisturbed):
    """Each does its work or says that the other is at it; after one more all is right."""
    command = [sys.executable, "-m", "stages.commands.preprocess"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    both = [
        subprocess.Popen(
            command, cwd=clone.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = [(process.communicate(timeout=300), process.returncode) for process in both]
    for (_, stderr), code in ended:
        assert "Traceback" not in stderr
        assert code == 0 or any(words in stderr for words in OF_ANOTHER_RUN), stderr
    clone.run(*command)  # on a slow machine each may have refused to wait for the other
    assert clone.repro() == []
    assert results(clone) == undisturbed
    assert left_overs(clone) == []
