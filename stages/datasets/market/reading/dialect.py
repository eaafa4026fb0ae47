"""How the bytes of a file of bars are to be read: what the first lines, the options and the whole file say, resolved.

discover finds it once and writes it into the context of each unit; process reads by it and looks at no first line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

NO_COLUMN = -1


@dataclass(frozen=True)
class FileDialect:
    """How a file is read.

    Attributes
    ----------
    layout
        Name of the layout that it was recognised as.
    header_bytes
        Where the first bar begins; no part of what process needs.
    separator, n_columns
        What stands between the cells of a row, and how many there are.
    time
        Columns of the time: one, or date and time.
    values
        Columns of open, high, low, close and volume; `NO_COLUMN` where there is no volume.
    adjusted
        Column of an adjusted close by which prices are scaled, or `NO_COLUMN`.
    added
        Column that is added to the volume, or `NO_COLUMN`.
    decimal
        The mark before decimals.
    words
        What numbers may have beside digits, such as ``$KMB``; K, M, B and T multiply.
    scale
        What prices are multiplied by.
    lot
        What volumes are multiplied by.
    day
        The day, such as 2024-03-04, whose midnight times are milliseconds since; empty where they are not.
    time_format
        As in `schema.Format`; empty for all that `times` knows.
    zone
        Zone of times that name none.
    is_days
        Whether times are dates: they are midnight UTC, whatever zone or offset is said.
    shift_ns
        What is added to each time.
    is_month_first, is_newest_first
        The order of dates with slashes, and of the rows.
    is_order_known
        Whether the former is said, by options or layout; no part of what process needs.
    has_negative
        Whether prices of 0 and less are bars.
    header
        The lines before the first bar, without blanks around; no part of what process needs.
    again
        The same, where such a line stands among the bars.
    has_ticks
        Whether the volume is a number of ticks that stands beside another one; no part of what process needs.
    """

    layout: str
    separator: str
    n_columns: int
    time: tuple[int, ...]
    values: tuple[int, ...]
    header_bytes: int = field(default=0, metadata={"is_local": True})
    adjusted: int = NO_COLUMN
    added: int = NO_COLUMN
    decimal: str = "."
    words: str = ""
    scale: float = 1.0
    lot: float = 1.0
    day: str = ""
    time_format: str = ""
    zone: str = "UTC"
    is_days: bool = False
    shift_ns: int = 0
    is_month_first: bool = False
    is_newest_first: bool = False
    is_order_known: bool = field(default=False, metadata={"is_local": True})
    has_negative: bool = False
    header: tuple[str, ...] = field(default=(), metadata={"is_local": True})
    again: tuple[str, ...] = ()
    has_ticks: bool = field(default=False, metadata={"is_local": True})

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values: what differs from the defaults, without what only discover needs."""
        defaults = {one.name: one.default for one in fields(self) if not one.metadata}
        found = vars(self)
        kept = {name: found[name] for name, default in defaults.items() if found[name] != default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}


def from_json(entry: Mapping[str, Any]) -> FileDialect:
    """Return what `to_json` was made of."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return FileDialect(**values)
