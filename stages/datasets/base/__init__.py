"""What a dataset package provides, and the small types it provides it with.

A dataset called `<name>` is the package `stages/datasets/<name>/` with

- `schema/`: the facts of the raw format, and the options; nothing that does work;
- `reading/`: what `find` and `encode` share of reading it; a docstring, if they share nothing;
- `find.py`: ``find(raw_dir, options) -> list[Unit]``: which units the raw folder holds, with their digests;
- `encode/`: ``FIELDS: dict[str, Field]``, ``CHUNK_UNITS: int`` (units per chunk),
  ``read(raw_dir, units, options) -> table`` (I/O and validation of a chunk of units, file and line in every error) and
  ``encode(table, options) -> dict[str, ndarray]`` (pure, whole-chunk NumPy), and
  ``line(row) -> int`` (the line of the unit's file that row `row` of the unit came from);
- optionally, in `encode/`, ``findings(table) -> list[Finding]``: what was wrong within units and left out; and, if a
  unit's own bytes are not simply those of its sources, ``content(raw_dir, unit) -> bytes``, which its digest is the
  digest of, and ``locate(raw_dir, unit, lines) -> [(path, line), ...]``;
- `simulate/` (optional): ``write(folder, options)``: small real raw data into a folder that may hold what an earlier or
  a killed run left; it may return figures for the log, and have ``progress(folder, options) -> (done, all)`` or, where
  it writes known files, ``n_files(options) -> int``.

They are apart so that an edit reruns only the verb that uses it, and no verb imports what it does not need. Beside them
may lie `report/` (figures of its own on the report's page), `training/` (what a trainer of this data needs) and
`card.md` and `model_card.md` (the words of its data card and of its model card). `stages/datasets/skeleton` is
a small example of all that is required.

`encode` returns each field of `FIELDS` with its rows, and three arrays over groups, the rows that belong together
(a game, an episode): `group_id` uint64 (G,), `group_offsets` int64 (G+1,), `source` int32 (G,), the index of the unit
each group came from. Rows of a group, and groups of a unit, are contiguous and in the order of the units.
"""

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from stages.core import units
from stages.core.errors import BadUnit, ExpectedError
from stages.core.fields import Field
from stages.core.hashing import group_id, mix, numbers, seeded
from stages.core.units import Unit
from stages.datasets.base import raw
from stages.datasets.base.raw import read_unit

__all__ = [
    "BadUnit",
    "Encoder",
    "Field",
    "Finder",
    "Finding",
    "Unit",
    "check_unit",
    "encoder",
    "finder",
    "findings",
    "group_id",
    "locate",
    "mix",
    "numbers",
    "reads_whole",
    "remove_others",
    "seeded",
]

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something wrong within a unit that was left out of its arrays, or is marked there.

    `unit` is the index of the unit in the chunk, `reason` a short text, `count` how often it occurs in the unit, and
    `line` the first of these lines, from 1 in the unit's own bytes. `where` is file and line as `path:line`, if the
    unit's key says in which line of which file it begins, and empty if it does not: then other units' bytes decide it.
    """

    unit: int
    reason: str
    count: int
    line: int
    where: str = ""


class Finder(Protocol):
    """The `find` module of a dataset."""

    def find(self, raw_dir: Path, options: Options) -> list[Unit]:
        """Return the units of the raw folder."""


class Encoder(Protocol):
    """The `encode` package of a dataset."""

    FIELDS: dict[str, Field]
    CHUNK_UNITS: int

    def read(self, raw_dir: Path, units: Sequence[Unit], options: Options) -> Any:
        """Return the validated raw table of a chunk of units; raise `BadUnit` for the first that is not well-formed."""

    def encode(self, table: Any, options: Options) -> dict[str, np.ndarray]:
        """Return the arrays of a chunk."""

    def line(self, row: int) -> int:
        """Return the line, from 1, of the unit's file that holds row `row`, from 0, of the unit."""


class Simulator(Protocol):
    """The `simulate` package of a dataset."""

    def write(self, folder: Path, options: Options) -> Mapping[str, float] | None:
        """Write raw data, a function of `options` alone, into `folder`; return figures for the log, if it has any."""


def finder(dataset: str) -> Finder:
    """Import the `find` module of a dataset."""
    return cast(Finder, _room(dataset, "find"))


def encoder(dataset: str) -> Encoder:
    """Import the `encode` package of a dataset."""
    return cast(Encoder, _room(dataset, "encode"))


def findings(dataset: str, table: Any) -> list[Finding]:
    """Return what the encoder of a dataset found wrong within the units of a table, if it looks for anything."""
    function = getattr(_room(dataset, "encode"), "findings", None)
    return function(table) if function else []


def check_unit(dataset: str, raw_dir: Path, unit: Unit) -> None:
    """Raise `ExpectedError` unless the raw bytes of a unit are those that discover saw, if it could read any."""
    if not unit.digest:
        return
    content = getattr(_room(dataset, "encode"), "content", None)
    if content is None:
        read_unit(raw_dir, unit)
    elif units.digest_of(content(raw_dir, unit), unit.context) != unit.digest:
        raise ExpectedError(f"{raw_dir}: {unit.key} changed since discover listed it; run `dvc repro` again")


def reads_whole(dataset: str) -> bool:
    """Say whether the encoder of a dataset holds the sources of a unit in memory: those with a `content` need not."""
    return not hasattr(_room(dataset, "encode"), "content")


def locate(dataset: str, raw_dir: Path, unit: Unit, lines: Sequence[int]) -> list[tuple[Path, int]]:
    """Return for some lines, from 1, of a unit's own bytes the raw file that each is in, and its line there."""
    places: list[tuple[Path, int]] = getattr(_room(dataset, "encode"), "locate", raw.locate)(raw_dir, unit, lines)
    return places


def simulator(dataset: str) -> Simulator:
    """Import the `simulate` package of a dataset."""
    return cast(Simulator, _room(dataset, "simulate"))


def remove_others(folder: Path, expected: set[Path]) -> None:
    """Remove every file below a folder that is not expected, and the folders that are then empty."""
    for path in sorted(folder.rglob("*"), reverse=True):  # a folder comes after what lies in it
        if path in expected:
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _room(dataset: str, name: str) -> object:
    """Import one module of a dataset's package."""
    package = f"stages.datasets.{dataset}"
    if importlib.util.find_spec(package) is None:
        raise ExpectedError(f"params.yaml: datasets.{dataset} has no package, expected stages/datasets/{dataset}/")
    if importlib.util.find_spec(f"{package}.{name}") is None:
        raise ExpectedError(
            f"stages/datasets/{dataset}: no {name}, expected one; stages/datasets/README.md has examples"
        )
    return importlib.import_module(f"{package}.{name}")
