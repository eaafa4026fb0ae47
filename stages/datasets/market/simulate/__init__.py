"""Simulated bars of futures as CSV files, so that a fresh clone has real raw data.

Settings in, files out: ``<instrument>.csv`` for each instrument, in the dialect it asks for. A file is a function of
its instrument's settings and the seed; with more bars it begins with the bytes it had. Settings::

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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from stages.core.params import AtLeast, Between, Fault, Must, build
from stages.datasets.base import remove_others
from stages.datasets.market.schema import NAME_BYTES
from stages.datasets.market.simulate.dialects import DIALECTS, csv_text
from stages.datasets.market.simulate.walk import Walk, simulate
from stages.runtime.workers import ordered

_MINUTES = 60
_MAX_ROLL = 0.5
_MAX_TICKS = 1_000_000


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _divides_an_hour(minutes: int) -> bool:
    return 1 <= minutes <= _MINUTES and _MINUTES % minutes == 0


@dataclass(frozen=True)
class InstrumentSettings:
    """The settings of one instrument."""

    bars: Annotated[int, AtLeast(1)]
    start: Annotated[str, Must(_is_date, 'a date such as "2022-01-03"')]
    bar_minutes: Annotated[int, Must(_divides_an_hour, "a divisor of 60")] = 30
    dialect: Annotated[str, Must(DIALECTS.__contains__, f"one of {', '.join(DIALECTS)}")] = "iso"
    price: float = 15_000.0
    ticks: Annotated[int, AtLeast(1)] = 4
    roll: Annotated[float, Between(0, _MAX_ROLL)] = 0.0

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the price, counted in ticks."""
        if not 1 <= self.price * self.ticks <= _MAX_TICKS:
            yield Fault("price", f"{self.price}, expected from one tick to {_MAX_TICKS:,} ticks")


@dataclass(frozen=True)
class Settings:
    """The settings as they stand in params.yaml."""

    seed: Annotated[int, AtLeast(0)]
    instruments: Annotated[dict[str, InstrumentSettings], Must(bool, "at least one")]

    def faults(self) -> Iterator[Fault]:
        """Yield the names that would not do as those of files."""
        for name in self.instruments:
            if not (name.isascii() and name.isalnum() and len(name) <= NAME_BYTES):
                yield Fault("instruments", f"{name!r}, expected names of up to {NAME_BYTES} letters and digits")


class _Task(NamedTuple):
    path: Path
    walk: Walk
    dialect: str


def write(folder: Path, options: Mapping[str, Any]) -> dict[str, int]:
    """Write a CSV file for each instrument and remove every other file in the folder.

    Parameters
    ----------
    folder
        Made if absent.
    options
        See the module.

    Returns
    -------
    dict of str to int
        The number of files and of their bars, for the log.

    Raises
    ------
    ExpectedError
        If a setting is missing, unknown, of a wrong type or out of range.
    """
    settings = parse_settings(options)
    tasks = [_task(folder, name, entry, settings.seed) for name, entry in settings.instruments.items()]
    folder.mkdir(parents=True, exist_ok=True)
    remove_others(folder, {task.path for task in tasks})
    return {"n_files": len(tasks), "n_bars": sum(ordered(_write_one, tasks))}


def n_files(options: Mapping[str, Any]) -> int:
    """Return how many instruments: each has a file."""
    return len(parse_settings(options).instruments)


def parse_settings(entry: Mapping[str, Any]) -> Settings:
    """Return the settings, checked.

    Raises
    ------
    ParamsError
        As `write`.
    """
    return build(Settings, dict(entry), "simulate.market")


def _task(folder: Path, name: str, entry: InstrumentSettings, seed: int) -> _Task:
    start = date.fromisoformat(entry.start)
    walk = Walk(name, seed, start, entry.bar_minutes, entry.bars, entry.price, entry.ticks, entry.roll)
    return _Task(folder / f"{name}.csv", walk, entry.dialect)


def _write_one(task: _Task) -> int:
    """Write the file of one instrument; it appears under its name only when it is complete."""
    text = csv_text(simulate(task.walk), task.walk.ticks, DIALECTS[task.dialect])
    partial = task.path.with_name(f".{task.path.stem}.tmp")
    partial.write_bytes(text.encode("ascii"))
    partial.replace(task.path)
    return task.walk.n_bars
