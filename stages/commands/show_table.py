"""The table of `make show`: what is written of some rows of a part, a line of the table for each."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.commands.trace import key_text, line_in_unit
from stages.core import part_files, paths
from stages.core.errors import ExpectedError
from stages.core.manifests import read_batch_list, read_manifest
from stages.core.params import DatasetParams
from stages.core.units import Unit
from stages.datasets import base
from stages.look import LookField, PartRows
from stages.runtime.text import printable, printable_lines

MOST_FEATURES = 6  # shown of a row
LEAST_SCORE = 1.0  # deviations from the mean; what is nearer is not shown
MOST_LEGAL = 8  # actions that are named; of more their number is said
LEAST_WIDTH = 160  # characters, where the output is no terminal
LOCATED = ("group_id", "row_in_unit", "unit", "line")  # keys that the column `raw` says better
WITHOUT = ""


def print_rows(params: DatasetParams, part: PartRows, rows: np.ndarray) -> None:
    """Print some rows of a part, int64 (k,)."""
    dataset = part.data.folder.name
    columns = {"row": [f"{row:,}" for row in rows.tolist()]}
    columns |= {"raw": raw_places(dataset, params, part, rows), "keys": keys(part, rows)}
    columns |= {"labels": labels(part, rows), "legal": legal(part, rows)}
    columns |= {"far from the mean": unusual(part, rows)}
    columns |= drawing(dataset, part, rows)
    print_table({title: cells for title, cells in columns.items() if any(cells)})


def print_table(columns: dict[str, list[str]]) -> None:
    """Print a table, given by its columns."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=LEAST_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, show_lines=any("\n" in cell for cells in columns.values() for cell in cells))
    for title in columns:
        is_drawn = title not in ("raw", "keys", "labels", "legal", "far from the mean")
        table.add_column(title, overflow="fold", no_wrap=is_drawn)
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(printable_lines(cell)) for cell in cells))
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def raw_places(dataset: str, params: DatasetParams, part: PartRows, rows: np.ndarray) -> list[str]:
    """Return raw file and line of some rows.

    Raises
    ------
    ExpectedError
        When no manifest has their units.
    """
    placed = {name: part.read(name, rows) for name in LOCATED if name in part.fields}
    lines = [line_in_unit(dataset, placed, place) for place in range(len(rows))]
    names = [part.units[number] for number in placed["unit"].tolist()]
    units = _units(dataset, set(names))
    asked: dict[str, list[int]] = {}
    for name, line in zip(names, lines, strict=True):
        asked.setdefault(name, []).append(line)
    found = {
        (name, line): f"{path}:{place}"
        for name, own in asked.items()
        for line, (path, place) in zip(own, base.locate(dataset, params.raw_dir, units[name], own), strict=True)
    }
    return [found[place] for place in zip(names, lines, strict=True)]


def _units(dataset: str, names: set[str]) -> dict[str, Unit]:
    """Return units of the manifests by key; each manifest is read once."""
    found: dict[str, Unit] = {}
    for batch in read_batch_list(dataset):
        found |= {unit.key: unit for unit in read_manifest(dataset, batch) if unit.key in names}
        if len(found) == len(names):
            return found
    missing = min(names - set(found))
    where = paths.manifest_dir(dataset)
    raise ExpectedError(f"{where}: no unit {missing!r}, expected it there; run `dvc repro`")


