"""Write into params.yaml the keys that it leaves to their defaults, since DVC reads them there.

In and out: params.yaml. DVC wants to find every key that a stage names under ``params:``, and the section that a
``foreach:`` goes through, and it takes no defaults: a bare `dvc repro` without `limit` of a dataset ends with DVC's own
"Parameters 'datasets.sensors.limit' are missing from 'params.yaml'". So what calls DVC completes the file first.

Text is only inserted, so that comments, order and form of what is there stay, byte for byte.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.core import paths, plain_yaml
from stages.core.files import write_text
from stages.core.params import DatasetParams, SplitParams

SECTIONS = {"split": SplitParams().shares() | {"seed": SplitParams().seed}, "simulate": {}, "train": {}}
OF_ITERATE: dict[str, Any] = {"selfplay": {}, "mix": {}, "train": {}, "gate": {}}
FOREACH = ("simulate", "train")  # DVC goes through these; through a section only, be it empty


class Gap(NamedTuple):
    """A section of the file and the keys it lacks, with their defaults."""

    keys: tuple[str, ...]
    missing: dict[str, Any]

    def __str__(self) -> str:
        """Return it as a user is told of it."""
        if not self.missing:
            return f"{'.'.join(self.keys)}: made an empty section of nothing"
        values = ", ".join(f"{name}: {_yaml(value)}" for name, value in self.missing.items())
        where = f"{'.'.join(self.keys)}: " if self.keys else ""
        return f"{where}added {values} with {'its default' if len(self.missing) == 1 else 'their defaults'}"


def complete(path: Path = paths.PARAMS_FILE) -> list[str]:
    """Insert the missing keys of each dataset, `split`, `simulate`, `train` and `iterate`; leave a whole file alone.

    Parameters
    ----------
    path
        A params.yaml that `stages.core.params.load` accepts.

    Returns
    -------
    list
        A line for each section that was completed, for a user: "params.yaml: datasets.sensors: added limit: null, ...".
    """
    text = before = path.read_bytes().decode()
    told = []
    # one at a time: an insertion moves what comes after it
    while gap := next(_gaps(plain_yaml.parse(text.encode())), None):
        text = _filled(text, gap)
        told.append(f"{path}: {gap}, since DVC reads them there")
    if text != before:
        write_text(path, text)
    return told


def _gaps(content: Mapping[str, Any]) -> Iterator[Gap]:
    """Yield the sections that lack keys."""
    for section, defaults in (("datasets", vars(DatasetParams(raw=""))), ("iterate", OF_ITERATE)):
        for name, entry in (content.get(section) or {}).items():
            missing = {key: value for key, value in defaults.items() if key not in (entry or {})}
            if missing:
                yield Gap((section, name), missing)
    missing = {key: value for key, value in SECTIONS.items() if key not in content}
    if missing:
        yield Gap((), missing)
    for key in FOREACH:
        if content.get(key, {}) is None:
            yield Gap((key,), {})


def _filled(text: str, gap: Gap) -> str:
    """Return the text with the missing keys at the end of their section."""
    section = _node(text, gap.keys)
    if not isinstance(section, yaml.MappingNode):
        return _inserted(text, section.end_mark.index, " {}")
    entries = [f"{key}: {_yaml(value)}" for key, value in gap.missing.items()]
    if section.flow_style:
        return _inserted(text, section.value[-1][1].end_mark.index, "".join(f", {entry}" for entry in entries))
    indent = " " * section.value[0][0].start_mark.column
    end = text.find("\n", _last_character(section))  # of the line of the last value, with its comment
    return _inserted(text, len(text) if end < 0 else end, "".join(f"\n{indent}{entry}" for entry in entries))


def _node(text: str, keys: tuple[str, ...]) -> Any:
    """Return where in the text the section under `keys` stands."""
    node: Any = yaml.compose(text, yaml.SafeLoader)
    for key in keys:
        node = next(value for name, value in node.value if name.value == key)
    return node


def _last_character(node: Any) -> int:
    """Return where a value ends; the end that YAML gives for a block is where the next one begins, after comments."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return max(node.start_mark.index, node.end_mark.index - 1)
    last = node.value[-1] if isinstance(node, yaml.MappingNode) else node.value[-1:]
    return max(_last_character(part) for part in last)  # of key and value


def _inserted(text: str, index: int, new: str) -> str:
    return text[:index] + new + text[index:]


def _yaml(value: object) -> str:
    """Return a default as YAML in one line, without spaces in an empty section."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
