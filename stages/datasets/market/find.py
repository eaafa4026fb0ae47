"""Which months of which instruments a raw folder of files of bars holds, and which bytes each of them needs.

Each file is recognised by its first lines (`reading.recognise`). Files of one instrument, such as monthly dumps, are
read as one text, in the order of time. One pass over it in blocks of a few MB: of rows in the order of time some
numbers a month stay, whatever their number (`reading.months`); a second pass is needed where the first rows have
another step between bars than most. Of rows out of order, and of bars of a day and longer, some 100 bytes a row stay
(`reading.disorder`).

The sources of a unit are the rows before its month that its bars depend on, and its own rows (of a file that is not
sorted several ranges). Its context says what these bytes do not:

- ``dialects``: how the files are read, see `reading.dialect`; and, if there are several, ``reads``: which of them each
  source is read by;
- ``own``: how many bytes come before the own rows;
- ``segment_start``: time (ns UTC) of the first bar of the segment that the first bar of these bytes belongs to, or
  null when it is that bar;
- ``bar_ns``: the commonest step between bars of the instrument;
- ``breaks``, for bars of a day and longer: the times of the bars among these that come behind a gap;
- ``unfinished``, if so: the last bar of the instrument is among the own ones, with several rows;
- ``backward``, if any: how many own rows are earlier than the row before, and the line of the first one;
- ``too_bad``, if so: why the file as a whole is not to be used.

Rows before the month go back as many bars of the instrument as features look back on, 1,000 by default, over segments
(`schema.Options.halo`). So bars that are appended change the last month only, and an edit changes its month and those
whose first bar has it among the last 1,000.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit, digest_of
from stages.datasets.base.compressed import plain_name
from stages.datasets.base.raw import content_bytes, source_pieces
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.market import schema
from stages.datasets.market.reading import disorder, exchanges, idle, layouts, names, segments, trading_days
from stages.datasets.market.reading.dialect import FileDialect
from stages.datasets.market.reading.months import Flow, Month, OutOfOrder, Span
from stages.datasets.market.reading.names import FileName
from stages.datasets.market.reading.pieces import Faults, Part, Pieces
from stages.datasets.market.reading.recognise import recognise
from stages.datasets.market.schema import Options
from stages.runtime.notes import working_on

logger = logging.getLogger("batchwise")

LEAST_SHARE = 0.5  # of the steps that are the commonest one
TABLES, TEXTS = (".csv",), (".txt", ".tsv", ".itxt")
NAMES = FileNames((*TABLES, *TEXTS), "NQ.csv")
SOME = 3  # names that are told of many


@dataclass(frozen=True)
class Scanned:
    """What is known of an instrument when all its rows were seen: files, months, step between bars in ns, faults.

    `seen` is what else was seen in them.
    """

    parts: Sequence[Part]
    months: list[Month]
    bar_ns: int
    faults: Faults
    seen: idle.Seen


@dataclass(frozen=True)
class ScannedDays:
    """An instrument with bars of a day or longer, of which all rows are held until the calendar is known."""

    parts: Sequence[Part]
    rows: disorder.FileRows
    time: np.ndarray
    bar_ns: int
    faults: Faults
    seen: idle.Seen


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit for each month of each instrument, keyed like ``NQ/2024-03``.

    Parameters
    ----------
    raw_dir
        The raw folder; files lie in it or in folders below. One that cannot be used is a unit without a digest, keyed
        by its path.
    options
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no bar, files that do not belong together hold one instrument, or settings name an instrument or
        a format that is not there.
    """
    checked = schema.parse_options(options)
    _refuse_formats(checked)
    bad: dict[str, str] = {}
    found = _files(raw_dir, checked, bad)
    _refuse_settings_of_nothing(checked, found)
    notes: dict[str, list[str]] = {}
    scanned: dict[str, Scanned | ScannedDays] = {}
    for instrument, files in found.items():
        try:
            one = _scan(raw_dir, files, instrument, checked, notes)
        except BadUnit as error:
            bad |= dict.fromkeys(files, str(error))
        else:
            scanned |= {instrument: one} if one else {}
    _tell(notes, scanned)
    idle.tell(checked, {name: idle.Read(one.parts, one.seen, _has_days(one)) for name, one in scanned.items()})
    known = _trading_days({name: one.time for name, one in scanned.items() if isinstance(one, ScannedDays)}, checked)
    units = [unit for name, one in scanned.items() for unit in _units(raw_dir, name, one, known.get(name), checked)]
    units += [_bad_unit(raw_dir, path, reason) for path, reason in sorted(bad.items())]
    if not units:
        n_files = sum(map(len, found.values()))
        raise ExpectedError(f"{raw_dir}: no bars in {n_files} CSV files, expected files like NQ.csv; add some")
    return units


