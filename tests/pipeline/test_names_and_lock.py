"""Stage names both ways, and dvc.lock: reading it, and making it independent of history."""

import importlib.metadata

import pytest
import yaml

from stages.core.errors import ExpectedError
from stages.pipeline import internals, lock, verbs

PARAMS = "datasets:\n  b: {raw: r}\n  a: {raw: r}\n  a_bars: {raw: r}\n"


def entry(md5="1"):
    deps = [{"path": "in", "hash": "md5", "md5": "2", "size": 1}]
    return {"cmd": "c", "deps": deps, "outs": [{"path": "out", "hash": "md5", "md5": md5, "size": 3}]}


def write_lock(**entries):
    text = yaml.safe_dump({"schema": "2.0", "stages": entries}, sort_keys=False)
    lock.LOCK.write_text(text)
    return text


@pytest.fixture
def repository(here):
    """A folder with params.yaml and without DVC."""
    (here / "params.yaml").write_text(PARAMS)
    return here


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("split@a", ("split", "a", "")),
        ("merge@a-bars", ("merge", "a-bars", "")),
        ("merge@a-b0", ("merge", "a-b0", "")),
        ("process@a-b", ("process", "a", "b")),
        ("process@a-bars-b01", ("process", "a-bars", "b01")),
        ("process@a-b0-b1", ("process", "a-b0", "b1")),
    ],
)
def test_a_stage_name_says_verb_dataset_and_batch_and_is_made_of_them(name, parts):
    assert verbs.parsed(name) == verbs.StageName(*parts)
    assert verbs.stage_name(*parts) == name


def test_what_no_verb_made_is_all_verb():
    assert verbs.parsed("train") == verbs.StageName("train", "")


def test_stages_come_in_the_order_of_the_verbs():
    names = verbs.stage_names(("expand", "process", "merge"), "a", ["b0", "b1"])
    assert names == ["expand@a", "process@a-b0", "process@a-b1", "merge@a"]


def test_lock_gives_the_outputs_of_a_stage(repository):
    write_lock(**{"merge@a": entry("7.dir")})
    (output,) = lock.outputs(lock.read(), "merge@a")
    assert (output.stage, str(output.path), output.md5, output.size) == ("merge@a", "out", "7.dir", 3)
    with pytest.raises(
        ExpectedError, match=r"^dvc\.lock: no split@a, expected the record of its last run; `dvc repro`$"
    ):
        lock.outputs(lock.read(), "split@a")


def test_a_missing_lock_is_one_error(repository):
    with pytest.raises(ExpectedError, match=r"^dvc\.lock: not found, expected the record of a run; `dvc repro`$"):
        lock.read()


@pytest.mark.parametrize("text", ["", "[]", "stages: 3\n", "<<<<<<< HEAD\nstages: {}\n=======\n", "stages:\n\t- 1"])
def test_a_damaged_lock_is_one_error(repository, text):
    """Empty, of another kind, with the marks of a merge, no YAML."""
    lock.LOCK.write_text(text)
    with pytest.raises(ExpectedError, match=r"^dvc\.lock: .*`git checkout dvc\.lock`$"):
        lock.read()


def test_tidying_sorts_by_verb_dataset_and_batch_and_drops_vanished_batches_of_the_dataset(repository):
    names = ["split@a", "process@a-b1", "process@b-b1", "merge@a", "process@a-b0", "expand@b", "process@a-b00", "own@b"]
    write_lock(**{name: entry() for name in names})
    lock.tidy("a", ["b0", "b1"])
    expected = ["process@b-b1", "process@a-b0", "process@a-b1", "expand@b", "merge@a", "split@a", "own@b"]
    assert list(lock.read()) == expected
    assert set(map(str, lock.read().values())) == {str(entry())}


def test_tidying_leaves_a_tidy_lock_alone_and_has_no_need_of_dvc(repository, monkeypatch):
    monkeypatch.delattr(internals, "modified")
    text = write_lock(**{"process@b-b1": entry(), "process@a-b0": entry(), "merge@a": entry()})
    lock.tidy("a", ["b0"])
    assert lock.LOCK.read_text() == text


def test_stages_that_never_ran_get_their_places_and_stay_unknown_to_readers(repository):
    write_lock(**{name: entry() for name in ("process@a-b0", "expand@b", "merge@b", "split@b")})
    lock.reserve("a", ["b0", "b1"])
    entries = lock.parsed(lock.LOCK.read_text(), "")
    assert list(entries) == [
        *("process@a-b0", "process@a-b1", "expand@b", "expand@a", "merge@b", "merge@a", "split@b", "split@a")
    ]
    assert entries["process@a-b1"] == {"cmd": "python -m stages.process a b1"}
    assert list(lock.read()) == ["process@a-b0", "expand@b", "merge@b", "split@b"]
    before = lock.LOCK.read_text()
    assert lock.is_whole(before)
    lock.reserve("a", ["b0", "b1"])
    assert lock.LOCK.read_text() == before


def test_tidying_without_a_lock_makes_none(repository):
    lock.tidy("a", ["b0"])
    assert not lock.LOCK.exists()


def test_tidying_drops_placeholders_of_the_dataset_and_forgets_them_in_the_run_cache(repository, monkeypatch):
    forgotten = []
    monkeypatch.setattr(internals, "forget", forgotten.extend)
    empty = entry(lock.EMPTY_MD5)
    write_lock(**{"process@b-b0": empty, "process@a-b0": empty, "process@a-b1": entry(), "process@a-b10": empty})
    lock.tidy("a", ["b0", "b1"])
    assert list(lock.read()) == ["process@b-b0", "process@a-b1"]
    assert forgotten == [empty, empty]


def test_what_dvc_does_not_promise_was_tried_with_the_version_that_is_here():
    assert importlib.metadata.version("dvc") == internals.TRIED_WITH
