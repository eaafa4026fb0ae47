"""Write bars as CSV the way different programs do.

- ``iso``: ``Timestamp,Open,High,Low,Close,Volume``; 2024-01-08 01:00:00 in UTC;
- ``two_columns``: the same with ``Date,Time`` in place of ``Timestamp``;
- ``indexed``: lower-case names, the index without one; 2024-01-08 01:00:00+00:00, as pandas writes a frame;
- ``excel``: day first, in local time of Jerusalem, CRLF; Excel has rewritten each day up to the 12th as a date of its
  own, so 8/1/2024 3:00 stands beside 15/01/2024 03:00:00;
- ``excel_llow``: the same with a typing error in the header, ``Llow``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from stages.datasets.market.schema import VALUES

_DAY_S, _HOUR_S = 86_400, 3_600
_EXCEL_REWRITES = 12
_PRICES = VALUES[:4]
_NAMES = ",".join(VALUES).title()
_JERUSALEM = "Asia/Jerusalem"


@dataclass(frozen=True)
class Dialect:
    """How a program writes bars.

    `day` and `clock` give the text of a date and, for that date, of a time of the day in seconds; `gap` stands between.
    """

    header: str
    day: Callable[[date], str]
    clock: Callable[[date, int], str]
    gap: str = " "
    zone: str = "UTC"
    line_end: str = "\n"
    has_short_prices: bool = False


def _iso_clock(day: date, second: int) -> str:
    del day
    return f"{second // _HOUR_S:02}:{second // 60 % 60:02}:00"


def _excel_day(day: date) -> str:
    return f"{day.day}/{day.month}/{day.year}" if day.day <= _EXCEL_REWRITES else f"{day:%d/%m/%Y}"


def _excel_clock(day: date, second: int) -> str:
    hour, minute = second // _HOUR_S, second // 60 % 60
    return f"{hour}:{minute:02}" if day.day <= _EXCEL_REWRITES else f"{hour:02}:{minute:02}:00"


def _excel(names: str) -> Dialect:
    return Dialect(f"Timestamp,{names}", _excel_day, _excel_clock, " ", _JERUSALEM, "\r\n", has_short_prices=True)


DIALECTS = {
    "iso": Dialect(f"Timestamp,{_NAMES}", date.isoformat, _iso_clock),
    "two_columns": Dialect(f"Date,Time,{_NAMES}", date.isoformat, _iso_clock, ","),
    "indexed": Dialect(f",{_NAMES.lower()}", date.isoformat, lambda day, second: f"{_iso_clock(day, second)}+00:00"),
    "excel": _excel(_NAMES),
    "excel_llow": _excel(_NAMES.replace("Low", "Llow")),
}


def csv_text(bars: dict[str, np.ndarray], ticks: int, dialect: Dialect) -> str:
    """Return bars as a CSV file.

    Parameters
    ----------
    bars
        What `walk.simulate` returns: times in seconds since 1970 in UTC, prices in ticks.
    ticks
        Ticks in one unit of price.
    dialect
        One of `DIALECTS`.
    """
    prices = [_price_texts(bars[name], ticks, dialect) for name in _PRICES]
    stamps = _stamps(bars["time"], dialect)
    rows = zip(stamps, *prices, map(str, bars["volume"].tolist()), strict=True)
    return dialect.line_end.join([dialect.header, *map(",".join, rows), ""])


def _price_texts(price: np.ndarray, ticks: int, dialect: Dialect) -> list[str]:
    """Return prices as text; each price is written once, since a million bars visit some thousand of them."""
    low = int(price.min(initial=0))
    texts = [repr(value / ticks) for value in range(low, int(price.max(initial=0)) + 1)]
    if dialect.has_short_prices:
        texts = [text.removesuffix(".0") for text in texts]
    return [texts[value] for value in (price - low).tolist()]


def _stamps(time: np.ndarray, dialect: Dialect) -> Iterator[str]:
    """Yield the text of each time."""
    local = time + _offsets(time, dialect.zone)
    days, day = np.unique(local // _DAY_S, return_inverse=True)
    dates = [date(1970, 1, 1) + timedelta(days=number) for number in days.tolist()]
    day_texts = [f"{dialect.day(day)}{dialect.gap}" for day in dates]
    # A day's text is one of two forms, so its clock is too: a table of each form, by minute of the day.
    forms = [{s: dialect.clock(date(2024, 1, n), s) for s in range(0, _DAY_S, 60)} for n in (1, 31)]
    clocks = [forms[day.day > _EXCEL_REWRITES] for day in dates]
    for i, second in zip(day.tolist(), (local % _DAY_S).tolist(), strict=True):
        yield day_texts[i] + clocks[i][second]


def _offsets(time: np.ndarray, zone: str) -> np.ndarray:
    """Return the seconds that a zone's clocks are ahead of UTC, looked up once an hour."""
    hours, hour = np.unique(time // _HOUR_S, return_inverse=True)
    place = ZoneInfo(zone)
    local = (datetime.fromtimestamp(h * _HOUR_S, UTC).astimezone(place) for h in hours.tolist())
    ahead = [int((moment.utcoffset() or timedelta()).total_seconds()) for moment in local]
    return np.array(ahead, np.int64)[hour]