def _files(raw_dir: Path, options: Options, bad: dict[str, str]) -> dict[str, list[str]]:
    """Return the files of each instrument, by their paths; those whose name says none are added to `bad`."""
    found: dict[str, dict[str, FileName]] = {}
    for path in raw_files(raw_dir, NAMES):
        try:
            name = names.name_of(plain_name(path), options.instrument)
        except BadUnit as error:
            bad[path] = f"{raw_dir}/{error}"
        else:
            found.setdefault(name.instrument, {})[path] = name
    for instrument, files in found.items():
        _refuse_strangers(raw_dir, instrument, files, options)
    return {instrument: list(files) for instrument, files in found.items()}


def _refuse_strangers(raw_dir: Path, instrument: str, files: Mapping[str, FileName], options: Options) -> None:
    """Refuse files of one name that are no parts of one series: other folders, other bars, no period in the name."""
    first, *others = files
    is_series = all(name.is_period for name in files.values())
    bars = sorted({name.bars for name in files.values()})
    folders = {path.rpartition("/")[0] for path in files}
    if not others or (is_series and len(bars) == 1 and (len(folders) == 1 or options.instrument)):
        return
    other = f", with bars of {' and '.join(map(repr, bars))}" if len(bars) > 1 else ""
    raise ExpectedError(
        f"{raw_dir}: {first!r} and {others[0]!r} both hold {instrument}{other}, expected one file of an instrument, or "
        f"files of months in one folder; join or rename them, or set {schema.WHERE}.instrument, such as "
        "'{name}-{bars}-{year}-{month}'"
    )


def _refuse_formats(options: Options) -> None:
    """Refuse formats that are not known, and settings beside one that has its own."""
    for instrument, settings in options.instruments.items():
        known = [*options.formats, *layouts.BY_ID]
        if settings.format and settings.format not in known:
            near = get_close_matches(settings.format, known, 1)
            raise ExpectedError(
                f"{schema.WHERE}.instruments.{instrument}.format: {settings.format!r}, expected one of "
                f"{', '.join(known)}{f'; did you mean {near[0]!r}?' if near else ''}"
            )
        idle.refuse_columns(instrument, settings)
    same = sorted(set(options.formats) & set(layouts.BY_ID))
    if same:
        raise ExpectedError(
            f"{schema.WHERE}.formats.{same[0]}: a known layout has this name, expected another; rename it"
        )


def _refuse_settings_of_nothing(options: Options, found: Iterable[str]) -> None:
    """Refuse settings of an instrument that no file holds; they would be ignored."""
    known = sorted(found)
    for instrument in options.instruments:
        if instrument in known:
            continue
        lower = {name.lower(): name for name in known}
        near = [name for name in known if name.lower().startswith(instrument.lower())]
        near = near or [lower[name] for name in get_close_matches(instrument.lower(), lower, 1, 0.5)]
        hint = f"; did you mean {near[0]!r}?" if near else "; remove it, or add its file"
        some = ", ".join(known[:10]) or "no instrument"
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        raise ExpectedError(
            f"{schema.WHERE}.instruments.{instrument}: no file holds it, expected one of {some}{more}{hint}"
        )


def _bad_unit(raw_dir: Path, path: str, reason: str) -> Unit:
    return Unit(path, (Source(path),), "", {"bad": reason.removeprefix(f"{raw_dir}/")})


def _scan(
    raw_dir: Path, files: Sequence[str], instrument: str, options: Options, notes: dict[str, list[str]]
) -> Scanned | ScannedDays | None:
    """Read the files of an instrument; None, with a warning, if they have no row."""
    parts = _parts(raw_dir, files, instrument, options, notes)
    working_on(str(raw_dir / files[0]))
    found = None
    if parts:
        try:
            found = _in_order(raw_dir, parts, instrument, options)
        except OutOfOrder:
            found = _out_of_order(raw_dir, parts, instrument, options)
    if found is None:
        logger.warning("%s: no rows, expected one a bar; fill or remove the file", raw_dir / files[0])
    return found


