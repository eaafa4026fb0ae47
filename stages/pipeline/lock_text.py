"""dvc.lock as blocks of text, one a stage, so that some change without a reading of the others' YAML.

DVC takes 0.4 s to read a dvc.lock of 37 stages so that it can be written again, and 0.2 s to write it. The lines of a
stage that does not change stay as they are, so they are cut out, and put in where they belong.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core.files import write_text
from stages.pipeline.internals import modified

HEAD = "schema: '2.0'\nstages:\n"
EMPTY = "schema: '2.0'\nstages: {}\n"
NAME = re.compile(r"^  ([\w./-]+@[\w./-]+):$", re.MULTILINE)
IN_BLOCK = re.compile(r"(    .*\n)+")
PLAIN_COMMAND = re.compile(r"[\w./-]+( [\w./-]+)*")
WIDTH = 80  # columns, behind which YAML folds a line

Blocks = dict[str, str]


def change(path: Path, changed: Callable[[Blocks], Blocks]) -> None:
    """Change a dvc.lock, or make one, at once and atomically.

    Of one that DVC has not laid out, with comments, or with more in it than these stages, all that stays is kept too.

    Parameters
    ----------
    path
        The file.
    changed
        Takes the lines of each stage by name, in their order, and returns those that there are to be.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else EMPTY
    blocks = plain_blocks(text)
    if blocks is None:
        _change_yaml(path, changed)
    else:
        write_text(path, _joined(changed(blocks)))


def plain_blocks(text: str) -> Blocks | None:
    """Return the lines of each stage; None when there is anything else in the text, or a stage of another name."""
    if text == EMPTY:
        return {}
    before, *parts = NAME.split(text.removeprefix(HEAD))
    names, bodies = parts[::2], [body.removeprefix("\n") for body in parts[1::2]]
    is_plain = text.startswith(HEAD) and names and not before and len(names) == len(set(names))
    if not (is_plain and all(map(IN_BLOCK.fullmatch, bodies))):
        return None
    return {name: f"  {name}:\n{body}" for name, body in zip(names, bodies, strict=True)}


def _joined(blocks: Mapping[str, str]) -> str:
    return HEAD + "".join(blocks.values()) if blocks else EMPTY


def _change_yaml(path: Path, changed: Callable[[Blocks], Blocks]) -> None:
    """Change a dvc.lock as DVC does, which keeps comments."""
    with modified(path) as content:
        stages = content["stages"] = content.get("stages") or {}
        before = {name: block(name, stages[name]) for name in stages}
        after = changed(dict(before))
        for name in before.keys() - after.keys():
            del stages[name]
        for name, lines in after.items():  # each to the end, in their order
            old = stages.pop(name, None)
            stages[name] = old if lines == before.get(name) else entry(name, lines)


def block(name: str, entry: Mapping[str, Any]) -> str:
    """Return the lines of one stage, as DVC writes them."""
    from dvc.utils.serialize import dumps_yaml

    return str(dumps_yaml({"stages": {name: entry}})).removeprefix("stages:\n")


def place(name: str, command: str) -> str:
    """Return the lines of a stage that never ran, of which only the command is known."""
    line = f"    cmd: {command}"
    is_plain = PLAIN_COMMAND.fullmatch(command) and len(line) <= WIDTH
    return f"  {name}:\n{line}\n" if is_plain else block(name, {"cmd": command})


def entry(name: str, lines: str) -> dict[str, Any]:
    """Return what the lines of a stage say, with the values that DVC reads there."""
    from dvc.utils.serialize import parse_yaml_for_update

    content: dict[str, Any] = parse_yaml_for_update(HEAD + lines, "dvc.lock")
    return dict(content["stages"][name])
