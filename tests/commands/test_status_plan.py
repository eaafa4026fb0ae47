"""What `make status` and `make plan` say, and whether what then runs is what was said."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.clones import make_clone
from tests.helpers.pace import slowness
from tests.pipeline.test_incremental import (
    BATCH_SIZE,
    add,
    batch_of,
    copy_of,
    dealt,
    edit,
    games,
    overflowing,
    remove,
    shorten,
)
from tests.pipeline.test_incremental import small_clone as make_small_clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone with games of its own in which `make preprocess` ran."""
    clone = make_small_clone(tmp_path_factory.mktemp("finished"))
    clone.run(sys.executable, "-m", "stages.commands.preprocess")
    return clone


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    return copy_of(finished, tmp_path / "clone")


def status(clone):
    """Return the lines of `make status` without the dataset's name."""
    lines = clone.run(sys.executable, "-m", "stages.commands.status").stdout.splitlines()
    assert all(line.startswith("splendor: ") for line in lines)
    return [line.removeprefix("splendor: ") for line in lines]


def plan(clone):
    """Return the row of `make plan` as a dict."""
    header, row = clone.run(sys.executable, "-m", "stages.commands.plan").stdout.splitlines()[:2]
    names = re.split(r"  +", header.strip())
    return dict(zip(names, re.split(r"  +", row.strip(), maxsplit=len(names) - 1), strict=True))


def up_to_date(clone):
    return f"up to date, {len(games(clone))} files in {len(clone.batches())} batches"


def assert_nothing_to_run(clone):
    row = plan(clone)
    assert (row["run"], row["reuse"], row["why"]) == ("0", str(len(clone.batches())), "up to date")
    assert clone.repro() == []


def test_up_to_date_is_said_and_is_true_also_after_a_touch(clone):
    os.utime(clone.folder / "data/games" / games(clone)[0], (1, 1))
    assert status(clone) == [up_to_date(clone)]
    assert_nothing_to_run(clone)


@pytest.mark.parametrize("command", ["status", "plan"])
def test_keys_that_params_leaves_out_are_written_first(clone, command):
    """DVC wants to find them there, and a section that is missing is one of its errors."""
    edit(clone, "params.yaml", "    limit: null\n", "")
    edit(clone, "params.yaml", "simulate: {}\n", "")
    done = clone.run(sys.executable, "-m", f"stages.commands.{command}")
    assert "up to date" in done.stdout
    assert [line.partition(", since")[0] for line in done.stderr.splitlines()] == [
        "params.yaml: datasets.splendor: added limit: null with its default",
        "params.yaml: added simulate: {} with its default",
    ]


def test_status_counts_changed_added_and_removed_files_and_their_batches(clone):
    first, second, third = (keys[0] for keys in list(dealt(clone).values())[:3])
    batches = set(dealt(clone))
    shorten(clone, first)
    assert status(clone) == [f"1 file changed in 1 of {len(batches)} batches"]
    shorten(clone, second)
    assert status(clone) == [f"2 files changed in 2 of {len(batches)} batches"]
    new = games(clone, "spare")[0]
    add(clone, new)
    remove(clone, third)
    (line,) = status(clone)
    assert re.fullmatch(rf"2 files changed, 1 added, 1 removed in \d+ of {len(dealt(clone))} batches", line)


def test_status_names_a_vanished_batch(clone):
    batches = dealt(clone)
    names = next(k for b, k in batches.items() if set(dealt_without(clone, k)) == set(batches) - {b})
    remove(clone, *names)
    assert status(clone) == [f"{len(names)} file{'s' * (len(names) > 1)} removed; 1 batch is gone"]
    assert plan(clone)["run"] == "0"
    assert plan(clone)["seconds"] != "0"


def dealt_without(clone, names):
    from stages.core import units

    return units.deal([name for name in games(clone) if name not in names], BATCH_SIZE)


def test_status_names_edited_code_and_params_and_the_stages_that_read_them(clone):
    n = len(clone.batches())
    with (clone.folder / "stages/datasets/splendor/encode/labels.py").open("a") as file:
        file.write("\n# A comment.\n")
    edit(clone, "params.yaml", "seed: 42", "seed: 43")
    edit(clone, "params.yaml", "max_bad_units: 0", "max_bad_units: 1")
    assert status(clone) == [
        f"params.yaml: datasets.splendor.max_bad_units changed: discover, process ({n} batches), merge",
        "params.yaml: split changed: split",
        f"stages/datasets/splendor/encode changed: process ({n} batches)",
    ]
    row = plan(clone)
    assert (row["run"], row["reuse"]) == (str(n), "0")
    assert row["why"].startswith("params.yaml: datasets.splendor.max_bad_units; params.yaml: split; ...")


def test_status_says_that_other_batches_come_of_the_same_files(clone):
    edit(clone, "params.yaml", f"batch_size: {BATCH_SIZE}", f"batch_size: {2 * BATCH_SIZE}")
    first, second = status(clone)
    assert re.fullmatch(r"same input, \d+ of \d+ batches are new or changed", first)
    assert second == "params.yaml: datasets.splendor.batch_size changed: discover"


def test_a_fresh_clone_is_told_that_nothing_has_run(tmp_path):
    clone = make_clone(tmp_path)
    assert status(clone) == ["nothing has run here yet; `dvc repro` simulates the sample and builds all"]
    assert plan(clone)["why"] == "the sample is not simulated yet"


