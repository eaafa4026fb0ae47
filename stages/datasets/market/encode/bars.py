"""The bytes of units -> their bars: the own ones of the month and those before that features look back to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.units import Unit
from stages.datasets.base import BadUnit, Finding
from stages.datasets.base.raw import read_unit
from stages.datasets.market import schema
from stages.datasets.market.reading import rows, segments
from stages.datasets.market.reading.header import header_of
from stages.datasets.market.reading.rows import Rows
from stages.datasets.market.reading.segments import Timeline
from stages.datasets.market.reading.times import month_of

SAME, DIFFERENT = "time there already, same values", "time there already, other values"
BACKWARD = "earlier than the row before"
JUMP = "roll jump"


@dataclass(frozen=True)
class Bars:
    """The bars of a chunk of units, N in all.

    The rows of a unit are contiguous, in the order of the units, sorted by time, each time once.

    Attributes
    ----------
    time
        int64 (N,) ns UTC at which the bar opens.
    open, high, low, close, volume
        float64 (N,), finite; prices above 0, volume from 0.
    segment
        int64 (N,): time of the first bar of the segment, which may lie before the unit's rows.
    unit
        int32 (N,): index of the unit in the chunk.
    month
        int32 (N,): calendar month (UTC), months since 1970.
    is_own
        bool (N,): a bar of the unit's month; the others are there to look back to.
    line
        int32 (N,): line from 1; of an own bar in the unit's own bytes, of another one in those before them.
    findings
        What was left out of the own rows, or is odd in them.
    """

    time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    segment: np.ndarray
    unit: np.ndarray
    month: np.ndarray
    is_own: np.ndarray
    line: np.ndarray
    findings: tuple[Finding, ...]


def read_bars(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> Bars:
    """Read the bars of a chunk of units.

    Parameters
    ----------
    raw_dir
        The raw folder.
    units
        What `find` returned; at least one.
    options
        The options of the dataset.

    Raises
    ------
    BadUnit
        When too many rows of the unit's file are bad.
    ExpectedError
        When the bytes are not those that discover saw.
    """
    checked = schema.parse_options(options)
    parts = [_unit_bars(raw_dir, unit, index, checked) for index, unit in enumerate(units)]
    names = [field.name for field in fields(Bars) if field.name != "findings"]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Bars(**columns, findings=tuple(found for part in parts for found in part.findings))


def _unit_bars(raw_dir: Path, unit: Unit, index: int, options: schema.Options) -> Bars:
    """Return the bars of one unit."""
    where = str(raw_dir / unit.sources[0].path)
    content = read_unit(raw_dir, unit)
    if "too_bad" in unit.context:
        raise BadUnit(f"{where}: {unit.context['too_bad']}")
    instrument = unit.key.rpartition("/")[0]
    table, n_before = _rows(content, unit, options, where)
    time, fault = _utc(table, n_before, options.zone(instrument))
    line = segments.timeline(time, fault > 0)
    bars = line.order[line.bars]
    times_of_bars, opened, close = time[bars], table.open[bars], table.close[bars]
    is_jump = segments.jumps(opened, close, options.roll_jump)
    splits_at = is_jump if options.split_at_rolls else None
    faults = _Faults(table, fault, line, bars[is_jump], n_before)
    return Bars(
        time=times_of_bars,
        open=opened,
        high=table.high[bars],
        low=table.low[bars],
        close=close,
        volume=table.volume[bars],
        segment=_segments(times_of_bars, line.n_bad, splits_at, unit, options),
        unit=np.full(len(bars), index, np.int32),
        month=month_of(times_of_bars),
        is_own=bars >= n_before,
        line=table.line[bars] + np.int32(1),
        findings=tuple(faults.findings(index, unit.context.get("backward"))),
    )


def _segments(
    time: np.ndarray, n_bad: np.ndarray, is_jump: np.ndarray | None, unit: Unit, options: schema.Options
) -> np.ndarray:
    """Return the time of the first bar of the segment of each bar of a unit, int64 (B,)."""
    gap = segments.max_gap(options, unit.context["bar_ns"])
    segment = time[segments.first_bars(segments.starts(time, n_bad, gap, is_jump))]
    # The segment of the first bar may begin before the bytes of the unit: then discover says when.
    if len(time) and unit.context["segment_start"] is not None:
        segment[segment == time[0]] = unit.context["segment_start"]
    return segment


def _rows(content: bytes, unit: Unit, options: schema.Options, where: str) -> tuple[Rows, int]:
    """Return the rows of a unit's bytes, lines counted from its own first one, and how many come before its own."""
    header_source = unit.sources[0]
    first, own = (header_source.stop or 0) - header_source.start, int(unit.context["own"])
    header = header_of(content[:first], where)
    is_month_first = options.date_order(unit.key.rpartition("/")[0]) == schema.MONTH_FIRST
    before = content[first:own]
    if before and not before.endswith(b"\n"):  # the last line of a file that is not in order
        before += b"\n"
    table = rows.parse(before + content[own:], header, is_month_first)[0]
    table = replace(table, line=table.line - np.int32(before.count(b"\n")))
    return table, int(np.searchsorted(table.start, len(before)))


def _utc(table: Rows, n_before: int, zone: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the time of each row in UTC, filled within the rows before and the own ones, and its faults."""
    time, fault = rows.utc(table.ns, table.is_utc, table.fault, zone)[:2]
    is_time = fault & rows.NO_TIME == 0
    pieces = [segments.fill(time[part], is_time[part]) for part in (slice(n_before), slice(n_before, None))]
    return np.concatenate(pieces), fault


@dataclass(frozen=True)
class _Faults:
    """What is wrong with the own rows of a unit: those from `n_before` on."""

    table: Rows
    fault: np.ndarray
    timeline: Timeline
    jumps: np.ndarray
    n_before: int

    def findings(self, unit: int, backward: Sequence[int] | None) -> list[Finding]:
        """Return a finding for each reason that applies; `backward` is what discover counted, count and line."""
        found = {reason: self.fault & bit > 0 for bit, reason in rows.REASONS.items() if (self.fault & bit).any()}
        chosen = {reason: np.flatnonzero(is_wrong) for reason, is_wrong in found.items()}
        chosen |= self._repeated() | {JUMP: self.jumps}
        own = {reason: places[places >= self.n_before] for reason, places in chosen.items()}
        result = [
            Finding(unit, reason, len(places), int(self.table.line[places.min()]) + 1)
            for reason, places in own.items()
            if len(places)
        ]
        return result + ([Finding(unit, BACKWARD, count=backward[0], line=backward[1])] if backward else [])

    def _repeated(self) -> dict[str, np.ndarray]:
        """Return the rows whose time is there already, by whether they say the same as the row that stays."""
        line = self.timeline
        left_out = line.order[line.repeated]
        stays = line.order[line.bars[np.searchsorted(line.bars, line.repeated) - 1]]
        columns = [getattr(self.table, name) for name in schema.VALUES]
        is_same = np.logical_and.reduce([column[left_out] == column[stays] for column in columns])
        return {SAME: left_out[is_same], DIFFERENT: left_out[~is_same]}
