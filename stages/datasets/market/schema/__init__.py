"""Columns of a file of bars, how far features look back, and the options of the dataset.

A file is text, one line a bar. Which layouts are known is a table, `stages.datasets.market.reading.layouts`; a plain
CSV with a header line needs no entry there. Its columns are found by name, in any order, upper or lower case:

- time: one column (`timestamp`, `datetime`, `date`, `time`, or the first one without a name) or `date` and `time`;
- `open`, `high`, `low` (or `llow`, a typing error that exporters made), `close`: prices, above 0;
- `volume`: contracts or shares, from 0.

Which instrument a file holds, its name or its folder says, see `stages.datasets.market.reading.names`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stages.core.params import AtLeast, Between, Fault, Must, build
from stages.datasets.market.schema.time_formats import pattern_of

STRATEGIC_LOOKBACK = 40  # bars before the current one that structural_break reads, the longest of the 13 columns
BODY_BARS = 10  # bars in the mean body, with the current one, that a fair-value gap is measured against
GAP_BARS = 50  # bars that such a gap stays open at most
TACTICAL_LOOKBACK = GAP_BARS + BODY_BARS - 1
LOOKBACK = max(STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK)
VOLUME_BARS = (
    1000  # before the current one that the average of the volume looks back on, over segments: 0.98**1000 < 2e-9
)

VALUES = ("open", "high", "low", "close", "volume")
NAME_BYTES = 16

LEAST_DAY_NS = 20 * 3_600_000_000_000  # bars further apart than this are of a day or longer
TIME_FORMAT = "a format such as '%d.%m.%Y %H:%M', or s, ms, us or ns"
DAY_FIRST, MONTH_FIRST = "day_first", "month_first"
WHERE = "params.yaml: datasets.market.options"


NAME_FIELDS = {
    "name": r"[^/]+?",
    "bars": r"[^/]+?",
    "year": r"\d{4}",
    "month": r"\d\d",
    "day": r"\d\d",
    "any": r"[^/]*?",
}
NAME_RULE = f"{{name}} once, and {', '.join(f'{{{name}}}' for name in [*NAME_FIELDS][1:])} as you like"


def _is_name_rule(rule: str) -> bool:
    found = re.findall(r"\{(\w*)\}", rule)
    return set(found) <= set(NAME_FIELDS) and found.count("name") == 1


def _is_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


Zone = Annotated[str, Must(_is_zone, "a time zone such as 'Asia/Jerusalem' or 'UTC'")]


Separator = Annotated[str, Must(lambda text: len(text) == 1 or text == "tab", "one character or 'tab'")]
Keep = Literal["first", "last", "error"]


@dataclass(frozen=True)
class Format:
    """How files are laid out; what is left out is as recognised.

    Attributes
    ----------
    columns
        By our names (`time`, or `date` and `time`, `open`, `high`, `low`, `close`, `volume`) those of the file.
    names
        The names of all columns, for files without a header line.
    header
        Lines before the first bar, 0 for none; without `names` the last of them has the names.
    separator
        What stands between cells.
    decimal
        The mark before decimals.
    time_format
        As `strptime` has it, or `s`, `ms`, `us` or `ns` since 1970.
    volume
        `none` takes no volume from the file: it is 0 in every row; `tick` takes the number of price changes.
    adjusted
        Whether prices are scaled by the adjusted close.
    shift_minutes
        What is added to each time as it stands in the file, for stamps of a bar's end or of a server's clock.
    price_scale, lot
        What prices and volumes are multiplied by; None is as recognised.
    """

    columns: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    header: Annotated[int, AtLeast(0)] | None = None
    separator: Separator | None = None
    decimal: Literal[".", ","] | None = None
    time_format: Annotated[str, Must(lambda text: bool(pattern_of(text)), TIME_FORMAT)] | None = None
    volume: Literal["real", "tick", "none"] | None = None
    adjusted: bool = False
    shift_minutes: float = 0.0
    price_scale: Annotated[float, Must(lambda factor: factor > 0, "more than 0")] | None = None
    lot: Annotated[float, Must(lambda factor: factor > 0, "more than 0")] | None = None

    def faults(self) -> Iterator[Fault]:
        """Yield the columns that bars do not have."""
        for name in self.columns:
            if name not in (*VALUES, "date", "time"):
                yield Fault("columns", f"{name!r}, expected date, time, {', '.join(VALUES)}")


@dataclass(frozen=True)
class Instrument(Format):
    """How the file of one instrument is to be read; None is the dataset's default, or what is recognised.

    `format` names one of `Options.formats` or of the known layouts; the settings beside it come before its own.
    """

    time_zone: Zone | None = None
    date_order: Literal["day_first", "month_first"] | None = None
    format: str | None = None
    keep: Keep | None = None
    calendar: str | None = None


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml.

    Attributes
    ----------
    max_gap_minutes
        Longest step between two bars of a segment; None is three times the usual one, in trading days for daily bars.
    split_at_rolls
        Whether a roll jump begins a segment.
    roll_jump
        Least relative step from a close to the next open that is called a roll jump.
    max_bad_rows
        Largest share of a file's rows that may be bad.
    time_zone
        Zone of times that name none.
    keep
        Which of the rows with one time and other values counts; None is the last one at the end of an instrument's
        rows, where a file has its own unfinished bar, and `error` elsewhere.
    scale
        `auto`: tactical features do not depend on the units of price and volume; `original`: they have the floors of
        the earlier system, 0.001 for a body and 1 for a volume.
    volume_bars
        Bars that the tactical average of the volume looks back on, over segments; None is `VOLUME_BARS`, and `LOOKBACK`
        for bars of a day or longer.
    calendar
        Name of the calendar of exchange_calendars by which gaps of daily bars are counted, such as ``XNYS``; None is
        the one that the bars show.
    negative_prices
        Whether prices of 0 and less are bars; features that look back on one are not valid.
    instrument
        How names of files are read, such as ``{name}-{bars}-{year}-{month}``; None knows those of many vendors.
    formats
        Layouts of files, by a name of your own.
    instruments
        Settings of single instruments, by name.
    """

    max_gap_minutes: Annotated[float, Must(lambda minutes: minutes > 0, "null or more than 0")] | None = None
    split_at_rolls: bool = False
    roll_jump: Annotated[float, Between(0, 1, is_open=True)] = 0.04
    max_bad_rows: Annotated[float, Between(0, 1)] = 0.1
    time_zone: Zone = "UTC"
    keep: Keep | None = None
    scale: Literal["auto", "original"] = "auto"
    volume_bars: Annotated[int, Must(lambda bars: 1 <= bars <= VOLUME_BARS, f"1 to {VOLUME_BARS}")] | None = None
    calendar: str | None = None
    negative_prices: bool = False
    instrument: Annotated[str, Must(_is_name_rule, NAME_RULE)] | None = None
    formats: dict[str, Format] = field(default_factory=dict)
    instruments: dict[str, Instrument] = field(default_factory=dict)

    def of(self, instrument: str) -> Instrument:
        """Return the settings of an instrument."""
        return self.instruments.get(instrument, Instrument())

    def kept(self, instrument: str) -> Keep | None:
        """Return which of the rows of one time counts."""
        return self.of(instrument).keep or self.keep

    def calendar_of(self, instrument: str) -> tuple[str, str]:
        """Return the name of the calendar of an instrument, empty for none, and which setting says it."""
        own = self.of(instrument).calendar
        where = f"{WHERE}.instruments.{instrument}.calendar" if own else f"{WHERE}.calendar"
        return own or self.calendar or "", where

    def bars_of_volume(self, bar_ns: int) -> int:
        """Return how many bars the average of the volume looks back on, for bars of this length."""
        return self.volume_bars or (VOLUME_BARS if bar_ns < LEAST_DAY_NS else LOOKBACK)

    def halo(self, bar_ns: int) -> int:
        """Return how many bars before its own a month depends on."""
        return max(LOOKBACK, self.bars_of_volume(bar_ns))


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ParamsError
        With every wrong key, what was found and what is expected.
    """
    return build(Options, dict(entry), WHERE)
