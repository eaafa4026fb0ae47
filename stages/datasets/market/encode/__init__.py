"""OHLCV bars -> typed arrays; see `stages.datasets.base` for the interface.

One row is one bar. Features are computed once along a segment, in float64, and stored as float32; windows are cut later
as views. A unit (a month) comes with a halo, the bars before it that its features look back on, so that a row has the
same bits whichever month it is computed with.

The volume's moving average has no end to its past. It looks back on the last `volume_bars` bars of the instrument,
1,000 by default, whatever segments they lie in. From an endless one it differs by 0.98**1000, less than 2e-9, of what
the average of all bars before these differs from it; where the instrument has fewer bars, it begins with the first one
and is the endless one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.base import Field, Finding, Unit, group_id
from stages.datasets.market.encode import strategic, tactical
from stages.datasets.market.encode.bars import Bars, read_bars
from stages.datasets.market.schema import (
    LOOKBACK,
    NAME_BYTES,
    STRATEGIC_LOOKBACK,
    TACTICAL_LOOKBACK,
    Options,
    parse_options,
)

CHUNK_UNITS = 8  # 50,000 bars of 5 minutes: 16 columns of a chunk stay within the processor's cache
LOOKBACKS = {"strategic": STRATEGIC_LOOKBACK, "tactical": TACTICAL_LOOKBACK}
KEYS = {
    "open": "first price of the bar, above 0 unless negative_prices is set",
    "high": "highest price of the bar",
    "low": "lowest price of the bar",
    "close": "last price of the bar",
    "volume": "contracts traded, 0 or more",
}


def _fields() -> dict[str, Field]:
    names = {"strategic": tuple(strategic.COLUMNS), "tactical": tuple(tactical.COLUMNS)}
    categorical = strategic.CATEGORICAL | tactical.CATEGORICAL
    fields = {}
    for feature, columns in names.items():
        scaled = tuple(column not in categorical for column in columns)
        doc = f"features of a bar, of bars up to it; the columns are described in {feature}.py; 0 in the warm-up"
        fields[feature] = Field("float32", (len(columns),), "feature", doc, columns, scaled)
        fields[f"valid_{feature}"] = Field("uint8", (), "valid", f"1 if {feature} has all bars it looks back on")
    fields["time"] = Field("int64", (), "time", "opening of the bar, ns since 1970 UTC")
    fields["segment"] = Field("int64", (), "segment", "opening of the first bar of its segment, ns since 1970 UTC")
    fields["instrument"] = Field(f"S{NAME_BYTES}", (), "series", "what is traded, ASCII")
    doc = "bars of the instrument back to the oldest one that a feature of this bar depends on"
    fields["lookback"] = Field("int32", (), "lookback", doc)
    fields["line"] = Field("int32", (), "key", "line, from 1, in the unit's own bytes")
    return fields | {name: Field("float64", (), "key", doc) for name, doc in KEYS.items()}


FIELDS = _fields()


@dataclass(frozen=True)
class Table:
    """The bars of a chunk of units, and the units' keys."""

    bars: Bars
    keys: tuple[str, ...]


