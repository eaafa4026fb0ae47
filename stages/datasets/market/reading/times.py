"""The text of times -> nanoseconds on the wall clock since 1970, a column at a time.

Read are, with one or two digits for the hour and a date alone as midnight:

- ISO 8601: `2024-01-08 01:00`, `2024-01-08T01:00:00`, with a fraction of up to nine digits, with `Z` or an offset;
- with slashes: `8/1/2024 1:00`, `08/01/2024 01:00:00`: the day first, or the month first where that is said.

Times of one layout (the text with each digit replaced by 0) are read together; a file has a few layouts, so the
cost is that of some vector operations a digit. The years 1900 to 2199 count as readable.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

DAY_NS = 86_400_000_000_000
FIRST_YEAR, STOP_YEAR = 1900, 2200
LONGEST = 35  # 2024-01-08T01:00:00.000000000+00:00
MANY_LAYOUTS = 16  # a clean file has at most 9; more is garbage, taken row by row
ZERO = np.uint8(ord("0"))
LAYOUT = re.compile(
    rb"(?:(?P<year>0000)-(?P<month>00)-(?P<day>00)|(?P<first>00?)/(?P<second>00?)/(?P<last>0000))"
    rb"(?:[ T](?P<hour>00?):(?P<minute>00)(?::(?P<sec>00)(?:\.(?P<fraction>0{1,9}))?)?"
    rb"(?P<zone>Z|[+-](?P<zone_hour>00)(?::?(?P<zone_minute>00))?)?)?"
)
NO_NUMBERS = ("zone", "first", "second", "last")  # parts of a layout that are none, or have another name too

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


def parse(cells: pa.Array, is_month_first: bool = False) -> Stamps:
    """Read a column of times.

    Parameters
    ----------
    cells
        Binary array (N,) without nulls.
    is_month_first
        How dates with slashes are read.
    """
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
        _parse_width(np.ascontiguousarray(text.T), rows, is_month_first, stamps)
    return stamps


def _parse_width(text: np.ndarray, rows: np.ndarray | None, is_month_first: bool, stamps: Stamps) -> None:
    """Read times of one width, uint8 (width, n), into `stamps` at `rows`, all of them for None."""
    digits = text - ZERO  # what is below "0" wraps to above 9
    layouts = np.where(digits <= 9, ZERO, text)
    for layout, chosen in _by_layout(layouts):
        match = LAYOUT.fullmatch(layout)
        if match is None:
            continue
        spans = {name: match.span(name) for name, found in match.groupdict().items() if found is not None}
        is_slash = "first" in spans
        if is_slash:
            day, month = ("second", "first") if is_month_first else ("first", "second")
            spans |= {"year": spans["last"], "day": spans[day], "month": spans[month]}
        ns, is_time = _nanoseconds(digits if chosen is None else digits[:, chosen], spans, _sign(layout, spans))
        target: np.ndarray | slice = slice(None) if chosen is None else chosen
        if rows is not None:
            target = rows[target]
        stamps.ns[target], stamps.is_time[target] = ns, is_time
        stamps.is_utc[target], stamps.is_slash[target] = "zone" in spans, is_slash


def _sign(layout: bytes, spans: Mapping[str, tuple[int, int]]) -> int:
    """Return the sign of the offset that times of a layout name, 0 for none."""
    if "zone_hour" not in spans:
        return 0
    return -1 if b"-" in layout[spans["zone"][0] :] else 1


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


def _nanoseconds(digits: np.ndarray, spans: Mapping[str, tuple[int, int]], sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nanoseconds since 1970 and whether date and time of day exist; `sign` is that of the offset."""
    part = {name: _number(digits, *spans[name]) for name in spans if name not in NO_NUMBERS}
    none = np.zeros(digits.shape[1], np.int32)
    year, month, day = part["year"], part["month"], part["day"]
    hour, minute, second = (part.get(name, none) for name in ("hour", "minute", "sec"))

    # Does it exist? The days of the month are asked of the first month where there is no such month.
    is_time = (year >= FIRST_YEAR) & (year < STOP_YEAR) & (month >= 1) & (month <= 12)
    months = np.where(is_time, (year - FIRST_YEAR) * 12 + month - 1, 0)
    first_day = MONTH_DAYS[months]
    is_time &= (day >= 1) & (day <= MONTH_DAYS[months + 1] - first_day)
    is_time &= (hour < 24) & (minute < 60) & (second < 60)

    # When was it? An offset from UTC comes off.
    if sign:
        hour = hour - sign * part["zone_hour"]
        minute = minute - sign * part.get("zone_minute", none)
    seconds = (first_day + (day - 1)) * 86_400 + (hour * 3600 + minute * 60 + second)
    ns = seconds * 1_000_000_000
    if "fraction" in part:
        ns += _fraction_ns(part["fraction"], *spans["fraction"])
    return np.where(is_time, ns, 0), is_time


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
