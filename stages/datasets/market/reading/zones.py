"""Wall clock -> UTC, a column at a time, by a table of the moments at which a zone's clocks change.

A time that the clocks skip does not exist. One that they show twice means the first pass, until the file's rows step
back within that hour: from there on the second.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

from stages.datasets.market.reading.times import DAY_NS

SECOND = 1_000_000_000
YEAR_NS = int(365.2425 * DAY_NS)


def to_utc(wall: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times in UTC.

    Parameters
    ----------
    wall
        int64 (N,): nanoseconds since 1970 on the zone's wall clock, in the order of the file.
    zone
        Name of a time zone.

    Returns
    -------
    utc
        int64 (N,).
    exists
        bool (N,): False where the clocks skip that time.
    is_twice
        bool (N,): True where they show it twice.

    Examples
    --------
    >>> noon = np.array(["2024-01-08T12:00"], "datetime64[ns]").astype(np.int64)
    >>> to_utc(noon, "Asia/Jerusalem")[0].astype("datetime64[ns]").astype("datetime64[m]")
    array(['2024-01-08T10:00'], dtype='datetime64[m]')
    """
    if zone == "UTC" or not len(wall):
        return wall, np.ones(len(wall), bool), np.zeros(len(wall), bool)
    moments, offsets = _table(zone, int(wall.min()) // YEAR_NS + 1969, int(wall.max()) // YEAR_NS + 1971)
    # What the clock shows at a change: it goes from `before` to `after`, and so skips or repeats what lies between.
    before, after = moments + offsets[:-1], moments + offsets[1:]
    low, high = np.minimum(before, after), np.maximum(before, after)
    # Times from `high` of one change up to `high` of the next are in one interval; only its end is odd.
    interval = np.searchsorted(high, wall, side="right")
    utc = wall - offsets[interval]
    is_odd = wall >= np.append(low, np.iinfo(np.int64).max)[interval]
    is_skipped = is_odd & np.append(after > before, False)[interval]
    is_twice = is_odd & ~is_skipped
    for change in np.unique(interval[is_twice]):
        rows = np.flatnonzero(is_twice & (interval == change))
        late = rows[_second_pass(wall[rows]) :]
        utc[late] = wall[late] - offsets[change + 1]
    return utc, ~is_skipped, is_twice


def _second_pass(wall: np.ndarray) -> int:
    """Return the first row of the second pass: after a step back, or, with one bar in that hour, a repeated time."""
    steps = np.diff(wall)
    for is_back in (steps < 0, steps == 0):
        if is_back.any():
            return int(is_back.argmax()) + 1
    return len(wall)


def _table(zone: str, first_year: int, last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the moments of change (C,) and the offsets before and after each (C+1,), both int64 ns."""
    changes = [change for year in range(first_year, last_year + 1) for change in _changes(zone, year)]
    first = _offset(ZoneInfo(zone), datetime(first_year, 1, 1, tzinfo=UTC))
    offsets = [first, *(offset for _, offset in changes)]
    return np.array([moment for moment, _ in changes], np.int64) * SECOND, np.array(offsets, np.int64) * SECOND


@cache
def _changes(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the moments in a year at which the offset changes and the offset from then on, both in seconds.

    Looked at day by day, then halved down to the second: the zone database has no public table.
    """
    info, day, end = ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    changes = []
    while day < end:
        low, high = day, day + timedelta(days=1)
        if _offset(info, low) != _offset(info, high):
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
                low, high = (middle, high) if _offset(info, middle) == _offset(info, day) else (low, middle)
            changes.append((int(high.timestamp()), _offset(info, high)))
        day += timedelta(days=1)
    return tuple(changes)


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0