def _parts(
    raw_dir: Path, files: Sequence[str], instrument: str, options: Options, notes: dict[str, list[str]]
) -> list[Part]:
    """Return the files of an instrument that have a line, in the order of time, with how they are read."""
    found = []
    for path in files:
        working_on(str(raw_dir / path))
        recognised = recognise(raw_dir, path, instrument, options)
        if recognised is not None:
            found.append((recognised.first_ns, path, recognised.dialect))
            if recognised.note:
                notes.setdefault(recognised.note, []).append(path)
    parts: list[Part] = []
    for _, path, dialect in sorted(found, key=lambda one: one[:2]):
        base = parts[-1].base + parts[-1].size if parts else 0
        parts.append(Part(path, dialect, base, content_bytes(raw_dir, path)))
    return parts


def _in_order(
    raw_dir: Path, parts: Sequence[Part], instrument: str, options: Options, bar_ns: int | None = None
) -> Scanned | ScannedDays | None:
    """Read rows that are in the order of time; `bar_ns` is the commonest step between bars, if it is known."""
    if len({part.dialect.zone for part in parts}) > 1:
        raise OutOfOrder
    pieces, flow = Pieces(raw_dir, parts, instrument, options), Flow(options, parts[0].dialect.zone, bar_ns)
    for piece in pieces:
        flow.add(piece)
    flow.end(pieces.stop)
    if not pieces.n_rows:
        return None
    if not flow.has_time:
        raise BadUnit(f"{pieces.where}: {flow.faults}, expected times; correct the file")
    found, share = flow.steps.commonest()
    if trading_days.are_long(found):
        return _out_of_order(raw_dir, parts, instrument, options)
    _refuse_irregular(found, share, options, pieces.where)
    if not flow.is_sure():
        return _in_order(raw_dir, parts, instrument, options, found)
    return Scanned(pieces.parts_read(), flow.months, found, flow.faults, idle.seen_in(pieces))


def _out_of_order(raw_dir: Path, parts: Sequence[Part], instrument: str, options: Options) -> Scanned | ScannedDays:
    """Read rows in any order; what helps if memory does not hold them is to sort the file."""
    working_on(f"{raw_dir / parts[0].path}, out of order: sorted by time it would need little,")
    pieces = Pieces(raw_dir, parts, instrument, options)
    rows, dialects, faults = disorder.gather(pieces)
    parts = [replace(part, dialect=dialect) for part, dialect in zip(pieces.parts_read(), dialects, strict=True)]
    time = np.unique(rows.time[rows.fault == 0])
    bar_ns, share = segments.bar_length(time)
    if options.max_gap_minutes is None and trading_days.are_long(bar_ns):
        return ScannedDays(parts, rows, time, bar_ns, faults, idle.seen_in(pieces))
    _refuse_irregular(bar_ns, share, options, pieces.where)
    months = disorder.months_of(rows, options, bar_ns)[0]
    return Scanned(parts, months, bar_ns, faults, idle.seen_in(pieces))


def _refuse_irregular(bar_ns: int, share: float, options: Options, where: str) -> None:
    if share < LEAST_SHARE and options.max_gap_minutes is None:
        raise BadUnit(
            f"{where}: the commonest step between bars, {bar_ns / segments.MINUTE:g} min, is {share:.0%} of all, "
            f"expected {LEAST_SHARE:.0%} or more; set datasets.market.options.max_gap_minutes or correct the file"
        )


def _units(
    raw_dir: Path, instrument: str, one: Scanned | ScannedDays, days: np.ndarray | None, options: Options
) -> list[Unit]:
    """Return the units of one instrument."""
    if isinstance(one, ScannedDays):
        behind_gaps = partial(trading_days.behind_gaps, trading_days=days)
        months = disorder.months_of(one.rows, options, one.bar_ns, behind_gaps)[0]
        one = Scanned(one.parts, months, one.bar_ns, one.faults, one.seen)
    context = {"bar_ns": one.bar_ns, **_too_bad(one.faults, options, instrument)}
    return [
        _unit(raw_dir, one.parts, f"{instrument}/{np.datetime64(month.number, 'M')}", month, context)
        for month in one.months
    ]


