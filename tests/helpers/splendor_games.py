"""Splendor games for the tests: simulated ones, edits of their text, and their way through read and encode.

A log is handled as `Log`, one dict per row with the CSV's column names; `csv` reads it, not the code under test.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from stages.core.units import Unit
from stages.datasets.base.raw import file_units
from stages.datasets.splendor import encode
from stages.datasets.splendor.encode.parse import Table
from stages.datasets.splendor.schema import CARDS, COLOURS, RAW_COLUMNS
from stages.datasets.splendor.simulate import game_csv
from tests.helpers.places import REFERENCE_DIR, REPOSITORY

Log = list[dict[str, str]]
REFERENCE = REFERENCE_DIR / "splendor"
GOLDEN = REPOSITORY / "tests/datasets/splendor/golden"
CARD_PARTS = ("vp", "level", *(f"{kind}_{colour}" for kind in ("cost", "bonus") for colour in COLOURS))


@cache
def simulated(game_id: int, n_players: int) -> bytes:
    """Return the log of a simulated game."""
    return game_csv(game_id, n_players, seed=5)


def rows_of(content: bytes) -> Log:
    """Return the rows of a log."""
    return list(csv.DictReader(io.StringIO(content.decode("ascii"), newline="")))


def content_of(log: Log) -> bytes:
    """Return the rows as a file in the exporter's dialect."""
    lines = [",".join(RAW_COLUMNS), *(",".join(row[name] for name in RAW_COLUMNS) for row in log)]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def set_field(content: bytes, line: int, column: str, value: bytes) -> bytes:
    """Return the file with one field replaced; lines count from 1, the header."""
    lines = content.split(b"\r\n")
    fields = lines[line - 1].split(b",")
    fields[RAW_COLUMNS.index(column)] = value
    lines[line - 1] = b",".join(fields)
    return b"\r\n".join(lines)


def set_fields(content: bytes, line: int, values: Mapping[str, object]) -> bytes:
    """Return the file with some fields of a line replaced."""
    for column, value in values.items():
        content = set_field(content, line, column, str(value).encode())
    return content


def write_units(folder: Path, files: Mapping[str, bytes]) -> list[Unit]:
    """Write files below a folder and return them as units, in the order given."""
    for key, content in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    units = {unit.key: unit for unit in file_units(folder, files)}
    return [units[key] for key in files]


def read(folder: Path, *contents: bytes) -> Table:
    """Read logs as one chunk of the units 2_games/0.csv, 2_games/1.csv, ..."""
    return encode.read(folder, write_units(folder, {f"2_games/{i}.csv": c for i, c in enumerate(contents)}), {})


def arrays_of(folder: Path, *contents: bytes) -> dict[str, np.ndarray]:
    """Read and encode logs as one chunk."""
    return encode.encode(read(folder, *contents), {})


def column(arrays: Mapping[str, np.ndarray], name: str) -> list[int]:
    """Return one column of X, row by row."""
    return arrays["X"][:, encode.FIELDS["X"].names.index(name)].tolist()


def is_missing(text: str) -> bool:
    """Say whether a field holds nothing."""
    return text in ("", "nan")


def number(text: str) -> int:
    """Return the whole number in a field, 0 for nothing."""
    return 0 if is_missing(text) else int(text.removesuffix(".0"))


def numbers(row: Mapping[str, str], prefix: str, names: Sequence[str] = COLOURS) -> list[int]:
    """Return the whole numbers in the columns of a group, `COLOURS` or `GEMS`."""
    return [number(row[f"{prefix}_{name}"]) for name in names]


def card_values(prefix: str, level: int, bonus: str, vp: int, cost: str) -> dict[str, int]:
    """Return the twelve values of a card that must be one of the 90; `cost` is five digits W B G R K."""
    assert (level, COLOURS.index(bonus), vp, tuple(map(int, cost))) in CARDS
    values = {f"{prefix}_vp": vp, f"{prefix}_level": level}
    values |= {f"{prefix}_cost_{colour}": int(digit) for colour, digit in zip(COLOURS, cost, strict=True)}
    return values | {f"{prefix}_bonus_{colour}": int(colour == bonus) for colour in COLOURS}


def no_card(prefix: str) -> dict[str, str]:
    """Return the twelve values of a card that is not there."""
    return {f"{prefix}_{part}": "nan" for part in CARD_PARTS}
