"""The pipeline under real git and DVC, in clones of this repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


class Clone:
    """A git clone of the repository as it stands in the working tree, and commands run in it."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *command, check=True):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "GIT_"))}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def repro(self, *arguments):
        """Run one `dvc repro`; return the names of the stages whose commands ran, in order."""
        return self.ran(self.run("dvc", "repro", *arguments))

    def ran(self, done):
        return re.findall(r"^Running stage '(.+)':$", done.stdout, re.MULTILINE)

    def batches(self):
        return re.findall(r"batch: (b[01]*)", (self.folder / "data/manifests/splendor/batches.yaml").read_text())

    def expected_run(self, *batches, sample=False):
        names = ["simulate@splendor"] if sample else []
        names += ["discover@splendor", "expand@splendor", *(f"process@splendor-{batch}" for batch in batches)]
        return [*names, "merge@splendor", "split@splendor"]

    def arrays(self):
        """Return the bytes of everything in data/merged and data/processed."""
        files = [path for name in ("merged", "processed") for path in (self.folder / "data" / name).rglob("*.np?")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def make_clone(folder):
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    clone = Clone(folder)
    clone.run("git", "init", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "start")
    return clone


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone in which one bare `dvc repro` ran, and the stages it ran."""
    clone = make_clone(tmp_path_factory.mktemp("finished"))
    return clone, clone.repro()


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    folder = tmp_path / "clone"
    shutil.copytree(finished[0].folder, folder, symlinks=True)
    return Clone(folder)


def test_one_bare_repro_on_a_fresh_clone_runs_every_stage_once(finished):
    clone, ran = finished
    assert ran == clone.expected_run(*clone.batches(), sample=True)
    assert len(clone.batches()) > 1


def test_a_fresh_clone_gives_the_committed_lock_file(finished):
    """The lock holds the hash of every array, so the arrays are those of the commit, byte for byte."""
    clone, _ = finished
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_a_second_repro_runs_nothing(finished):
    clone, _ = finished
    assert clone.repro() == []


def own_games(clone, count):
    """Point the dataset at a raw folder of its own with some of the sample's games; return the others."""
    params = (clone.folder / "params.yaml").read_text()
    assert "raw: data/sample/splendor" in params
    (clone.folder / "params.yaml").write_text(params.replace("raw: data/sample/splendor", "raw: data/games"))
    games = sorted((clone.folder / "data/sample/splendor").rglob("*.csv"))
    for game in games:
        target = clone.folder / "data/games" / game.parent.name
        target.mkdir(parents=True, exist_ok=True)
        if count > 0:
            shutil.copy(game, target)
            count -= 1
    return [game for game in games if not (clone.folder / "data/games" / game.parent.name / game.name).exists()]


def test_one_bare_repro_is_enough_when_the_list_of_batches_grows_and_shrinks(clone):
    others = own_games(clone, 150)
    before = set(clone.batches())
    shrunk = clone.repro()
    after = clone.batches()
    assert set(after) != before
    assert [name for name in shrunk if "process" not in name] == clone.expected_run()
    assert clone.repro() == []
    for game in others:
        shutil.copy(game, clone.folder / "data/games" / game.parent.name)
    grown = clone.repro()
    assert set(clone.batches()) == before
    assert grown == ["discover@splendor", "expand@splendor", "merge@splendor"]
    assert sorted(path.stem for path in (clone.folder / "data/intermediate/splendor").iterdir()) == sorted(before)
    assert clone.repro() == []


def test_a_grown_dataset_has_the_arrays_of_one_built_at_once(clone, finished):
    others = own_games(clone, 150)
    clone.repro()
    for game in others:
        shutil.copy(game, clone.folder / "data/games" / game.parent.name)
    clone.repro()
    assert clone.arrays() == finished[0].arrays()


def test_a_changed_game_runs_its_batch_alone(clone):
    own_games(clone, 240)
    clone.repro()
    game = clone.folder / "data/games/2_games/2.csv"
    rows = game.read_text().splitlines(keepends=True)
    game.write_text("".join(rows[:-2]))
    manifests = (clone.folder / "data/manifests/splendor/batches").glob("*.json")
    batch = next(path.stem for path in manifests if '"2_games/2.csv"' in path.read_text())
    ran = clone.repro()
    assert ran == ["discover@splendor", f"process@splendor-{batch}", "merge@splendor", "split@splendor"]


def test_slim_drops_arrays_and_a_later_repro_runs_nothing(clone, finished):
    clone.run(sys.executable, "-m", "stages.slim")
    assert not (clone.folder / "data/intermediate/splendor").exists()
    assert not (clone.folder / "data/merged/splendor").exists()
    assert clone.repro() == []
    assert clone.arrays() == finished[0].arrays()


def test_slim_refuses_arrays_that_dvc_does_not_hold(clone):
    path = clone.folder / "data/merged/splendor/game_id.npy"
    path.unlink()
    path.write_bytes(b"something else")
    done = clone.run(sys.executable, "-m", "stages.slim", check=False)
    assert done.returncode == 1
    assert "run `dvc repro`" in done.stderr
    assert path.exists()


def test_preprocess_ends_with_a_table_of_what_it_made(clone):
    done = clone.run(sys.executable, "-m", "stages.preprocess")
    header, row = re.findall(r"^(?:dataset|splendor) .*$", done.stdout, re.MULTILINE)[-2:]
    rows = [len(np.load(clone.folder / f"data/processed/splendor/X_{p}.npy", mmap_mode="r")) for p in ("train", "val")]
    assert header.split()[:3] == ["dataset", "files", "run"]
    assert row.split()[:6] == ["splendor", "240", "0", str(len(clone.batches())), *(f"{n:,}" for n in rows)]
    assert row.endswith("data/processed/splendor/")


def test_trace_names_the_raw_file_and_line_of_a_row(finished):
    clone, _ = finished
    text = clone.run(sys.executable, "-m", "stages.trace", "splendor", "val", "123").stdout
    file, line = re.search(r"^raw +(\S+), line (\d+)$", text, re.MULTILINE).groups()
    fields = (clone.folder / file).read_text().splitlines()[int(line) - 1].split(",")
    assert f"game_id {fields[0]}, " in text
    assert f"turn_number {fields[2]}" in text
    assert f"action_type {fields[383]!r}" in text
    keys = np.load(clone.folder / "data/processed/splendor/keys_val.npz")
    assert (keys["game_id"][123], keys["turn_number"][123]) == (int(fields[0]), int(fields[2]))


def test_trace_refuses_a_row_that_is_not_there(finished):
    done = finished[0].run(sys.executable, "-m", "stages.trace", "splendor", "val", "99999999", check=False)
    assert done.returncode == 1
    assert "row 99999999, expected 0.." in done.stderr
