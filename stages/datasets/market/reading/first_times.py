"""The times of the first bars of a file -> the zone behind them, and whether they are dates."""

import re
from collections.abc import Sequence

import numpy as np

from stages.datasets.market import schema
from stages.datasets.market.reading import bar_faults, rows, times
from stages.datasets.market.reading.dialect import FileDialect
from stages.datasets.market.reading.rows import Rows

PLACE = re.compile(r" ([A-Za-z]+(?:/[A-Za-z_]+)+)[\s\"]*$")  # a zone behind a time


def named_zone(body: Sequence[Sequence[str]], columns: tuple[int, ...]) -> str:
    """Return the zone that stands behind all of the first times, empty for none or several."""
    texts = [row[columns[-1]] for row in body if columns[-1] < len(row)]
    found = {match[1] if (match := PLACE.search(text)) else "" for text in texts}
    return times.zone_of(found.pop()) if len(found) == 1 else ""


def some_times(table: Rows, dialect: FileDialect, content: bytes) -> np.ndarray:
    """Return the times of some rows as they stand on the wall, int64; slashes in the order that reads more of them."""
    other = rows.parse(content, dialect, not dialect.is_month_first)[0] if table.is_slash.any() else table
    counts = [int((one.fault & bar_faults.TIME == 0).sum()) for one in (table, other)]
    chosen = other if counts[1] > counts[0] and not dialect.is_order_known else table
    return chosen.ns[chosen.fault & bar_faults.TIME == 0]


def are_days(time: np.ndarray, steps: np.ndarray, body: Sequence[Sequence[str]], columns: tuple[int, ...]) -> bool:
    """Say whether bars are of a day or more and their times are dates: of one bar the text tells."""
    texts = [" ".join(row[at] for at in columns if at < len(row)) for row in body]
    has_clock = any(":" in text for text in texts)
    if len(time) == 1:
        return not has_clock and len(texts[0].strip()) <= len("Mar 04, 2024")
    return bool(np.median(steps) >= schema.LEAST_DAY_NS) and _all_midnight(texts, time)


def _all_midnight(texts: Sequence[str], time: np.ndarray) -> bool:
    is_written = all(":" not in text or " 00:00" in text or "T00:00" in text for text in texts)
    return is_written and (any(":" in text for text in texts) or bool((time % times.DAY_NS == 0).all()))
