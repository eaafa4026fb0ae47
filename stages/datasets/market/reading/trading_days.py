"""Which daily, weekly and monthly bars come behind a gap, by a calendar of trading days that the bars themselves show.

A gap is a step over more than `USUAL_GAP_BARS` bars' length. For months that is counted in calendar months, for weeks
in weeks, for days in the days on which the instrument trades: those of its usual weekdays on which it, or another one
that trades on the same days, has a bar. So a holiday is no gap, and neither is a hole of some days in the data of a
lone instrument, which looks the same, unless its calendar is named (`exchanges`). Where nobody has a bar for more than
`LONGEST_CLOSURE` such weekdays, they count.
"""

from collections.abc import Mapping

import numpy as np

from stages.datasets.market.reading.segments import USUAL_GAP_BARS
from stages.datasets.market.reading.times import DAY_NS
from stages.datasets.market.schema import LEAST_DAY_NS

LONGEST_CLOSURE = 10  # weekdays; China's Golden Week and New Year have up to 8
LEAST_ALIKE = 0.97  # of the days of two instruments within the time of both that are days of both; other exchanges: 0.9
LEAST_WEEKDAY = 0.2  # of the bars on the commonest weekday that a usual one has
WEEK_NS, MONTH_NS = 7 * DAY_NS, 30.4 * DAY_NS
LEAST_WEEK_NS, LEAST_MONTH_NS = 4 * DAY_NS, 20 * DAY_NS


def are_long(step_ns: float) -> bool:
    """Say whether bars with this usual step between them are of a day or longer."""
    return step_ns >= LEAST_DAY_NS


def are_days(time: np.ndarray) -> bool:
    """Say whether gaps between bars at these times, int64 ns UTC, sorted, are counted in trading days."""
    return len(time) > 1 and bool(np.median(np.diff(time)) < LEAST_WEEK_NS)


def calendars(times: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the trading days of each instrument, days since 1970, int64, sorted.

    Parameters
    ----------
    times
        Of the bars of each instrument with daily bars, int64 (N,) ns UTC, sorted.
    """
    days = {name: np.unique(time // DAY_NS) for name, time in times.items() if len(time)}
    if not days:
        return {}
    first, stop = min(int(one[0]) for one in days.values()), max(int(one[-1]) for one in days.values()) + 1
    has_bar = {name: _marked(one - first, stop - first) for name, one in days.items()}
    return {name: first + np.flatnonzero(_trades(name, has_bar, first)) for name in days}


def _marked(places: np.ndarray, size: int) -> np.ndarray:
    marks = np.zeros(size, bool)
    marks[places] = True
    return marks


def _trades(name: str, has_bar: Mapping[str, np.ndarray], first: int) -> np.ndarray:
    """Return on which days from `first` on an instrument trades, bool."""
    own = has_bar[name]
    any_bar = np.logical_or.reduce([one for one in has_bar.values() if one is own or _alike(own, one)])
    # The weekdays on which it usually trades.
    weekday = (first + np.arange(len(own))) % 7
    counts = np.bincount(weekday[own], minlength=7)
    is_usual = (counts >= LEAST_WEEKDAY * counts.max())[weekday]
    # Of those, days on which nobody has a bar are holidays, unless there are many of them together.
    places = np.flatnonzero(is_usual)
    is_quiet = ~any_bar[places]
    begins = np.flatnonzero(np.diff(np.concatenate([[False], is_quiet])) & is_quiet)
    ends = np.flatnonzero(np.diff(np.concatenate([is_quiet, [False]])) & is_quiet) + 1
    trades = own | (any_bar & is_usual)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end - begin > LONGEST_CLOSURE:
            trades[places[begin:end]] = True
    return trades


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Say whether two instruments trade on the same days, within the time of both."""
    low = max(int(a.argmax()), int(b.argmax()))
    high = min(len(a) - int(a[::-1].argmax()), len(b) - int(b[::-1].argmax()))
    n_any = int((a[low:high] | b[low:high]).sum()) if low < high else 0
    return n_any > 0 and int((a[low:high] & b[low:high]).sum()) >= LEAST_ALIKE * n_any


def behind_gaps(time: np.ndarray, trading_days: np.ndarray | None) -> np.ndarray:
    """Say which bars of a day or longer come behind a gap, bool (B,).

    Parameters
    ----------
    time
        int64 (B,) ns UTC, sorted.
    trading_days
        Of the instrument, as `calendars` gives them; None for bars longer than days.
    """
    result = np.zeros(len(time), bool)
    if len(time) < 2:
        return result
    usual = float(np.median(np.diff(time)))
    if usual >= LEAST_MONTH_NS:
        number = time.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
        length = max(1, round(usual / MONTH_NS))
    elif usual >= LEAST_WEEK_NS or trading_days is None:
        number, length = (time // DAY_NS + 3) // 7, max(1, round(usual / WEEK_NS))  # day 0 was a Thursday
    else:
        number, length = np.searchsorted(trading_days, time // DAY_NS), max(1, round(usual / DAY_NS))
    result[1:] = np.diff(number) > USUAL_GAP_BARS * length
    return result
