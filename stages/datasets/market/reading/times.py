"""The text of times -> nanoseconds on the wall clock since 1970, a column at a time.

Read are, with one or two digits for the hour, `24:00` as the next midnight, and a date alone as midnight UTC:

- ISO 8601: `2024-01-08 01:00`, `2024-01-08T01:00:00`, with a fraction of up to nine digits, with `Z` or an offset; also
  with points or slashes: `2024.01.08 01:00`, `2024/1/8`;
- with slashes: `8/1/2024 1:00`, `08/01/2024 01:00:00`: the day first, or the month first where that is said;
- the day first with points: `08.01.2024 01:00:00.000`; with the name of the month: `08-Jan-2024`, `Jan 08, 2024`;
- digits alone: `20240108`, `20240108 010000`, `20240108 01:00`; with a dash before the clock, `20240108-01:00:00`, UTC;
- epochs by their number of digits: 9 or 10 seconds, 13 milliseconds, 16 microseconds, 19 nanoseconds;
- any of these with a clock, and the name of the file's zone behind it: `20240108 09:30:00 US/Eastern`;
- whatever `schema.time_formats.pattern_of` makes of a format such as `%d.%m.%y %H:%M`;
- milliseconds since midnight, of a day that something else says.

Blanks around them are nothing. Times of one layout (the text with each digit replaced by 0) are read together; a file
has a few layouts, so the cost is that of some vector operations a digit. The years 1900 to 2199 count as readable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.datasets.market.schema.time_formats import EPOCHS

DAY_NS = 86_400_000_000_000
FIRST_YEAR, STOP_YEAR = 1900, 2200
LONGEST = 48  # 2024-01-08T01:00:00.000000000+00:00 with blanks around it
MANY_LAYOUTS = 16  # a clean file has at most 12; more is garbage, taken row by row
ZERO = np.uint8(ord("0"))
NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATES = (
    r"(?P<year>0000)-(?P<month>00)-(?P<day>00)",
    r"(?P<year1>0000)[./](?P<month1>00?)[./](?P<day1>00?)",
    r"(?P<day2>00?)\.(?P<month2>00?)\.(?P<year2>0000)",
    r"(?P<first>00?)/(?P<second>00?)/(?P<last>0000)",
    r"(?P<day3>00?)[- ](?P<name3>[A-Za-z]{3})[- ](?P<year3>0000)",
    r"(?P<name4>[A-Za-z]{3}) (?P<day4>00?), (?P<year4>0000)",
    r"(?P<year5>0000)(?P<month5>00)(?P<day5>00)T?",
)
_CLOCK = r"(?P<hour>00?):(?P<minute>00)(?::(?P<sec>00)(?:\.(?P<fraction>0{1,9}))?)?(?: ?(?P<half>[AaPp])[Mm])?"
_ZONE = r"(?: ?GMT|)(?P<zone>Z|[+-](?P<zone_hour>00?)(?::?(?P<zone_minute>00))?)"
_PLACE = r" (?P<place>[A-Za-z]+(?:/[A-Za-z_]+)+)"
_DIGITS = r"(?P<hour1>00)(?P<minute1>00)(?P<sec1>00)?"
_DASHED = r"(?P<year6>0000)(?P<month6>00)(?P<day6>00)(?P<zone1>-)(?P<hour2>00):(?P<minute2>00):(?P<sec2>00)"
_EPOCH = r"(?P<epoch_s>0{9,10})(?:\.0+)?|(?P<epoch_ms>0{13})|(?P<epoch_us>0{16})|(?P<epoch_ns>0{19})"
LAYOUT = re.compile(
    rf"[ \t]*(?:(?:{'|'.join(_DATES)})(?:(?:[ T]|  +)(?:{_CLOCK}(?:{_ZONE}|{_PLACE})?|{_DIGITS}))?|{_DASHED}|{_EPOCH})"
    r"[ \t]*".encode()
)
SINCE_MIDNIGHT = re.compile(rb"[ \t]*(?P<since_midnight>0{1,8})[ \t]*")
NO_NUMBERS = (
    "zone",
    "first",
    "second",
    "last",
    "name",
    "half",
    "place",
)  # parts of a layout that are none, or are told twice
# Interactive Brokers writes names that systems no longer have.
US_ZONES = {
    "US/Eastern": "America/New_York",
    "US/Central": "America/Chicago",
    "US/Mountain": "America/Denver",
    "US/Pacific": "America/Los_Angeles",
}
CENTURY_TURNS = 69  # of a year of two digits: 68 is 2068
FIRST_EPOCH_NS, STOP_EPOCH_NS = 631_152_000 * 10**9, 4_102_444_800 * 10**9  # 1990 to 2099

MONTHS = np.arange(f"{FIRST_YEAR}-01", f"{STOP_YEAR}-02", dtype="datetime64[M]")
FIRST_MONTH = int(MONTHS[0].astype(np.int64))
MONTH_DAYS = MONTHS.astype("datetime64[D]").astype(np.int64)  # first day of each month, days since 1970
DAY_MONTHS = np.repeat(np.arange(len(MONTHS) - 1, dtype=np.int32) + FIRST_MONTH, np.diff(MONTH_DAYS))


@dataclass(frozen=True)
class Stamps:
    """Times of N rows.

    Attributes
    ----------
    ns
        int64 (N,): nanoseconds since 1970 on the wall clock, or UTC where `is_utc`; 0 where not readable.
    is_time, is_utc, is_slash
        bool (N,): the text is a time; it names its offset from UTC; its date has slashes.
    """

    ns: np.ndarray
    is_time: np.ndarray
    is_utc: np.ndarray
    is_slash: np.ndarray


def zone_of(place: str) -> str:
    """Return the zone that a name behind a time means."""
    return US_ZONES.get(place, place)


@dataclass(frozen=True)
class Manner:
    """How times are read.

    Attributes
    ----------
    pattern
        The layouts that are read.
    is_month_first
        How dates with slashes are read.
    is_on_wall
        Whether the clock's text counts, whatever offset stands behind it.
    zone
        The only zone whose name may stand behind a time.
    day_ns
        Midnight on the wall, ns since 1970, that times of `SINCE_MIDNIGHT` are counted from.
    """

    pattern: re.Pattern[bytes] = LAYOUT
    is_month_first: bool = False
    is_on_wall: bool = False
    zone: str = ""
    day_ns: int = 0


def parse(cells: pa.Array, manner: Manner) -> Stamps:
    """Read a column of times, a binary array (N,) without nulls."""
    offsets = np.frombuffer(cells.buffers()[1], np.int32)[cells.offset : cells.offset + len(cells) + 1]
    data = np.frombuffer(cells.buffers()[2] or b"", np.uint8)
    widths = np.diff(offsets)
    stamps = Stamps(np.zeros(len(cells), np.int64), *(np.zeros(len(cells), bool) for _ in range(3)))
    for width in np.flatnonzero(np.bincount(np.minimum(widths, LONGEST + 1), minlength=LONGEST + 2)):
        if not 0 < width <= LONGEST:
            continue
        if (widths == width).all():
            rows, text = None, data[offsets[0] : offsets[-1]].reshape(-1, width)
        else:
            rows = np.flatnonzero(widths == width)
            text = data[offsets[rows][:, None] + np.arange(width)]
        _parse_width(np.ascontiguousarray(text.T), rows, manner, stamps)
    return stamps


def _parse_width(text: np.ndarray, rows: np.ndarray | None, manner: Manner, stamps: Stamps) -> None:
    """Read times of one width, uint8 (width, n), into `stamps` at `rows`, all of them for None."""
    digits = text - ZERO  # what is below "0" wraps to above 9
    layouts = np.where(digits <= 9, ZERO, text)
    for layout, chosen in _by_layout(layouts):
        match = manner.pattern.fullmatch(layout)
        if match is None or not _is_of_zone(match, manner.zone):
            continue
        spans = _spans(match, manner)
        is_slash = "first" in spans
        epoch = next((name for name in spans if name.startswith("epoch_")), None)
        own = digits if chosen is None else digits[:, chosen]
        if epoch:
            ns, is_time = _epochs(own, epoch, spans[epoch])
        elif "since_midnight" in spans:
            ns, is_time = _since_midnight(own, spans["since_midnight"], manner.day_ns)
        else:
            ns, is_time = _nanoseconds(own, spans, _constants(layout, spans))
        target: np.ndarray | slice = slice(None) if chosen is None else chosen
        if rows is not None:
            target = rows[target]
        stamps.ns[target], stamps.is_time[target] = ns, is_time
        stamps.is_utc[target], stamps.is_slash[target] = "zone" in spans or bool(epoch), is_slash


def _spans(match: re.Match[bytes], manner: Manner) -> dict[str, tuple[int, int]]:
    """Return where each part of a time stands in the layout that fits."""
    found = {name: match.span(name) for name, part in match.groupdict().items() if part is not None}
    spans = {name.rstrip("0123456789"): span for name, span in found.items()}
    if "first" in spans:
        day, month = ("second", "first") if manner.is_month_first else ("first", "second")
        spans |= {"year": spans["last"], "day": spans[day], "month": spans[month]}
    if manner.is_on_wall:
        spans = {name: span for name, span in spans.items() if not name.startswith("zone")}
    return spans


def _is_of_zone(match: re.Match[bytes], zone: str) -> bool:
    place = match.groupdict().get("place")
    return place is None or zone_of(place.decode()) == zone


@dataclass(frozen=True)
class _Constants:
    """What all times of a layout have in common: the sign of their offset, 0 for none; hours and months as words."""

    sign: int
    half: str
    month: int | None


def _constants(layout: bytes, spans: Mapping[str, tuple[int, int]]) -> _Constants:
    def text(name: str) -> str:
        return layout[slice(*spans[name])].decode("latin-1").lower() if name in spans else ""

    sign = 0 if "zone_hour" not in spans else -1 if text("zone").startswith("-") else 1
    name = text("name")
    month = None if "name" not in spans else NAMES.index(name) + 1 if name in NAMES else 0
    return _Constants(sign, text("half"), month)


def _by_layout(layouts: np.ndarray) -> Iterator[tuple[bytes, np.ndarray | None]]:
    """Yield each layout, uint8 (width, n) by columns, with its columns; None for all."""
    left = np.arange(layouts.shape[1])
    for number in range(MANY_LAYOUTS):
        if not len(left):
            return
        layout = layouts[:, left[0]]
        is_same = (layouts[:, left] if number else layouts) == layout[:, None]
        is_same = is_same.all(0)
        yield layout.tobytes(), None if not number and is_same.all() else left[is_same]
        left = left[~is_same]
    others: dict[bytes, list[int]] = {}
    for column in left.tolist():
        others.setdefault(layouts[:, column].tobytes(), []).append(column)
    yield from ((layout, np.array(columns)) for layout, columns in others.items())


def _epochs(digits: np.ndarray, name: str, span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return nanoseconds since 1970 and whether they lie in the years of which epochs are read."""
    number = _whole(digits, span)
    unit = EPOCHS[name.removeprefix("epoch_")]
    is_time = (number >= FIRST_EPOCH_NS // unit) & (number < STOP_EPOCH_NS // unit)
    return np.where(is_time, number * unit, 0), is_time


def _since_midnight(digits: np.ndarray, span: tuple[int, int], day_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nanoseconds since 1970 of milliseconds since a midnight, and whether they lie in that day."""
    since_ns = _whole(digits, span) * EPOCHS["ms"]
    is_time = since_ns < DAY_NS
    return np.where(is_time, day_ns + since_ns, 0), is_time


def _whole(digits: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    """Return the number that up to 19 digits are, int64 (n,)."""
    number = np.zeros(digits.shape[1], np.int64)
    for row in digits[slice(*span)]:
        number = number * 10 + row
    return number


def _nanoseconds(
    digits: np.ndarray, spans: Mapping[str, tuple[int, int]], same: _Constants
) -> tuple[np.ndarray, np.ndarray]:
    """Return nanoseconds since 1970 and whether date and time of day exist."""
    part = {name: _number(digits, *spans[name]) for name in spans if name not in NO_NUMBERS}
    none = np.zeros(digits.shape[1], np.int32)
    if same.month is not None:
        part["month"] = none + same.month
    year, month, day = _year(part), part["month"], part["day"]
    hour, minute, second = (part.get(name, none) for name in ("hour", "minute", "sec"))

    first_day, is_time = _days(year, month, day)
    if same.half:
        is_time &= (hour >= 1) & (hour <= 12)
        hour = _of_half(hour, same.half)
    is_time &= (hour < 24) & (minute < 60) & (second < 60) | _is_midnight(hour, minute, second)

    seconds = (first_day + (day - 1)) * 86_400 + (hour * 3600 + minute * 60 + second)
    if same.sign:  # an offset from UTC comes off
        seconds = seconds - same.sign * (part["zone_hour"] * 3600 + part.get("zone_minute", none) * 60)
    ns = seconds * 1_000_000_000
    if "fraction" in part:
        ns += _fraction_ns(part["fraction"], *spans["fraction"])
    return np.where(is_time, ns, 0), is_time


def _year(part: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the year, of two digits the one of the century that is nearest."""
    if "short" not in part:
        return part["year"]
    return part["short"] + np.where(part["short"] < CENTURY_TURNS, 2000, 1900)


def _of_half(hour: np.ndarray, half: str) -> np.ndarray:
    """Return the hour of a day of an hour from 1 to 12, a.m. or p.m."""
    return hour % 12 + (12 if half == "p" else 0)


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first day of each month, since 1970, and whether the date exists.

    The days of the month are asked of the first month where there is no such month.
    """
    is_date = (year >= FIRST_YEAR) & (year < STOP_YEAR) & (month >= 1) & (month <= 12)
    months = np.where(is_date, (year - FIRST_YEAR) * 12 + month - 1, 0)
    first_day = MONTH_DAYS[months]
    return first_day, is_date & (day >= 1) & (day <= MONTH_DAYS[months + 1] - first_day)


def _is_midnight(hour: np.ndarray, minute: np.ndarray, second: np.ndarray) -> np.ndarray | bool:
    """Say where it is 24:00, which is the next midnight."""
    is_late = hour == 24
    return is_late & (minute == 0) & (second == 0) if is_late.any() else False


def _fraction_ns(fraction: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the nanoseconds, int64 (n,), of the digits `start` to `stop` behind the point of a second."""
    return fraction.astype(np.int64) * 10 ** (9 - (stop - start))


def _number(digits: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the number that the digits `start` to `stop` are, int32 (n,)."""
    number = digits[start].astype(np.int32)
    for row in digits[start + 1 : stop]:
        number *= 10
        number += row
    return number


def month_of(time: np.ndarray) -> np.ndarray:
    """Return the calendar month of each time, months since 1970, int32 (N,).

    Parameters
    ----------
    time
        int64 (N,) ns UTC, in the years that `parse` reads, or a day beside them.
    """
    days = time // DAY_NS - MONTH_DAYS[0]
    return DAY_MONTHS[np.clip(days, 0, len(DAY_MONTHS) - 1)]


def month_start(month: int) -> int:
    """Return the first moment of a calendar month (months since 1970), ns UTC."""
    return int(np.datetime64(month, "M").astype("datetime64[D]").astype(np.int64)) * DAY_NS
