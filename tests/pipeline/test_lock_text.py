"""dvc.lock as blocks of text: what is changed that way has the bytes that DVC itself would write."""

from pathlib import Path

import pytest
import yaml

from stages.pipeline import internals, lock_text, verbs

COMMITTED = Path(__file__).parents[2] / "dvc.lock"
SHORT = lock_text.HEAD + "".join(list(lock_text.plain_blocks(COMMITTED.read_text()).values())[-4:])
OUT = {"path": "out", "hash": "md5", "md5": "1234567890", "size": 3, "isexec": True}
ENTRIES = {
    "process@a-b0": {"cmd": "python -m stages.process a b0", "outs": [OUT]},
    "merge@a": {"cmd": "echo 'a: b' # c", "params": {"params.yaml": {"a.b": 1e-05, "on": "yes", "none": None}}},
    "split@a": {"cmd": "python -m stages.split " + "a/long/word " * 12, "deps": [{**OUT, "md5": "1e10"}]},
}
OWN = "  own:\n    cmd: ls\n"
SECTION = "datasets:\n- name: x\n  url: y\n"
LAYOUTS = {
    "empty line": lambda text: text.replace("stages:\n", "stages:\n\n", 1),
    "quoted": lambda text: text.replace("  split@hex:\n", "  'split@hex':\n"),
    "schema last": lambda text: text.replace("schema: '2.0'\n", "") + "schema: '2.0'\n",
    "comment above": lambda text: "# by hand\n" + text,
    "comment at a name": lambda text: text.replace("  split@hex:\n", "  split@hex:  # by hand\n"),
    "own stage first": lambda text: text.replace("stages:\n", f"stages:\n{OWN}", 1),
    "own stage last": lambda text: text + OWN,
    "another section": lambda text: text + SECTION,
}


def by_dvc(path, entries):
    """Return the text after DVC put entries into the file."""
    with internals.modified(path) as content:
        content["stages"].update(entries)
    return path.read_text()


def put(path, entries):
    """Return the text after they were put in as blocks."""
    written = {name: lock_text.block(name, entry) for name, entry in entries.items()}
    lock_text.change(path, lambda blocks: blocks | written)
    return path.read_text()


@pytest.fixture
def two(tmp_path):
    """Give the same short dvc.lock twice."""
    paths = [tmp_path / name for name in ("own.lock", "dvc.lock")]
    for path in paths:
        path.write_text(SHORT)
    return paths


def test_a_change_of_nothing_leaves_the_text(tmp_path):
    path = tmp_path / "dvc.lock"
    for text in (COMMITTED.read_text(), SHORT, lock_text.EMPTY):
        path.write_text(text)
        lock_text.change(path, lambda blocks: blocks)
        assert path.read_text() == text
    assert len(lock_text.plain_blocks(COMMITTED.read_text())) > 20
    lock_text.change(path, lambda blocks: {})
    assert path.read_text() == lock_text.EMPTY


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_put_in_as_dvc_does_it(two, name):
    own, dvc = two
    assert put(own, {name: ENTRIES[name]}) == by_dvc(dvc, {name: ENTRIES[name]})
    assert lock_text.entry(name, lock_text.plain_blocks(own.read_text())[name]) == ENTRIES[name]


def test_an_entry_that_is_there_keeps_its_place(two):
    own, dvc = two
    name = list(lock_text.plain_blocks(SHORT))[1]
    assert put(own, {name: ENTRIES["merge@a"]}) == by_dvc(dvc, {name: ENTRIES["merge@a"]})


def test_a_file_that_is_missing_is_made(tmp_path):
    assert put(tmp_path / "dvc.lock", {"merge@a": {"cmd": "ls"}}) == f"{lock_text.HEAD}  merge@a:\n    cmd: ls\n"


@pytest.mark.parametrize("command", [verbs.command("process@splendor-b01"), "echo 'a: b'", "a " * 60, "yes", "a\nb"])
def test_a_place_is_what_dvc_writes_of_a_command(command):
    assert lock_text.place("process@a-b0", command) == lock_text.block("process@a-b0", {"cmd": command})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_a_text_that_is_laid_out_otherwise_nothing_is_lost(two, layout):
    """It is what DVC itself makes of it."""
    assert LAYOUTS[layout](SHORT) != SHORT
    for path in two:
        path.write_text(LAYOUTS[layout](SHORT))
    own, dvc = two
    assert put(own, ENTRIES) == by_dvc(dvc, ENTRIES)
    lock_text.change(own, lambda blocks: {name: blocks[name] for name in reversed(blocks) if name not in ENTRIES})
    content = yaml.safe_load(own.read_text())
    expected = yaml.safe_load(LAYOUTS[layout](SHORT))
    assert content == expected
    assert list(content["stages"]) == list(reversed(expected["stages"]))


def test_one_without_stages_gets_some(tmp_path):
    path = tmp_path / "dvc.lock"
    for text in ("schema: '2.0'\n", "schema: '2.0'\nstages:\n"):
        path.write_text(text)
        assert put(path, {"merge@a": {"cmd": "ls"}}) == f"{lock_text.HEAD}  merge@a:\n    cmd: ls\n"
