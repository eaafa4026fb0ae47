"""The text of dvc.lock as blocks, one a stage, so that some change without a reading of the others' YAML.

DVC takes 0.5 s to read a dvc.lock of 50 stages so that it can be written again, and 0.2 s to write it. The lines of a
stage that does not change stay as they are, so they are cut out, and put in where they belong.
"""

import re
from collections.abc import Mapping
from typing import Any

HEAD = "schema: '2.0'\nstages:\n"
EMPTY = "schema: '2.0'\nstages: {}\n"
NAME = re.compile(r"^  ([\w./-]+@[\w./-]+):$", re.MULTILINE)
IN_BLOCK = re.compile(r"(    .*\n)+")
PLAIN_COMMAND = re.compile(r"[\w./-]+( [\w./-]+)*")
WIDTH = 80  # columns, behind which YAML folds a line


def blocks(text: str) -> dict[str, str]:
    """Return the lines of each stage, by name and in their order.

    A text that DVC has not laid out so, such as one with comments, is read as YAML, and each stage written anew.

    Parameters
    ----------
    text
        Of a whole dvc.lock; empty for none.
    """
    if text in ("", EMPTY):
        return {}
    _, *parts = NAME.split(text.removeprefix(HEAD)) if text.startswith(HEAD + "  ") else ("",)
    names, bodies = parts[::2], [body.removeprefix("\n") for body in parts[1::2]]
    is_plain = names and all(map(IN_BLOCK.fullmatch, bodies)) and len(names) == len(set(names))
    return {name: f"  {name}:\n{body}" for name, body in zip(names, bodies, strict=True)} if is_plain else _parsed(text)


def joined(of_stages: Mapping[str, str]) -> str:
    """Return the text of a dvc.lock of these blocks."""
    return HEAD + "".join(of_stages.values()) if of_stages else EMPTY


def block(name: str, entry: Mapping[str, Any]) -> str:
    """Return the lines of one stage, as DVC writes them."""
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml({"stages": {name: entry}})).removeprefix("stages:\n")


def place(name: str, command: str) -> str:
    """Return the lines of a stage that never ran, of which only the command is known."""
    line = f"    cmd: {command}"
    is_plain = PLAIN_COMMAND.fullmatch(command) and len(line) <= WIDTH
    return f"  {name}:\n{line}\n" if is_plain else block(name, {"cmd": command})


def entry(name: str, of_stage: str) -> dict[str, Any]:
    """Return what the lines of a stage say, with the values that DVC reads there."""
    from dvc.utils.serialize import parse_yaml_for_update

    content: dict[str, Any] = parse_yaml_for_update(HEAD + of_stage, "dvc.lock")
    return dict(content["stages"][name])


def _parsed(text: str) -> dict[str, str]:
    from dvc.utils.serialize import parse_yaml_for_update

    stages = parse_yaml_for_update(text, "dvc.lock")["stages"]
    return {name: block(name, stages[name]) for name in stages}