def read(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Table:
    """Read and check the bars of some units with their halos.

    Raises
    ------
    BadUnit
        When too many rows of a file are bad.
    ExpectedError
        When a raw file changed since discover.
    """
    return Table(read_bars(raw_dir, units, options), tuple(unit.key for unit in units))


def findings(table: Table) -> list[Finding]:
    """Return what was left out of the units of a table."""
    return list(table.bars.findings)


def encode(table: Table, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of the own bars of some units.

    Parameters
    ----------
    table
        What `read` returned.
    options
        Of the dataset.

    Returns
    -------
    dict
        Every field of `FIELDS` with N rows, and the group arrays. A group is the bars of one segment in one unit.
    """
    bars, halo = table.bars, _halo(table.bars)
    checked = parse_options(options)
    # The volume's average is over all rows; everything else needs the last of the halo only.
    ratio = _volume_ratio(bars, halo, checked.scale)
    near = np.arange(len(bars.time)) >= halo.first_own - LOOKBACK
    rows = {name: getattr(bars, name)[near] for name in (*KEYS, "time", "segment", "line", "unit", "is_own")}
    is_positive = _are_positive(rows, halo.position[near]) if checked.negative_prices else np.ones(near.sum(), bool)
    features = _features(rows, ratio[near], checked)
    # From here on the own rows.
    own = rows.pop("is_own")
    arrays = {name: array[own] for name, array in rows.items()}
    unit = arrays.pop("unit")
    position, average = halo.position[near][own], np.minimum(halo.age, bars.volume_bars)[near][own]
    for name, lookback in LOOKBACKS.items():
        arrays |= _with_validity(name, features[name][own], (position >= lookback) & is_positive[own])
    arrays["lookback"] = np.maximum(np.minimum(position, LOOKBACK), average).astype(np.int32)
    arrays["instrument"] = _instruments(table.keys)[unit]
    return arrays | _groups(unit, arrays["segment"], table.keys)


def _with_validity(name: str, values: np.ndarray, is_valid: np.ndarray) -> dict[str, np.ndarray]:
    """Return a feature as it is stored, 0 where it is not valid, and where it is."""
    stored = values.astype(np.float32)
    stored[~is_valid] = 0.0
    return {name: stored, f"valid_{name}": is_valid.astype(np.uint8)}


def _features(rows: dict[str, np.ndarray], volume_ratio: np.ndarray, options: Options) -> dict[str, np.ndarray]:
    """Return both features of some rows, float64 (N, columns); prices below 0 make them NaN without a warning."""
    with np.errstate(all="ignore" if options.negative_prices else "warn"):
        return {
            "strategic": strategic.columns(rows["close"], rows["volume"]),
            "tactical": tactical.scaled(tactical.raw(rows, options.scale), volume_ratio, rows["close"]),
        }


def _instruments(keys: Sequence[str]) -> np.ndarray:
    """Return the name of each unit's instrument, which its key begins with, bytes (U,)."""
    return np.array([key.rpartition("/")[0] for key in keys], f"S{NAME_BYTES}")


@dataclass(frozen=True)
class _Halo:
    """Of each row: bars before it in its segment, bars before it in its unit, first own row of its unit."""

    position: np.ndarray
    age: np.ndarray
    first_own: np.ndarray


def _halo(bars: Bars) -> _Halo:
    row = np.arange(len(bars.time))
    first_in_unit = _first_rows(bars.unit)
    first_in_run = _first_rows(bars.unit, bars.segment)
    first_own = first_in_unit + _count(bars.unit, ~bars.is_own)
    return _Halo(row - first_in_run, row - first_in_unit, first_own)


def _volume_ratio(bars: Bars, halo: _Halo, scale: str) -> np.ndarray:
    """Return the volume of each bar against its average, float64 (N,); units may look back differently far."""
    ratio = np.ones(len(bars.time))
    for n_bars in np.unique(bars.volume_bars).tolist():
        is_so = bars.volume_bars == n_bars
        ratio[is_so] = tactical.volume_ratio(bars.volume[is_so], halo.age[is_so], n_bars, scale)
    return ratio


def _are_positive(rows: Mapping[str, np.ndarray], position: np.ndarray) -> np.ndarray:
    """Say of each row whether it and all that features look back on have prices above 0, bool (n,)."""
    is_bad = np.minimum(rows["low"], np.minimum(rows["open"], rows["close"])) <= 0
    row = np.arange(len(is_bad))
    last = np.maximum.accumulate(np.where(is_bad, row, -1))
    return (last < 0) | (row - last > np.minimum(position, LOOKBACK))


def _count(unit: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """Return for each row how many rows of its unit are counted, int64 (n,)."""
    n_units = int(unit.max(initial=-1)) + 1
    return np.bincount(unit[is_counted], minlength=n_units)[unit]


def _first_rows(*names: np.ndarray) -> np.ndarray:
    """Return for each row the first row of its run, int64 (n,); in a run all arrays stay the same."""
    is_first = np.ones(len(names[0]), bool)
    is_first[1:] = np.logical_or.reduce([array[1:] != array[:-1] for array in names])
    return np.maximum.accumulate(np.where(is_first, np.arange(len(is_first)), 0))


def _groups(unit: np.ndarray, segment: np.ndarray, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the group arrays of rows that lie in these units (index) and segments."""
    row = np.arange(len(unit))
    first = np.flatnonzero(_first_rows(unit, segment) == row)
    ids = []
    for index in first:
        instrument, _, month = keys[unit[index]].rpartition("/")
        ids.append(group_id(f"market {instrument} {segment[index]} {month}"))
    return {
        "group_id": np.array(ids, np.uint64),
        "group_offsets": np.append(first, len(unit)).astype(np.int64),
        "source": unit[first].astype(np.int32),
    }


def line(row: int) -> int:
    """Return the line of the unit's own bytes that row `row` came from, if no line before it was left out."""
    return row + 2
