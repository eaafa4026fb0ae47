"""Simulated bars of futures as CSV files, so that a fresh clone has real raw data.

Options in, files out: ``<instrument>.csv`` for each instrument, in the dialect it asks for. A file is a function of its
instrument's options and the seed; with more bars it begins with the bytes it had. Options::

    seed: 42
    instruments:
      NQ:
        bar_minutes: 30           # length of a bar; divides 60
        bars: 12000               # rows of the file
        start: "2022-01-03"       # first trading day, in quotes
        dialect: excel            # one of dialects.DIALECTS
        price: 15000.0            # of the first bar
        ticks: 4                  # ticks in one unit of price
        roll: 0.0                 # size of unadjusted price jumps four times a year
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.errors import ExpectedError
from stages.core.params import build
from stages.datasets.base import remove_others
from stages.datasets.market.schema import NAME_BYTES
from stages.datasets.market.simulate.dialects import DIALECTS, csv_text
from stages.datasets.market.simulate.walk import Walk, simulate
from stages.runtime.workers import ordered

_WHERE = "simulate.market"
_MINUTES = 60
_MAX_ROLL = 0.5
_MAX_TICKS = 1_000_000


@dataclass(frozen=True)
class Options:
    """The options as they stand in params.yaml."""

    seed: int
    instruments: dict[str, Any]


@dataclass(frozen=True)
class Instrument:
    """The options of one instrument."""

    bars: int
    start: str
    bar_minutes: int = 30
    dialect: str = "iso"
    price: float = 15_000.0
    ticks: int = 4
    roll: float = 0.0


class _Task(NamedTuple):
    path: Path
    walk: Walk
    dialect: str


def write(folder: Path, options: Mapping[str, Any]) -> None:
    """Write a CSV file for each instrument and remove every other file in the folder.

    Parameters
    ----------
    folder
        Made if absent.
    options
        See the module.

    Raises
    ------
    ExpectedError
        If an option is missing, unknown, of a wrong type or out of range.
    """
    tasks = [_Task(folder / f"{walk.name}.csv", walk, dialect) for walk, dialect in checked(options)]
    folder.mkdir(parents=True, exist_ok=True)
    remove_others(folder, {task.path for task in tasks})
    for _ in ordered(_write_one, tasks):
        pass


def checked(options: Mapping[str, Any]) -> list[tuple[Walk, str]]:
    """Return what to simulate and the dialect to write it in, for each instrument.

    Raises
    ------
    ExpectedError
        As `write`.
    """
    settings = build(Options, dict(options), _WHERE)
    _expect(settings.seed >= 0, "seed", settings.seed, "a whole number from 0")
    _expect(bool(settings.instruments), "instruments", settings.instruments, "at least one")
    return [_checked_one(name, entry, settings.seed) for name, entry in settings.instruments.items()]


def _checked_one(name: str, entry: object, seed: int) -> tuple[Walk, str]:
    where = f"instruments.{name}"
    is_plain = isinstance(name, str) and name.isascii() and name.isalnum() and len(name) <= NAME_BYTES
    _expect(is_plain, "instruments", name, f"names of up to {NAME_BYTES} letters and digits")
    if isinstance(entry, dict) and isinstance(entry.get("start"), date):
        raise ExpectedError(f"{_WHERE}.{where}.start: {entry['start']!r}, expected text; put the date in quotes")
    found = build(Instrument, entry, f"{_WHERE}.{where}")
    _expect(found.bars >= 1, f"{where}.bars", found.bars, "a whole number from 1")
    divides = 1 <= found.bar_minutes <= _MINUTES and _MINUTES % found.bar_minutes == 0
    _expect(divides, f"{where}.bar_minutes", found.bar_minutes, "a divisor of 60")
    _expect(found.dialect in DIALECTS, f"{where}.dialect", found.dialect, f"one of {', '.join(DIALECTS)}")
    _expect(found.ticks >= 1, f"{where}.ticks", found.ticks, "a whole number from 1")
    is_on_scale = 1 <= found.price * found.ticks <= _MAX_TICKS
    _expect(is_on_scale, f"{where}.price", found.price, f"from one tick to {_MAX_TICKS:,} ticks")
    _expect(0 <= found.roll <= _MAX_ROLL, f"{where}.roll", found.roll, f"a share from 0 to {_MAX_ROLL}")
    start = _date(found.start, f"{where}.start")
    walk = Walk(name, seed, start, found.bar_minutes, found.bars, found.price, found.ticks, found.roll)
    return walk, found.dialect


def _expect(is_so: bool, key: str, found: object, expected: str) -> None:
    if not is_so:
        raise ExpectedError(f"{_WHERE}.{key}: {found!r}, expected {expected}; correct it")


def _date(text: str, key: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ExpectedError(f'{_WHERE}.{key}: {text!r}, expected a date such as "2022-01-03"; correct it') from None


def _write_one(task: _Task) -> int:
    """Write the file of one instrument; it appears under its name only when it is complete."""
    text = csv_text(simulate(task.walk), task.walk.ticks, DIALECTS[task.dialect])
    partial = task.path.with_name(f".{task.path.stem}.tmp")
    partial.write_bytes(text.encode("ascii"))
    partial.replace(task.path)
    return task.walk.n_bars
