"""Every package is pinned to one version, and each of its files to its hash; no address stands among them."""

import re
import tomllib

from tests.helpers.places import REPOSITORY

PINS = (REPOSITORY / ".requirements.txt").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NOT_PINNED = ("train", "test-train", "test-readers", "peers", "export", "notebook")  # pyproject.toml says why


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_entry_is_a_version_with_hashes_and_nothing_else():
    entry = (
        r"[\w.-]+==[\w.+!]+( ; [^\n\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
    )
    assert re.fullmatch(f"({entry})+", PINS)


def test_all_that_the_project_asks_for_is_pinned():
    extras = {name: extra for name, extra in PROJECT["optional-dependencies"].items() if name not in NOT_PINNED}
    asked = [*PROJECT["dependencies"], *(name for extra in extras.values() for name in extra)]
    names = {normalised(re.match(r"[\w.-]+", requirement)[0]) for requirement in asked}
    pinned = {normalised(name) for name in re.findall(r"^([\w.-]+)==", PINS, re.MULTILINE)}
    assert names <= pinned


def test_torch_is_left_out():
    """Its builds differ by machine."""
    assert not re.search(r"^torch==", PINS, re.MULTILINE)
