"""When a simulated futures exchange trades: bar times by session.

A session is a trading day, Monday to Friday in New York: it opens at 18:00 the evening before and closes at 17:00, so
an hour's break lies between two of them and a weekend is closed from Friday 17:00 to Sunday 18:00. It is closed on 1
January and 25 December, and closes at 13:00 on 4 July, Thanksgiving and 24 December. Summer time begins and ends while
the exchange is closed, so a session has one offset from UTC.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

EXCHANGE_ZONE = "America/New_York"
SESSION_MINUTES = 23 * 60
_EARLY_MINUTES = 19 * 60
_CLOSED = ((1, 1), (12, 25))
_THURSDAY, _SATURDAY = 3, 5


def trading_days(start: date, n_days: int) -> list[date]:
    """Return the first trading days from a date on."""
    days: list[date] = []
    day = start
    while len(days) < n_days:
        if day.weekday() < _SATURDAY and (day.month, day.day) not in _CLOSED:
            days.append(day)
        day += timedelta(days=1)
    return days


def open_minutes(day: date) -> int:
    """Return how long a session lasts.

    Examples
    --------
    >>> [open_minutes(date(2024, 11, 27 + i)) // 60 for i in range(3)]
    [23, 19, 23]
    """
    is_thanksgiving = day.month == 11 and day.weekday() == _THURSDAY and 22 <= day.day <= 28
    is_early = is_thanksgiving or (day.month, day.day) in ((7, 4), (12, 24))
    return _EARLY_MINUTES if is_early else SESSION_MINUTES


def bar_times(days: list[date], bar_minutes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return when the bars of full sessions open, and which of them the exchange is open for.

    Parameters
    ----------
    days
        D trading days.
    bar_minutes
        Length of a bar; divides 60.

    Returns
    -------
    times : ndarray
        int64 (D, bars of a full session), seconds since 1970 in UTC.
    is_open : ndarray
        bool of the same shape; False after an early close.
    """
    zone, evening = ZoneInfo(EXCHANGE_ZONE), time(18)
    opens = [datetime.combine(day - timedelta(days=1), evening, zone).astimezone(UTC) for day in days]
    minutes = np.arange(0, SESSION_MINUTES, bar_minutes)
    times = np.array([int(moment.timestamp()) for moment in opens], np.int64)[:, None] + 60 * minutes
    return times, minutes < np.array([open_minutes(day) for day in days])[:, None]
