"""The keys that params.yaml leaves to their defaults are written into it, and nothing else changes."""

import pytest
import yaml

from stages.core.complete import complete
from stages.core.params import load
from tests.helpers.places import REPOSITORY

ALL = "batch_size: 500, limit: null, max_bad_units: 0, options: {}, split: {}"
SPLIT = "split: {train: 0.8, val: 0.1, test: 0.1, seed: 42}"
REST = f"{SPLIT}\nsimulate: {{}}\ntrain: {{}}\n"
COMMENTED = """\
# all of it
datasets:
  sensors:  # mine
    raw: data/sensors  # a folder

  # the other one
  other: {raw: data/other, limit: 3}
# the end
"""


@pytest.fixture
def completed(tmp_path):
    """Complete a text; return what was told, without the path, and the new text."""
    path = tmp_path / "params.yaml"

    def complete_it(text):
        path.write_text(text)
        before = load(path)
        told = complete(path)
        assert load(path) == before
        assert complete(path) == []
        return [line.removeprefix(f"{path}: ") for line in told], path.read_text()

    return complete_it


def test_missing_keys_are_written_and_told(completed):
    told, text = completed(COMMENTED)
    reason = "with their defaults, since DVC reads them there"
    assert told == [
        f"datasets.sensors: added {ALL} {reason}",
        f"datasets.other: added {ALL.replace('limit: null, ', '')} {reason}",
        f"added {SPLIT}, simulate: {{}}, train: {{}} {reason}",
    ]
    keys = ALL.replace(", ", "\n    ")
    whole = COMMENTED.replace("# a folder\n", f"# a folder\n    {keys}\n")
    whole = whole.replace("limit: 3}\n", f"limit: 3, {ALL.replace('limit: null, ', '')}}}\n{REST}")
    assert text == whole


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("datasets: {a: {raw: x}}", f"datasets: {{a: {{raw: x, {ALL}}}}}\n{REST.rstrip()}"),
        ("{datasets: {}}\n", f"{{datasets: {{}}, {SPLIT}, simulate: {{}}, train: {{}}}}\n"),
        (
            f"simulate:\n  # none\n{SPLIT}\ntrain:\ndatasets: {{}}\n",
            f"simulate: {{}}\n  # none\n{SPLIT}\ntrain: {{}}\ndatasets: {{}}\n",
        ),
    ],
)
def test_any_form_of_yaml_is_kept(completed, text, whole):
    assert completed(text)[1] == whole


@pytest.mark.parametrize(
    "text",
    [
        "datasets:\n  a:\n    raw: |\n      x\n      y\n    options:\n      k:\n      - 1\n\n    # last\n    split:\n",
        "datasets:\n    a:\n        raw: 'x # y'\nsplit:\n    seed: 5\nsimulate:\n    a:\n        b: [a,\n          b]",
    ],
)
def test_every_section_is_whole_afterwards(completed, text):
    content = yaml.safe_load(completed(text)[1])
    assert set(content) == {"datasets", "split", "simulate", "train"}
    for entry in content["datasets"].values():
        assert {"raw", "batch_size", "limit", "max_bad_units", "options", "split"} <= set(entry)


def test_a_whole_file_is_not_touched(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes((REPOSITORY / "params.yaml").read_bytes())
    before = path.stat()
    assert complete(path) == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
