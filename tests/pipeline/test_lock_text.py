"""dvc.lock as blocks of text: what is changed that way has the bytes that DVC itself would write."""

from pathlib import Path

import pytest

from stages.pipeline import internals, lock_text, verbs

COMMITTED = Path(__file__).parents[2] / "dvc.lock"
SHORT = lock_text.HEAD + "".join(list(lock_text.blocks(COMMITTED.read_text()).values())[-4:])
OUT = {"path": "out", "hash": "md5", "md5": "1234567890", "size": 3, "isexec": True}
ENTRIES = {
    "process@a-b0": {"cmd": "python -m stages.process a b0", "outs": [OUT]},
    "merge@a": {"cmd": "echo 'a: b' # c", "params": {"params.yaml": {"a.b": 1e-05, "on": "yes", "none": None}}},
    "split@a": {"cmd": "python -m stages.split " + "a/long/word " * 12, "deps": [{**OUT, "md5": "1e10"}]},
}


def by_dvc(path, entries):
    """Return the text after DVC put entries into the file."""
    with internals.modified(path) as content:
        content["stages"].update(entries)
    return path.read_text()


@pytest.fixture
def path(tmp_path):
    (tmp_path / "dvc.lock").write_text(SHORT)
    return tmp_path / "dvc.lock"


def test_the_blocks_of_a_lock_are_its_text():
    text = COMMITTED.read_text()
    blocks = lock_text.blocks(text)
    assert len(blocks) > 20
    assert lock_text.joined(blocks) == text
    assert lock_text.joined(lock_text.blocks(lock_text.EMPTY)) == lock_text.EMPTY == lock_text.joined({})


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_is_put_in_as_dvc_does_it(path, name):
    blocks = lock_text.blocks(path.read_text())
    blocks[name] = lock_text.block(name, ENTRIES[name])
    assert lock_text.joined(blocks) == by_dvc(path, {name: ENTRIES[name]})
    assert lock_text.entry(name, blocks[name]) == ENTRIES[name]


def test_an_entry_that_is_there_keeps_its_place(path):
    name = list(blocks := lock_text.blocks(path.read_text()))[1]
    blocks[name] = lock_text.block(name, ENTRIES["merge@a"])
    assert lock_text.joined(blocks) == by_dvc(path, {name: ENTRIES["merge@a"]})


@pytest.mark.parametrize("command", [verbs.command("process@splendor-b01"), "echo 'a: b'", "a " * 60, "yes", "a\nb"])
def test_a_place_is_what_dvc_writes_of_a_command(command):
    assert lock_text.place("process@a-b0", command) == lock_text.block("process@a-b0", {"cmd": command})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("stages:\n", "stages:\n\n", 1),
        lambda text: text.replace("  split@hex:\n", "  'split@hex':\n"),
        lambda text: text.replace("schema: '2.0'\n", "") + "schema: '2.0'\n",
        lambda text: text.replace("    cmd: python -m stages.split", "    cmd:\n      python -m stages.split"),
        lambda text: "# by hand\n" + text,
    ],
)  # fmt: skip
def test_a_text_that_is_laid_out_otherwise_says_the_same(change):
    assert change(SHORT) != SHORT
    found = lock_text.blocks(change(SHORT))
    expected = lock_text.blocks(SHORT)
    assert [lock_text.entry(*one) for one in found.items()] == [lock_text.entry(*one) for one in expected.items()]
    assert list(found) == list(expected)
