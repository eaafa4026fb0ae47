"""The bytes of units -> their bars: the own ones of the month and those before that features look back to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.units import Unit
from stages.datasets.base import BadUnit, Finding
from stages.datasets.base.raw import read_unit
from stages.datasets.market import schema
from stages.datasets.market.reading import bar_faults, rows, segments
from stages.datasets.market.reading.dialect import FileDialect, from_json
from stages.datasets.market.reading.rows import NoRows, Rows
from stages.datasets.market.reading.segments import Timeline
from stages.datasets.market.reading.times import month_of

REPAIRED = "open or close a rounding outside low to high, which was moved there"
LARGE = "volume of 2**53 or more, held to 53 bits"
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
        float64 (N,), finite; prices above 0 unless `negative_prices`, volume from 0.
    segment
        int64 (N,): time of the first bar of the segment, which may lie before the unit's rows.
    unit
        int32 (N,): index of the unit in the chunk.
    month
        int32 (N,): calendar month (UTC), months since 1970.
    volume_bars
        int32 (N,): how many bars before it the average of the volume looks back on, the same in a unit.
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
    volume_bars: np.ndarray
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
    where = str(raw_dir / unit.sources[-1].path) if unit.sources else str(raw_dir)
    content = read_unit(raw_dir, unit)
    if "too_bad" in unit.context:
        raise BadUnit(f"{where}: {unit.context['too_bad']}")
    table, time, fault, n_before, no_rows = _rows(content, unit)
    line = segments.timeline(time, fault > 0)
    bars, places = _places(line)
    times_of_bars, opened, close = time[places], table.open[places], table.close[places]
    is_jump = segments.jumps(opened, close, options.roll_jump)
    faults = _Faults(table, time, fault, line, bars[is_jump], n_before)
    keep = options.kept(unit.key.rpartition("/")[0])
    chosen = faults.chosen(keep, "unfinished" in unit.context, where) if places is bars else places
    return Bars(
        time=times_of_bars,
        **{name: getattr(table, name)[chosen] for name in schema.VALUES},
        segment=_segments(times_of_bars, line.n_bad, is_jump, unit, options),
        unit=np.full(len(bars), index, np.int32),
        month=month_of(times_of_bars),
        volume_bars=np.full(len(bars), options.bars_of_volume(unit.context["bar_ns"]), np.int32),
        is_own=bars >= n_before,
        line=table.line[chosen] + np.int32(1),
        findings=tuple(faults.findings(index, unit.context.get("backward")) + _lines_left_out(index, no_rows)),
    )


def _places(line: Timeline) -> tuple[np.ndarray, np.ndarray | slice]:
    """Return the row of each bar, and the same to cut columns by: if all rows are bars, in order, they need no copy."""
    bars = line.order[line.bars]
    is_clean = len(bars) == len(line.order) and bool((bars[1:] > bars[:-1]).all())
    return bars, slice(None) if is_clean else bars


def _segments(
    time: np.ndarray, n_bad: np.ndarray, is_jump: np.ndarray, unit: Unit, options: schema.Options
) -> np.ndarray:
    """Return the time of the first bar of the segment of each bar of a unit, int64 (B,)."""
    gap = segments.max_gap(options, unit.context["bar_ns"])
    splits_at = is_jump if options.split_at_rolls else None
    breaks = unit.context.get("breaks")
    is_behind_gap = None if breaks is None else np.isin(time, breaks)
    segment = time[segments.first_bars(segments.starts(time, n_bad, gap, splits_at, is_behind_gap))]
    # The segment of the first bar may begin before the bytes of the unit: then discover says when.
    if len(time) and unit.context["segment_start"] is not None:
        segment[segment == time[0]] = unit.context["segment_start"]
    return segment


def _rows(content: bytes, unit: Unit) -> tuple[Rows, np.ndarray, np.ndarray, int, NoRows]:
    """Return the rows of a unit's bytes, oldest first as far as they are sorted, with time and faults.

    Lines are counted from the first one of its own bytes. The last values are how many rows come before the own ones,
    and the own lines that are no rows.
    """
    tables, times, faults, others = [], [], [], []
    n_lines = n_lines_before = n_before = 0
    pieces = list(_pieces(content, unit))
    for dialect, piece, own in pieces:
        table, no_rows = _piece(piece, dialect, n_lines)
        is_own = no_rows.start >= own
        others.append((no_rows.start[is_own], no_rows.line[is_own], no_rows.why[is_own]))
        n_before += int((table.start < own).sum())
        n_lines_before += rows.n_lines(piece[:own])
        n_lines += rows.n_lines(piece) if len(pieces) > 1 else 0
        time, fault = rows.utc(table.ns, table.is_utc, table.fault, dialect.zone)[:2]
        tables.append(table)
        times.append(time)
        faults.append(fault)
    joined = rows.join(tables)
    table = replace(joined, line=joined.line - np.int32(n_lines_before))
    time, fault = (columns[0] if len(columns) == 1 else np.concatenate(columns) for columns in (times, faults))
    no_rows = NoRows(*map(np.concatenate, zip(*others, strict=True)))
    no_rows = replace(no_rows, line=no_rows.line - np.int32(n_lines_before))
    return table, _filled(time, fault, n_before), fault, n_before, no_rows


def _piece(piece: bytes, dialect: FileDialect, n_lines: int) -> tuple[Rows, NoRows]:
    """Return the rows of some bytes, oldest first, and the lines that are none, behind so many lines of others."""
    table, _, no_rows = rows.parse(piece, dialect)
    table = replace(table, line=table.line + np.int32(n_lines))
    if dialect.is_newest_first:
        table = table.at(np.arange(len(table.ns))[::-1])
    return table, replace(no_rows, line=no_rows.line + np.int32(n_lines))


def _filled(time: np.ndarray, fault: np.ndarray, n_before: int) -> np.ndarray:
    """Return times, those that cannot be read filled from their neighbours, of own rows and those before apart."""
    is_time = fault & bar_faults.NO_TIME == 0
    if is_time.all():
        return time
    parts = slice(n_before), slice(n_before, None)
    return np.concatenate([segments.fill(time[part], is_time[part]) for part in parts])


def _lines_left_out(unit: int, no_rows: NoRows) -> list[Finding]:
    """Return a finding for each reason why lines are no rows."""
    found = {why: no_rows.line[no_rows.why == why] for why in sorted(set(no_rows.why.tolist()))}
    return [Finding(unit, rows.NO_ROWS[why], len(lines), int(lines.min()) + 1) for why, lines in found.items()]


def _is_as_it_lies(content: bytes, unit: Unit) -> bool:
    """Say whether the bytes of a unit are of one file and each of its sources ends with a line."""
    ends = np.cumsum([(source.stop or 0) - source.start for source in unit.sources])
    is_one = len({source.path for source in unit.sources}) == 1
    return is_one and all(content[end - 1 : end] == b"\n" for end in ends.tolist())


def _pieces(content: bytes, unit: Unit) -> Iterator[tuple[FileDialect, bytes, int]]:
    """Yield the bytes of a unit that can be read together, with how, and how many of them come before its own ones.

    Those are the bytes of one file; of one that is newest first the own ones apart, since they are turned round. A last
    line without its end is given one.
    """
    dialects = [from_json(entry) for entry in unit.context["dialects"]]
    reads = unit.context.get("reads", [0] * len(unit.sources))
    place, border = 0, int(unit.context["own"])
    if len(dialects) == 1 and not dialects[0].is_newest_first and _is_as_it_lies(content, unit):
        yield dialects[0], content, border
        return
    runs: list[tuple[tuple[str, int, bool], list[bytes], int]] = []
    for source, index in zip(unit.sources, reads, strict=True):
        is_before = place < border
        kind = source.path, index, is_before and dialects[index].is_newest_first
        text = content[place : place + (source.stop or 0) - source.start]
        place += len(text)
        text = text if text.endswith(b"\n") else text + b"\n"
        last, texts, own = runs.pop() if runs and runs[-1][0] == kind else (kind, [], 0)
        runs.append((last, [*texts, text], own + len(text) * is_before))
    for (_, index, _), texts, own in runs:
        yield dialects[index], texts[0] if len(texts) == 1 else b"".join(texts), own


@dataclass(frozen=True)
class _Faults:
    """What is wrong with the own rows of a unit: those from `n_before` on."""

    table: Rows
    time: np.ndarray
    fault: np.ndarray
    timeline: Timeline
    jumps: np.ndarray
    n_before: int

    def findings(self, unit: int, backward: Sequence[int] | None) -> list[Finding]:
        """Return a finding for each reason that applies; `backward` is what discover counted, count and line."""
        seen = int(np.bitwise_or.reduce(self.fault))
        chosen = {reason: np.flatnonzero(self.fault & bit) for bit, reason in bar_faults.REASONS.items() if seen & bit}
        if len(self.timeline.repeated):
            _, left_out, is_same = self._repeated()
            chosen |= {SAME: left_out[is_same], DIFFERENT: left_out[~is_same]}
        chosen |= {JUMP: self.jumps}
        is_good = self.fault == 0
        for reason, is_so in ((REPAIRED, self.table.is_repaired), (LARGE, self.table.volume >= bar_faults.EXACT)):
            chosen |= {reason: np.flatnonzero(is_so & is_good)} if is_so.any() else {}
        own = {reason: places[places >= self.n_before] for reason, places in chosen.items()}
        result = [
            Finding(unit, reason, len(places), int(self.table.line[places.min()]) + 1)
            for reason, places in own.items()
            if len(places)
        ]
        return result + ([Finding(unit, BACKWARD, count=backward[0], line=backward[1])] if backward else [])

    def chosen(self, keep: schema.Keep | None, is_unfinished: bool, where: str) -> np.ndarray:
        """Return the row that each bar has its values from, int64 (B,).

        Raises
        ------
        BadUnit
            When rows of one time have other values, and it is not said which of them counts.
        """
        line = self.timeline
        chosen = line.order[line.bars]
        if not len(line.repeated):
            return chosen
        stays, left_out, is_same = self._repeated()
        is_same = is_same | (left_out < self.n_before)  # those are told with their own month
        # Which bar each row that is left out is of, and the last row of each bar.
        bar = np.searchsorted(line.bars, line.repeated) - 1
        last = chosen.copy()
        last[bar] = left_out
        if keep == "last":
            return last
        if keep is None and is_unfinished:  # the last bar may have been running when its first row was written
            is_end = bar == len(chosen) - 1
            chosen[-1] = last[-1]
            is_same = is_same | is_end
        if keep == "first" or is_same.all():
            return chosen
        wrong = int(np.flatnonzero(~is_same)[0])
        time = np.datetime_as_string(self.time_of(left_out[wrong]), unit="s")
        first, second = (int(self.table.line[row]) + 1 for row in (stays[wrong], left_out[wrong]))
        raise BadUnit(
            f"{where}: {int((~is_same).sum()):,} rows have the time of another one and other values, the first {time}Z "
            f"(lines {first} and {second} of the month's own), expected one row a bar; correct the file, or set "
            f"{schema.WHERE}.keep to first or last"
        )

    def time_of(self, row: int) -> np.datetime64:
        """Return the time of a row, UTC."""
        return np.datetime64(int(self.time[row]), "ns")

    def _repeated(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return of each row whose time is there already the first row of that time, itself, and if they are equal."""
        line = self.timeline
        left_out = line.order[line.repeated]
        stays = line.order[line.bars[np.searchsorted(line.bars, line.repeated) - 1]]
        columns = [getattr(self.table, name) for name in schema.VALUES]
        is_same = np.logical_and.reduce([column[left_out] == column[stays] for column in columns])
        return stays, left_out, is_same
