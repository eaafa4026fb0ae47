"""Whether folders can be mixed: one sample must mean the same as another, wherever it comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core import part_files
from stages.core.arrays import read_npz
from stages.core.errors import ExpectedError
from stages.loader.part_arrays import PartArrays
from stages.processed.reader import read_json

NAMES = (part_files.FEATURE_NAMES, part_files.LABEL_MAPPINGS)
FILES = (*NAMES, part_files.NORMALIZER)  # values as they are stored mean the same whatever would standardise them
NOTHING = "nothing"


def require_alike(sources: Sequence[PartArrays]) -> None:
    """Refuse sources that differ in fields, dtypes, shapes, windows, names, label mappings or normalisation.

    Raises
    ------
    ExpectedError
        At the first source that differs from the first one; both folders and what differs are named.
    """
    first, *others = sources
    expected = _facts(first) if others else {}
    for other in others:
        _require_same(f"{other.folder}", _facts(other), f"{first.folder}", expected)


def _require_same(where: str, found: Mapping[str, Any], other: str, expected: Mapping[str, Any]) -> None:
    for name in [*expected, *(name for name in found if name not in expected)]:
        left, right = found.get(name, NOTHING), expected.get(name, NOTHING)
        if not (left is right or left == right):
            raise ExpectedError(
                f"{where}: {name} is {_short(left)}, expected {_short(right)} as in {other}; mix folders that were "
                "made alike, or name the `fields` that both have"
            )


def _facts(source: PartArrays) -> dict[str, Any]:
    """Return what sources must have in common, by the name that it has in an error."""
    facts: dict[str, Any] = {f"field {name!r}": f"{dtype} {shape}" for name, (dtype, shape) in source.layout.items()}
    facts["rows of a sample"] = source.window_rows
    for name in FILES if source.form.standardised else NAMES:
        facts |= {f"{key!r} of {name}": value for key, value in _members(source.folder / name).items()}
    return facts


def _members(path: Path) -> Mapping[str, Any]:
    """Return the members of a JSON or NPZ file as plain values; nothing where there is no such file."""
    if not path.is_file():
        return {}
    if path.suffix == ".npz":
        return {name: values.tolist() for name, values in read_npz(path).items()}
    content = read_json(path)
    return content if isinstance(content, dict) else {"content": content}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