def test_own_data_on_which_nothing_has_run_are_told_apart_from_missing_ones(tmp_path):
    clone = make_small_clone(tmp_path)
    n = len(dealt(clone))
    assert status(clone) == [
        f"nothing has run here yet on these {len(games(clone))} files in {n} batches; `dvc repro` builds all"
    ]
    row = plan(clone)
    assert (row["run"], row["reuse"], row["seconds"]) == (str(n), "0", "?")
    assert row["why"] == "no earlier run to estimate from"
    shutil.rmtree(clone.folder / "data/games")
    for verb in ("status", "plan"):
        done = clone.run(sys.executable, "-m", f"stages.commands.{verb}", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "data/games: not a folder, expected the raw files of splendor" in done.stderr


def test_with_a_raw_folder_of_ones_own_and_no_simulation_all_is_clean(clone):
    """Also where params.yaml still has the simulation, whose sample was never made: nothing asks for it."""
    edit(clone, "params.yaml", "simulate: {}", "simulate: {splendor: {games: 5, seed: 1}}")
    environment = {**os.environ, "SIMULATE": "no", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in ("preprocess", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", f"stages.commands.{command}"],
            cwd=clone.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert not (clone.folder / "data/sample/splendor").exists()
    assert done.stdout == "splendor: every file is as written; rows, groups, values and masks agree\n"
    assert status(clone) == [up_to_date(clone)]
    assert plan(clone)["why"] == "up to date"
    clone.run(sys.executable, "-m", "stages.commands.preprocess")
    assert not (clone.folder / "data/sample/splendor").exists()


def test_after_slim_nothing_is_to_be_run_and_the_next_change_is_still_estimated(clone, finished):
    clone.run(sys.executable, "-m", "stages.commands.slim")
    first, second = status(clone)
    assert first == up_to_date(clone)
    n = len(clone.batches()) + 1
    assert second == f"{n} outputs are in DVC's cache only; a run takes them from there when it needs them"
    name = games(clone)[0]
    content = shorten(clone, name)
    row = plan(clone)
    assert (row["run"], row["why"]) == ("1", "1 file changed")
    assert int(row["disk MB"]) > 0
    (clone.folder / "data/games" / name).write_bytes(content)
    assert_nothing_to_run(clone)
    assert clone.arrays() == finished.arrays()


def test_arrays_that_nobody_holds_are_called_missing(clone):
    batch = clone.batches()[0]
    clone.run(sys.executable, "-m", "stages.commands.slim")
    shutil.rmtree(clone.folder / ".dvc/cache")
    assert f"data/intermediate/splendor/{batch}.npz" in "".join(status(clone))
    assert "missing: " in "".join(status(clone))
    assert plan(clone)["run"] == str(len(clone.batches()))


def test_a_run_that_did_not_finish_is_not_called_up_to_date(clone):
    name = games(clone)[0]
    shorten(clone, name)
    clone.run(sys.executable, "-m", "stages.discover", "splendor")
    (line,) = status(clone)
    assert line.startswith("the last run did not finish: ")
    assert "process (1 batch)" in line
    assert plan(clone)["run"] == "1"


def test_files_that_were_compressed_anew_are_told_as_the_same_input(clone):
    """No run was cut off and nothing is missing: only the list of files is to be made again."""
    folder, name = clone.folder / "data/games", games(clone)[0]
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    clone.run(sys.executable, "-m", "stages.commands.preprocess")
    (folder / f"{name}.gz").write_bytes(gzip.compress(content, 9))
    assert status(clone) == ["other bytes in the raw folder hold the same input; discover looks at them once more"]
    assert (plan(clone)["run"], plan(clone)["why"]) == ("0", "other bytes, same input")
    assert clone.repro() == ["discover@splendor"]


def disk_mb(clone):
    """Return the megabytes in the clone, each inode once."""
    files = [path.lstat() for path in clone.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum({(s.st_dev, s.st_ino): s.st_size for s in files}.values()) / 1e6


@pytest.mark.parametrize("kind", ["change", "overflow", "split"])
def test_what_plan_says_is_what_runs(clone, kind):
    script = (
        "from stages.commands import plan, status; from stages.core import params; from stages.pipeline import dvc\n"
        "p = params.load().dataset('splendor'); "
        "stale = status.stale_stages('splendor', False, dvc.status()); "
        "print(*plan.stale_batches('splendor', status.changes('splendor', p), stale))"
    )
    if kind == "change":
        shorten(clone, games(clone)[0])
    elif kind == "overflow":
        add(clone, overflowing(games(clone), games(clone, "spare"))[0])
    else:
        edit(clone, "params.yaml", "seed: 42", "seed: 43")
    said = plan(clone)
    batches = clone.run(sys.executable, "-c", script).stdout.split()
    slow = slowness(time.monotonic)
    before, started = disk_mb(clone), time.monotonic()
    ran = clone.repro()
    seconds, added = time.monotonic() - started, disk_mb(clone) - before
    assert batches == sorted(name.partition("-")[2] for name in ran if name.startswith("process@"))
    assert (said["run"], said["reuse"]) == (str(len(batches)), str(len(dealt(clone)) - len(batches)))
    assert kind != "change" or batches == [batch_of(clone, games(clone)[0])]
    slow = max(slow, slowness(time.monotonic))  # what DVC takes is told as it is on another machine
    assert seconds / (5 * slow) <= float(said["seconds"]) <= seconds * 5
    assert added * 0.7 <= float(said["disk MB"]) <= added * 1.3