def _trading_days(times: Mapping[str, np.ndarray], options: Options) -> dict[str, np.ndarray]:
    """Return the trading days of instruments with bars of a day: by the calendar that is named, or else by the bars."""
    found = trading_days.calendars(times)
    for instrument in found:
        calendar, where = options.calendar_of(instrument)
        if calendar and trading_days.are_days(times[instrument]):
            found[instrument] = exchanges.trading_days(instrument, times[instrument], calendar, where)
    return found


def _too_bad(faults: Faults, options: Options, instrument: str) -> dict[str, str]:
    """Return the entry of the context that says why a file is not to be used, if it is not."""
    if faults.n_bad <= options.max_bad_rows * faults.n_rows:
        return {}
    found = f"{faults.n_bad:,} of {faults.n_rows:,} rows are bad ({faults})"
    expected = f"expected at most {options.max_bad_rows:.0%}; correct the file or raise {schema.WHERE}.max_bad_rows"
    if faults.n_without_volume > (1 - options.max_bad_rows) * faults.n_rows:
        expected += f"; the prices are fine: without a volume, set {schema.WHERE}.instruments.{instrument}.volume: none"
    return {"too_bad": f"{found}, {expected}"}


def _unit(raw_dir: Path, parts: Sequence[Part], key: str, month: Month, context: Mapping[str, Any]) -> Unit:
    """Return the unit of one month."""
    before, own = _sources(parts, month.before), _sources(parts, month.own)
    sources = [source for source, _ in (*before, *own)]
    used = [dialect for _, dialect in (*before, *own)]
    dialects = [dialect.to_json() for dialect in used]
    different = [one for i, one in enumerate(dialects) if one not in dialects[:i]]
    full = {
        **context,
        "dialects": different,
        **({"reads": [different.index(one) for one in dialects]} if len(different) > 1 else {}),
        **({"backward": list(month.backward)} if month.backward else {}),
        **({"unfinished": True} if month.is_unfinished else {}),
        **({"breaks": list(month.breaks)} if month.breaks is not None else {}),
        "own": sum((source.stop or 0) - source.start for source, _ in before),
        "segment_start": month.segment_start,
    }
    content = (piece for source in sources for piece in source_pieces(raw_dir, source))
    return Unit(key, tuple(sources), digest_of(content, full), full)


def _sources(parts: Sequence[Part], spans: Iterable[Span]) -> list[tuple[Source, FileDialect]]:
    """Return the bytes of files that spans of the text of all files are, without headers, and how they are read."""
    found = []
    for start, stop in spans:
        for part in parts:
            low = max(start - part.base, part.dialect.header_bytes)
            high = min(stop - part.base, part.size)
            if low < high:
                has_header = any(low <= place < high for place in part.again)
                dialect = replace(part.dialect, again=part.dialect.header) if has_header else part.dialect
                found.append((Source(part.path, low, high), dialect))
    return found


def _has_days(one: Scanned | ScannedDays) -> bool:
    return isinstance(one, ScannedDays) and trading_days.are_days(one.time)


def _tell(notes: Mapping[str, Sequence[str]], scanned: Mapping[str, Scanned | ScannedDays]) -> None:
    """Say, in one line for files of a kind, how they are read, and whether instruments have bars of several lengths."""
    for note, files in notes.items():
        more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        logger.info("%s%s: %s", files[0], more, note)
    for one in scanned.values():
        if one.seen.left_out:
            logger.info("left out: %s", one.seen.left_out)
    lengths: dict[int, list[str]] = {}
    for name, one in scanned.items():
        lengths.setdefault(one.bar_ns, []).append(name)
    if len(lengths) > 1:
        said = [f"{_length(bar_ns)} ({_some(of)})" for bar_ns, of in sorted(lengths.items())]
        logger.info("bars of %d lengths: %s; each instrument is a series of its own", len(lengths), ", ".join(said))


def _length(bar_ns: int) -> str:
    minutes = bar_ns / segments.MINUTE
    return f"{minutes:g} min" if minutes < 1440 else f"{minutes / 1440:g} d"


def _some(of: Sequence[str]) -> str:
    return ", ".join(of[:SOME]) + (f" and {len(of) - SOME} more" if len(of) > SOME else "")
