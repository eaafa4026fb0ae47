"""Columns of a file of bars, how far features look back, and the options of the dataset.

A file is a CSV with a header line. Columns are found by name, in any order, upper or lower case; others are ignored.

- time: one column (`timestamp`, `datetime`, `date`, `time`, or the first one without a name) or `date` and `time`;
- `open`, `high`, `low` (or `llow`, a typing error that exporters made), `close`: prices, above 0;
- `volume`: contracts or shares, from 0.

The instrument is the first word of the file's name, without a leading `@`: `@CL - 30 min - ETH.csv` holds `CL`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stages.core.errors import ExpectedError
from stages.core.params import build

STRATEGIC_LOOKBACK = 40  # bars before the current one that structural_break reads, the longest of the 13 columns
BODY_BARS = 10  # bars in the mean body, with the current one, that a fair-value gap is measured against
GAP_BARS = 50  # bars that such a gap stays open at most
TACTICAL_LOOKBACK = GAP_BARS + BODY_BARS - 1
LOOKBACK = max(STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK)

VALUES = ("open", "high", "low", "close", "volume")
NAME_BYTES = 16

DAY_FIRST, MONTH_FIRST = "day_first", "month_first"
WHERE = "params.yaml: datasets.market.options"


@dataclass(frozen=True)
class Instrument:
    """How the times of one instrument's file are to be read; None is the dataset's default."""

    time_zone: str | None = None
    date_order: str | None = None


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml.

    Attributes
    ----------
    max_gap_minutes
        Longest step between two bars of a segment; None is three times the usual one.
    split_at_rolls
        Whether a roll jump begins a segment.
    roll_jump
        Least relative step from a close to the next open that is called a roll jump.
    max_bad_rows
        Largest share of a file's rows that may be bad.
    time_zone
        Zone of times that name none.
    instruments
        Settings of single instruments, by name.
    """

    max_gap_minutes: float | None = None
    split_at_rolls: bool = False
    roll_jump: float = 0.04
    max_bad_rows: float = 0.1
    time_zone: str = "UTC"
    instruments: dict[str, Any] = field(default_factory=dict)

    def zone(self, instrument: str) -> str:
        """Return the zone of an instrument's times that name none."""
        return self._instrument(instrument).time_zone or self.time_zone

    def date_order(self, instrument: str) -> str | None:
        """Return the order that is set for the dates with slashes of an instrument."""
        return self._instrument(instrument).date_order

    def _instrument(self, name: str) -> Instrument:
        return build(Instrument, self.instruments.get(name) or {}, f"{WHERE}.instruments.{name}")


def options_of(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ExpectedError
        With the key, what was found and what is expected.
    """
    content = dict(entry)
    split_at_rolls = content.pop("split_at_rolls", False)
    if not isinstance(split_at_rolls, bool):
        raise ExpectedError(f"{WHERE}.split_at_rolls: {split_at_rolls!r}, expected true or false")
    options = Options(**{**vars(build(Options, content, WHERE)), "split_at_rolls": split_at_rolls})
    if options.max_gap_minutes is not None and options.max_gap_minutes <= 0:
        raise ExpectedError(f"{WHERE}.max_gap_minutes: {options.max_gap_minutes:g}, expected null or more than 0")
    if not 0 < options.roll_jump < 1:
        raise ExpectedError(f"{WHERE}.roll_jump: {options.roll_jump:g}, expected a share between 0 and 1")
    if not 0 <= options.max_bad_rows <= 1:
        raise ExpectedError(f"{WHERE}.max_bad_rows: {options.max_bad_rows:g}, expected a share from 0 to 1")
    _check_zone(options.time_zone, f"{WHERE}.time_zone")
    for name in options.instruments:
        _check_zone(options.zone(name), f"{WHERE}.instruments.{name}.time_zone")
        if options.date_order(name) not in (None, DAY_FIRST, MONTH_FIRST):
            found = f"{WHERE}.instruments.{name}.date_order: {options.date_order(name)!r}"
            raise ExpectedError(f"{found}, expected {DAY_FIRST} or {MONTH_FIRST}")
    return options


def _check_zone(name: str, where: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ExpectedError(f"{where}: {name!r}, expected a time zone such as 'Asia/Jerusalem' or 'UTC'") from None