def keys(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the dataset's own keys of some rows."""
    named = [field for field in part.fields.values() if field.role == "key" and field.name not in LOCATED]
    values = {field.name: _shown(field, part.read(field.name, rows)) for field in named}
    return _cells({f"{name} ": texts for name, texts in values.items()}, len(rows))


def _shown(field: LookField, values: np.ndarray) -> list[str]:
    if field.dtype.kind == "f":
        return [f"{value:.6g}" for value in values.tolist()]
    return [printable(key_text(field.name, value)) for value in values]


def _cells(values: dict[str, list[str]], n_rows: int) -> list[str]:
    """Return for each row a line for each name that has something to say of it."""
    return ["\n".join(f"{name}{texts[i]}" for name, texts in values.items() if texts[i]) for i in range(n_rows)]


def labels(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the labels that apply to some rows, by class name."""
    named = [field for field in part.fields.values() if field.role == "label"]
    values = {f"{field.head} ": _class_names(field, part.read(field.name, rows)) for field in named}
    return _cells(values, len(rows))


def _class_names(field: LookField, values: np.ndarray) -> list[str]:
    classes = field.classes or ()
    return [WITHOUT if n < 0 else repr(classes[n]) if n < len(classes) else str(n) for n in values.tolist()]


def legal(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the legal actions of some rows, of the heads whose label applies; of all where there is no label."""
    values = {}
    for field in part.fields.values():
        if field.role == "mask":
            own = [_legal(field, mask) for mask in part.read(field.name, rows)]
            label = part.fields.get(f"label_{field.head}")
            if label is not None:
                applies = part.read(label.name, rows) >= 0
                own = [text if shown else WITHOUT for text, shown in zip(own, applies.tolist(), strict=True)]
            values[f"{field.head} "] = own
    return _cells(values, len(rows))


def _legal(field: LookField, mask: np.ndarray) -> str:
    names = [field.columns[place].removeprefix(f"{field.name}.") for place in np.flatnonzero(mask).tolist()]
    count = f"{len(names)} of {mask.size}"
    return f"{count}: {', '.join(map(repr, names))}" if 0 < len(names) <= MOST_LEGAL else count


def unusual(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the features of some rows that lie farthest from the mean of train, with the distance in deviations."""
    names: list[str] = []
    scores, values = [], []
    for field in part.fields.values():
        own = part.standard_scores(field.name, rows) if field.role == "feature" else None
        if own is not None:
            names += field.columns
            scores.append(own.reshape(len(rows), -1))
            values.append(part.read(field.name, rows).reshape(len(rows), -1))
    if not names:
        return [WITHOUT] * len(rows)
    return [far(names, *own) for own in zip(np.hstack(scores), np.hstack(values), strict=True)]


def far(names: Sequence[str], scores: np.ndarray, values: np.ndarray) -> str:
    """Return the columns whose scores lie farthest from 0, a line each: name, value and score."""
    order = np.argsort(-np.abs(scores), kind="stable")[:MOST_FEATURES].tolist()
    shown = [place for place in order if abs(scores[place]) >= LEAST_SCORE]
    return "\n".join(f"{names[place]} {values[place]:.5g} ({scores[place]:+.1f})" for place in shown)


def drawing(dataset: str, part: PartRows, rows: np.ndarray) -> dict[str, list[str]]:
    """Return what the dataset's own `show` draws of some rows, by its title, if it has one."""
    package = f"{base.__name__.rpartition('.')[0]}.{dataset}"
    if find_spec(package) is None or find_spec(f"{package}.show") is None:
        return {}
    module = import_module(f"{package}.show")
    draw: Callable[[PartRows, np.ndarray], list[str]] = module.draw
    return {module.TITLE: draw(part, rows)}


def describe(dataset: str) -> list[str]:
    """Return what there is of a dataset, as lines of text: rows of each part, fields, heads and windows."""
    part = PartRows(dataset, part_files.PARTS[0])
    stats = part.data.stats()
    rows = ", ".join(f"{name} {stats['rows'][name]:,}" for name in part_files.PARTS)
    fields = {role: [field for field in part.fields.values() if field.role == role] for role in ("feature", "label")}
    listed = {
        "rows": rows,
        "features": ", ".join(f"{field.name} {_shape(field)}" for field in fields["feature"]),
        "labels": ", ".join(f"{field.head} ({len(field.classes or ())} classes)" for field in fields["label"]),
        "masks": ", ".join(field.name for field in part.fields.values() if field.role == "mask"),
        "keys": ", ".join(field.name for field in part.fields.values() if field.role == "key"),
        "windows": ", ".join(f"{name} of {entry['window']}" for name, entry in stats.get("windows", {}).items()),
    }
    return [f"{name:9} {text}" for name, text in listed.items() if text]


def _shape(field: LookField) -> str:
    return " x ".join(map(str, field.shape)) or "1"
