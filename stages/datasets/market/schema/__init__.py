"""Columns of a file of bars, how far features look back, and the options of the dataset.

A file is a CSV with a header line. Columns are found by name, in any order, upper or lower case; others are ignored.

- time: one column (`timestamp`, `datetime`, `date`, `time`, or the first one without a name) or `date` and `time`;
- `open`, `high`, `low` (or `llow`, a typing error that exporters made), `close`: prices, above 0;
- `volume`: contracts or shares, from 0.

The instrument is the first word of the file's name, without a leading `@`: `@CL - 30 min - ETH.csv` holds `CL`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stages.core.params import Between, Must, build

STRATEGIC_LOOKBACK = 40  # bars before the current one that structural_break reads, the longest of the 13 columns
BODY_BARS = 10  # bars in the mean body, with the current one, that a fair-value gap is measured against
GAP_BARS = 50  # bars that such a gap stays open at most
TACTICAL_LOOKBACK = GAP_BARS + BODY_BARS - 1
LOOKBACK = max(STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK)

VALUES = ("open", "high", "low", "close", "volume")
NAME_BYTES = 16

DAY_FIRST, MONTH_FIRST = "day_first", "month_first"
WHERE = "params.yaml: datasets.market.options"


def _is_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


Zone = Annotated[str, Must(_is_zone, "a time zone such as 'Asia/Jerusalem' or 'UTC'")]


@dataclass(frozen=True)
class Instrument:
    """How the times of one instrument's file are to be read; None is the dataset's default."""

    time_zone: Zone | None = None
    date_order: Literal["day_first", "month_first"] | None = None


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

    max_gap_minutes: Annotated[float, Must(lambda minutes: minutes > 0, "null or more than 0")] | None = None
    split_at_rolls: bool = False
    roll_jump: Annotated[float, Between(0, 1, is_open=True)] = 0.04
    max_bad_rows: Annotated[float, Between(0, 1)] = 0.1
    time_zone: Zone = "UTC"
    instruments: dict[str, Instrument] = field(default_factory=dict)

    def zone(self, instrument: str) -> str:
        """Return the zone of an instrument's times that name none."""
        return self._instrument(instrument).time_zone or self.time_zone

    def date_order(self, instrument: str) -> str | None:
        """Return the order that is set for the dates with slashes of an instrument."""
        return self._instrument(instrument).date_order

    def _instrument(self, name: str) -> Instrument:
        return self.instruments.get(name, Instrument())


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ParamsError
        With every wrong key, what was found and what is expected.
    """
    return build(Options, dict(entry), WHERE)
