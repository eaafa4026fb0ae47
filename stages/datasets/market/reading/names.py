"""The path of a file of bars -> the instrument that it holds, its bars' length and its period, as far as names say."""

import contextlib
import re
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath

from stages.core.errors import BadUnit
from stages.datasets.market.schema import NAME_BYTES, NAME_FIELDS, WHERE

BARS = r"\d+ ?(?:s|m|h|d|w|mo|min|mins|minutes?|hours?|days?)|m\d+|h\d+|d1|w1|mn1?|daily|hourly|minute|weekly|monthly"
VENDORS = (
    r"(?P<name>[^-_ ]+)-(?P<bars>\d+(?:s|m|h|d|w|mo))-(?P<year>\d{4})-(?P<month>\d\d)(?:-(?P<day>\d\d))?",  # Binance
    r"dat_(?:ascii|mt|nt)_(?P<name>[a-z]+)_(?P<bars>m1)_(?P<year>\d{4})(?P<month>\d\d)?",  # histdata.com
    r"[a-z]+_(?P<name>[a-z0-9]+)_(?:(?P<year>\d{4})_)?(?P<bars>d|1h|minute|\d+h)",  # CryptoDataDownload
    r"(?:[a-z0-9_]+_)?(?P<name>[a-z0-9!.]+), (?P<bars>\d+[a-z]?)(?:_[0-9a-f]+)?",  # TradingView
    r"(?P<name>[a-z0-9]+)_(?P<bars>\d{1,4})",  # Kraken
    rf"(?P<name>.+?)_(?P<bars>{BARS})_(?P<year>\d{{4}})\d{{4,8}}_\d{{8,12}}",  # MetaTrader 5
    r"(?P<name>[a-z]+)_candlestick_(?P<bars>\d+_[a-z]+)_(?:bid|ask)_[\d.]+(?P<year>\d{4})-[\d.]+",  # Dukascopy
    r"(?P<name>[a-z0-9]+)_full_(?P<bars>\d+(?:min|hour|day))_[a-z]+",  # FirstRateData
    r"(?P<name>[a-z0-9]+)_(?P<bars>\d+(?:min|hour|day))_continuous_[a-z]+",
    r"(?P<name>[a-z0-9^]+)(?:\.[a-z]{2}|_[a-z]{2}_(?P<bars>[dwm]))",  # Stooq
    r"(?P<name>.+?) (?:historical data|stock price history)",  # Investing.com
    r"(?P<name>[a-z0-9]+ \d\d-\d\d)\.(?:last|bid|ask)",  # NinjaTrader
    r"(?P<year>\d{4})\d{4}_(?P<name>[^_]+)_(?P<bars>(?:second|minute)_(?:trade|quote))",  # LEAN
    r"(?:[a-z]{2}|\d\d)#(?P<name>[a-z0-9]+)",  # TDX
)
COPY = re.compile(r" \(\d+\)$|_sorted$")
WORD = rf"(?:{BARS}|\d{{4}}(?:[-_]?\d\d){{0,2}}|ohlcv?|bars|data|prices|candles|trade|quote)"
DAY = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
NAMELESS = re.compile(rf"(?i){WORD}(?:[-_ .]{WORD})*")


@dataclass(frozen=True)
class FileName:
    """What the path of a file says: instrument, length of the bars, and whether it holds a period of several."""

    instrument: str
    bars: str = ""
    is_period: bool = False


def name_of(path: str, rule: str | None = None) -> FileName:
    """Return what the path of a file says.

    Parameters
    ----------
    path
        Relative to the raw folder, with ``/``.
    rule
        `Options.instrument`.

    Raises
    ------
    BadUnit
        When it says no instrument of 1 to 16 ASCII characters.

    Examples
    --------
    >>> name_of("futures/@CL - 30 min - ETH.csv").instrument
    'CL'
    >>> name_of("BTCUSDT-5m-2024-03.csv")
    FileName(instrument='BTCUSDT', bars='5m', is_period=True)
    >>> name_of("ES/5min.csv")
    FileName(instrument='ES', bars='5min', is_period=True)
    """
    found = _by_rule(path, rule) if rule else _by_default(path)
    name = found.instrument
    if not (name.isascii() and 1 <= len(name) <= NAME_BYTES and "/" not in name):
        raise BadUnit(
            f"{path}: instrument {name!r}, expected 1 to {NAME_BYTES} ASCII characters before the first blank; "
            f"rename the file, or set {WHERE}.instrument"
        )
    return found


def day_of(path: str) -> str:
    """Return the day that the name of a file says, or else that of the nearest folder with one, empty for none.

    Examples
    --------
    >>> day_of("spy/20240304_spy_minute_trade.csv")
    '2024-03-04'
    >>> day_of("2024-03-04/spy.csv"), day_of("20241399/spy.csv")
    ('2024-03-04', '')
    """
    whole = PurePosixPath(path)
    for text in (whole.stem, *reversed(whole.parent.parts)):
        for year, month, day in DAY.findall(text):
            with contextlib.suppress(ValueError):
                return date(int(year), int(month), int(day)).isoformat()
    return ""


def _by_rule(path: str, rule: str) -> FileName:
    parts = re.split(r"\{(\w*)\}", rule)
    texts = []
    for i, part in enumerate(parts):
        known = i % 2 and part not in parts[1:i:2] and part != "any"
        text = NAME_FIELDS[part] if i % 2 else re.escape(part)
        texts.append(f"(?P<{part}>{text})" if known else text)
    whole = PurePosixPath(path)
    stem = "/".join([*whole.parent.parts, whole.stem][-rule.count("/") - 1 :])
    match = re.fullmatch("".join(texts), stem)
    if match is None:
        raise BadUnit(f"{path}: not a name like {rule!r}, expected one; rename it, or correct {WHERE}.instrument")
    found = match.groupdict()
    return FileName(found["name"], found.get("bars", ""), is_period=True)


def _by_default(path: str) -> FileName:
    whole = PurePosixPath(path)
    stem = COPY.sub("", whole.stem).lstrip("@")
    if NAMELESS.fullmatch(stem) and whole.parent.name:
        bars = re.search(rf"(?i)(?:^|[-_ .])({BARS})(?:$|[-_ .])", stem)
        return FileName(whole.parent.name.lstrip("@"), bars[1] if bars else "", is_period=True)
    for pattern in VENDORS:
        match = re.fullmatch(pattern, stem, re.IGNORECASE)
        if match is not None:
            found = match.groupdict()
            name = found["name"].upper().replace(" ", "_")
            return FileName(name, found.get("bars") or "", is_period=bool(found.get("year")))
    words = stem.split()
    return FileName(words[0] if words else "")
