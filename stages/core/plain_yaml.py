"""Read YAML that people write: params.yaml and the lists of batches.

In: the bytes of a file. Out: dicts with text as keys, lists, text, numbers, booleans, dates and null. YAML can say much
more, and each of these is refused in one line, since it hides what a file means, or makes a small file large:

- anchors, aliases and merges (``&a``, ``*a``, ``<<:``): nine lines of aliases to aliases are a billion values;
- tags (``!!int``, ``!mine``): they name types, in other readers code;
- a key that stands twice in a section: the first one would be ignored;
- a key that YAML does not read as text (``1:``, ``ON:``, ``2024-01-02:``): it would not be the key that is looked up;
- sections within sections beyond `MOST_NESTED`: readers that call themselves end in a traceback there.

Numbers are those of YAML 1.2, as DVC reads and writes them: ``1e-05`` is one, which YAML 1.1 takes for text.

The events of the file are looked through before a value is made, so that a hostile file costs no memory.
"""

import re
from typing import Any, Final

import yaml

from stages.core.errors import ExpectedError

MOST_NESTED: Final = 20  # the deepest setting of the repository's own params.yaml is 5 sections deep

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 30 times faster: params.yaml in 0.7 ms
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_EXPONENT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")


class NotPlainYaml(ExpectedError):
    """What is wrong with a file; the caller says which one it is."""


class _Loader(_LOADER):  # type: ignore[misc]
    """A loader that looks at every key before it makes a section."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a section."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = _line(key.start_mark)
            _check_key(key, line)
            if key.value in lines:
                first = lines[key.value]
                raise NotPlainYaml(f"line {line}: key {key.value!r} again, first in line {first}; remove one of them")
            lines[key.value] = line
        section: dict[Any, Any] = super().construct_mapping(node, deep)
        return section


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def parse(content: bytes) -> Any:
    """Return what a YAML file says.

    Raises
    ------
    NotPlainYaml
        When it is no YAML in UTF-8, or more than plain YAML; with the line.
    """
    try:
        text = content.decode("utf-8-sig")
        _check_events(text)
        return yaml.load(text, _Loader)
    except NotPlainYaml:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a value such as 2024-13-01 is no YAMLError
        raise NotPlainYaml(f"not readable as YAML: {' '.join(str(error).split())}") from None


def _check_events(text: str) -> None:
    """Refuse anchors, aliases, tags and deep nesting before anything is made of them."""
    n_nested = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.NodeEvent):
            _check_node(event)
        if isinstance(event, yaml.CollectionStartEvent):
            n_nested += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            n_nested -= 1
        if n_nested > MOST_NESTED:
            line = _line(event.start_mark)
            raise NotPlainYaml(f"line {line}: sections {n_nested} deep, expected at most {MOST_NESTED}; undo some")


def _check_node(event: yaml.NodeEvent) -> None:
    line = _line(event.start_mark)
    if isinstance(event, yaml.AliasEvent):
        raise NotPlainYaml(f"line {line}: alias *{event.anchor}, expected the value itself; write it out")
    if event.anchor is not None:
        raise NotPlainYaml(f"line {line}: anchor &{event.anchor}, expected none; write the value where it is needed")
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise NotPlainYaml(f"line {line}: tag {tag!r}, expected a value without one; remove the tag")


def _check_key(key: yaml.Node, line: int) -> None:
    if not isinstance(key, yaml.ScalarNode):
        raise NotPlainYaml(f"line {line}: a section or list as a key, expected text")
    if key.tag == _MERGE:
        raise NotPlainYaml(f"line {line}: << merges sections, expected each key; write them out")
    if key.tag != _TEXT:
        kind = key.tag.rpartition(":")[2]
        raise NotPlainYaml(f'line {line}: key {key.value} is read as {kind}, expected text; quote it: "{key.value}"')


def _line(mark: Any) -> int:
    """Return the number of a line as editors count them."""
    return int(mark.line) + 1
