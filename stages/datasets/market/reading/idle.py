"""Settings of params.yaml that change nothing of the files that were read: each is told in one line.

Whoever writes `time_zone` for a file whose times name their offset believes something about it that is not so.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.core.errors import ExpectedError
from stages.datasets.market import schema
from stages.datasets.market.reading import layouts
from stages.datasets.market.reading.dialect import NO_COLUMN
from stages.datasets.market.reading.pieces import Part, Pieces
from stages.datasets.market.schema import Instrument, Options

logger = logging.getLogger("batchwise")

TICKS = "tick"
NO_DAYS = "gaps are not counted in trading days, since bars are not of a day or max_gap_minutes is set"


@dataclass(frozen=True)
class Seen:
    """What was seen in the files of an instrument.

    Attributes
    ----------
    on_wall, with_slashes
        Paths of the files with a time that names no offset, and of those with dates like 8/1/2024.
    left_out
        The lines that are no rows, in words.
    """

    on_wall: frozenset[str]
    with_slashes: frozenset[str]
    left_out: str


@dataclass(frozen=True)
class Read:
    """An instrument: its files, the kinds of its times, and whether gaps of it are counted in trading days."""

    parts: Sequence[Part]
    seen: Seen
    has_days: bool


def seen_in(pieces: Pieces) -> Seen:
    """Return what was seen in the files of an instrument, all of which were read."""
    return Seen(frozenset(pieces.on_wall), frozenset(pieces.with_slashes), pieces.left_out())


def refuse_columns(instrument: str, settings: Instrument) -> None:
    """Refuse columns beside a known layout, which has its own.

    Raises
    ------
    ExpectedError
        With both settings.
    """
    if settings.format not in layouts.BY_ID:
        return
    given = {"columns": settings.columns, "names": settings.names, "header": settings.header}
    for name, value in given.items():
        if value not in ({}, [], None):
            raise ExpectedError(
                f"{schema.WHERE}.instruments.{instrument}.{name}: format {settings.format!r} has columns and a header "
                "of its own, expected one of both; remove one of them"
            )


def tell(options: Options, read: Mapping[str, Read]) -> None:
    """Warn of each setting that changes nothing of the instruments that were read."""
    for name, one in read.items():
        for setting, reason in _of_instrument(options.of(name), one):
            files = one.parts[0].path + (f" and {len(one.parts) - 1} more" if len(one.parts) > 1 else "")
            _warn(f"instruments.{name}.{setting}", files, reason)
    if read:
        for setting, reason in _of_all(options, read):
            _warn(setting, "any file", reason)


def _warn(setting: str, files: str, reason: str) -> None:
    logger.warning("%s.%s: changes nothing of %s: %s; remove it", schema.WHERE, setting, files, reason)


def _has_zone(one: Read, zone: str) -> bool:
    """Say whether some time of an instrument is read in a zone."""
    return any(part.path in one.seen.on_wall and part.dialect.zone == zone for part in one.parts)


def _of_instrument(settings: Instrument, one: Read) -> Iterator[tuple[str, str]]:
    """Yield the settings of an instrument that change nothing, and why."""
    if settings.time_zone and not _has_zone(one, settings.time_zone):
        yield "time_zone", "all its times are dates or epochs, or name their offset or zone"
    if settings.date_order and not one.seen.with_slashes:
        yield "date_order", "no date of it is like 8/1/2024"
    if settings.volume == TICKS and not any(part.dialect.has_ticks for part in one.parts):
        yield "volume", "it has no column of ticks beside that of the volume"
    if settings.lot and all(part.dialect.values[-1] == NO_COLUMN for part in one.parts):
        yield "lot", "no volume is taken from it"
    if settings.calendar and not one.has_days:
        yield "calendar", NO_DAYS


def _of_all(options: Options, read: Mapping[str, Read]) -> Iterator[tuple[str, str]]:
    """Yield the settings of the dataset that change nothing of any file, and why."""
    if options.time_zone != "UTC" and not any(_is_default(options, name, one) for name, one in read.items()):
        yield (
            "time_zone",
            "all times are dates or epochs, name their offset, or are of an instrument or layout with a zone",
        )
    if options.calendar and all(options.of(name).calendar or not one.has_days for name, one in read.items()):
        yield "calendar", f"{NO_DAYS}, or the instrument names another calendar"
    used = {part.dialect.layout for one in read.values() for part in one.parts}
    for name in options.formats:
        if name not in used:
            yield f"formats.{name}", "none fits it or is said to be of it"


def _is_default(options: Options, name: str, one: Read) -> bool:
    """Say whether the zone of the dataset counts for some times of an instrument."""
    if options.of(name).time_zone or not _has_zone(one, options.time_zone):
        return False
    layout_of = {part.path: layouts.BY_ID.get(part.dialect.layout) for part in one.parts}
    found = [layout_of[path] for path in one.seen.on_wall]
    return any(layout is None or not layout.zone for layout in found)
