"""Listing raw units: nothing written on an error, only what changed rewritten."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core import manifests, paths, units
from tests.helpers.places import REPOSITORY


def written():
    return {path.stem: path.read_text() for path in paths.manifest_dir("splendor").iterdir()}


def unit_keys(text):
    return [unit["key"] for unit in json.loads(text)["units"]]


def ok(result):
    assert result.returncode == 0, result.stderr
    return result


def assert_refused(result, *words):
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("error: ")
    for word in words:
        assert word in result.stderr


@pytest.fixture
def discovered(workspace, run):
    """Give a working directory in which discover has run and all manifests are old."""
    ok(run("discover", "splendor"))
    age()
    return workspace


def age():
    for path in Path("data/manifests").rglob("*"):
        if path.is_file():
            os.utime(path, ns=(1, 1))


def rewritten():
    return {path.stem for path in paths.manifest_dir("splendor").iterdir() if path.stat().st_mtime_ns != 1}


def test_discover_lists_every_game_once(discovered):
    expected = sorted(str(path.relative_to(discovered / "raw")) for path in (discovered / "raw").rglob("*.csv"))
    assert sorted(key for text in written().values() for key in unit_keys(text)) == expected
    assert sorted(written()) == manifests.read_batch_list("splendor")
    assert all(len(unit_keys(text)) <= 16 for text in written().values())


def test_discover_again_writes_nothing(discovered, run):
    result = ok(run("discover", "splendor"))
    assert rewritten() == set()
    assert paths.batch_list("splendor").stat().st_mtime_ns == 1
    assert result.stderr == "discover splendor: 60 units in 5 batches (0 new, 0 gone)\n"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: shutil.rmtree(raw), ("raw: not a folder", "set its `raw`")),
        (lambda raw: (shutil.rmtree(raw), raw.write_text("")), ("raw: not a folder",)),
        (lambda raw: (shutil.rmtree(raw), raw.mkdir()), ("raw: no games", "2_games/17.csv")),
    ],
)
def test_no_raw_data_is_an_error_that_changes_nothing(workspace, run, snapshot, damage, words, listed):
    if listed:
        ok(run("discover", "splendor"))
        age()
    before = snapshot(workspace / "data/manifests") if listed else {}
    damage(workspace / "raw")
    assert_refused(run("discover", "splendor"), *words)
    if listed:
        assert snapshot(workspace / "data/manifests") == before
        assert rewritten() == set()
    else:
        assert not (workspace / "data/manifests").exists()


def test_games_of_other_names_only_are_an_error_and_are_named(workspace, run):
    for path in (workspace / "raw").rglob("*.csv"):
        path.rename(path.with_suffix(".csv.backup"))
    result = run("discover", "splendor")
    assert result.returncode == 1
    warning, error = result.stderr.splitlines()
    assert warning.startswith("raw: 60 files are not read: 2_games/10.csv.backup, 2_games/12.csv.backup, ")
    assert "raw: no games" in error


def test_one_file_more_changes_one_manifest(discovered, run):
    before = written()
    shutil.copy(discovered / "raw/2_games/2.csv", discovered / "raw/2_games/9001.csv")
    ok(run("discover", "splendor"))
    after = written()
    changed = [batch for batch in before if after.get(batch) != before[batch]]
    assert len(changed) == 1
    assert rewritten() == {batch for batch in after if before.get(batch) != after[batch]}
    assert set(after) - set(before) <= {changed[0] + "0", changed[0] + "1"}
    added = {key for text in after.values() for key in unit_keys(text)}
    assert added - {key for text in before.values() for key in unit_keys(text)} == {"2_games/9001.csv"}


def test_a_full_batch_is_replaced_by_two_and_its_files_go(discovered, run):
    full = next(batch for batch, text in written().items() if len(unit_keys(text)) == 16)
    others = set(written()) - {full}
    paths.intermediate_dir("splendor").mkdir(parents=True)
    for batch in [full, *others]:
        paths.intermediate("splendor", batch).write_bytes(b"npz")
    for number in range(9000, 9999):
        name = f"2_games/{number}.csv"
        if f"{units.key_hash(name):0256b}".startswith(full[1:]):
            break
    shutil.copy(discovered / "raw/2_games/2.csv", discovered / "raw" / name)
    result = ok(run("discover", "splendor"))
    assert set(written()) == others | {full + "0", full + "1"} == set(manifests.read_batch_list("splendor"))
    assert rewritten() == {full + "0", full + "1"}
    assert {path.stem for path in paths.intermediate_dir("splendor").iterdir()} == others
    assert "(2 new, 1 gone)" in result.stderr
    (discovered / "raw" / name).unlink()
    ok(run("discover", "splendor"))
    assert set(written()) == others | {full}


def test_one_file_less_changes_one_manifest(discovered, run):
    before = written()
    batch, key = next((b, unit_keys(text)[0]) for b, text in before.items() if len(unit_keys(text)) > 12)
    (discovered / "raw" / key).unlink()
    ok(run("discover", "splendor"))
    assert rewritten() == {batch}
    assert unit_keys(written()[batch]) == unit_keys(before[batch])[1:]


def test_one_changed_byte_changes_one_manifest(discovered, run):
    before = written()
    with (discovered / "raw/2_games/2.csv").open("ab") as file:
        file.write(b"\n")
    ok(run("discover", "splendor"))
    assert rewritten() == {batch for batch, text in before.items() if "2_games/2.csv" in unit_keys(text)}
    assert list(written()) == list(before)


def test_under_dvc_vanished_batches_stay_and_a_note_is_left(discovered, write_params, run):
    old = set(written())
    paths.intermediate_dir("splendor").mkdir(parents=True)
    for batch in old:
        paths.intermediate("splendor", batch).write_bytes(b"npz")
    write_params(discovered, batch_size=64)
    ok(run("discover", "splendor", DVC_STAGE="discover@splendor"))
    assert set(written()) == old | {"b"}
    assert {path.stem for path in paths.intermediate_dir("splendor").iterdir()} == old
    assert manifests.read_batch_list("splendor") == ["b"]
    assert paths.list_changed_marker("splendor").read_text() == "b\n"
    ok(run("discover", "splendor"))
    assert set(written()) == {"b"}
    assert not list(paths.intermediate_dir("splendor").iterdir())


def test_without_a_change_of_the_list_no_note_is_left(discovered, run):
    with (discovered / "raw/2_games/2.csv").open("ab") as file:
        file.write(b"\n")
    ok(run("discover", "splendor", DVC_STAGE="discover@splendor"))
    assert not paths.list_changed_marker("splendor").exists()


def test_a_limit_takes_some_and_a_larger_one_adds_to_them(workspace, write_params, run):
    found = []
    for limit in (5, 20, 60, 1000):
        write_params(workspace, limit=limit)
        ok(run("discover", "splendor"))
        found.append({key for text in written().values() for key in unit_keys(text)})
    assert [len(keys) for keys in found] == [5, 20, 60, 60]
    assert found[0] < found[1] < found[2]
    by_hash = sorted(found[2], key=lambda key: hashlib.sha256(key.encode()).digest())
    assert [set(by_hash[:5]), set(by_hash[:20])] == found[:2]


def test_an_unreadable_file_is_an_error_unless_it_may_be_left_out(workspace, write_params, run):
    (workspace / "raw/3_games/900.csv").symlink_to("nowhere")
    assert_refused(run("discover", "splendor"), "raw/3_games/900.csv: not readable")
    assert not (workspace / "data/manifests").exists()
    os.mkfifo(workspace / "raw/3_games/901.csv")
    write_params(workspace, max_bad_units=1)
    assert_refused(run("discover", "splendor"), "raw/3_games/900.csv: not readable")
    write_params(workspace, max_bad_units=2)
    ok(run("discover", "splendor"))
    listed = {unit["key"]: unit["digest"] for text in written().values() for unit in json.loads(text)["units"]}
    assert {key for key, digest in listed.items() if not digest} == {"3_games/900.csv", "3_games/901.csv"}


def test_more_than_128_batches_are_warned_of(here, write_params, run):
    write_params(here, batch_size=1)
    (here / "raw/2_games").mkdir(parents=True)
    for number in range(128):
        (here / f"raw/2_games/{number}.csv").write_text("")
    assert run("discover", "splendor", LOG="warning").stderr == ""
    (here / "raw/2_games/128.csv").write_text("")
    result = ok(run("discover", "splendor", LOG="warning"))
    assert result.stderr == "discover splendor: 129 batches cost `dvc repro` seconds each; raise batch_size\n"


def test_a_file_name_that_is_not_utf8_is_a_clear_error(workspace, run):
    shutil.copy(workspace / "raw/2_games/2.csv", os.fsencode(workspace / "raw/2_games") + b"/caf\xe9.csv")
    assert_refused(run("discover", "splendor"), "caf", "UTF-8")


def test_a_batch_list_with_a_merge_conflict_is_mended_or_says_what_to_remove(discovered, run):
    """`run discover` is the advice of every other verb, so discover itself cannot give it."""
    path = paths.batch_list("splendor")
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> theirs\n")
    result = run("discover", "splendor")
    if result.returncode:
        assert_refused(result, "batches.yaml", "remove")
    else:
        assert manifests.read_batch_list("splendor") == sorted(written())


def test_only_games_are_taken(workspace, run):
    for name in ("all_games.csv", "2_games/2.csv.backup", "2_games/notes.txt", "5_games/1.csv"):
        (workspace / "raw" / name).parent.mkdir(exist_ok=True)
        (workspace / "raw" / name).write_text("x")
    stderr = ok(run("discover", "splendor")).stderr
    assert "60 units" in stderr
    names = "2_games/2.csv.backup, 2_games/notes.txt, 5_games/1.csv, all_games.csv"
    assert f"raw: 4 files are not read: {names}; expected names like 2_games/17.csv (also" in stderr


HUNGRY = """
import sys, types
from stages import discover
from stages.datasets import base
from stages.runtime.notes import working_on

def find(raw_dir, options):
    working_on(f"{raw_dir}/huge.csv")
    held = []
    while True:
        held.append(b"x" * (4 << 20))

base.finder = lambda dataset: types.SimpleNamespace(find=find)
sys.argv[1:] = ["splendor"]
raise SystemExit(discover.main())
"""


def test_the_file_in_work_is_named_when_memory_runs_out(workspace):
    """With what helps: a smaller batch would not, since discover reads no batches."""
    result = subprocess.run(
        [sys.executable, "-c", HUNGRY],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MEMORY_GB": "0.5", "LOG": "warning"},
        capture_output=True,
        text=True,
        check=False,
    )
    where = "error: discover splendor with raw/huge.csv in work: "
    assert_refused(result, where, "(95% of the budget); raise MEMORY_GB\n")
