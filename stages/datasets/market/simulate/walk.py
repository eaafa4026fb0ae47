"""Simulated prices and volumes: a random walk whose size changes by day and by hour, on ticks.

A day's volatility follows a log-normal first-order autoregression, so calm and wild days come in clusters; within a day
volatility and volume peak when the New York stock exchange opens and closes. Prices gap between sessions, more so over
a weekend. Unadjusted rolls multiply the price on the first session from the 8th of March, June, September and December,
up and down in turn. One bar in 500 is missing, as in thin trade.

Every quantity has a random stream of its own that is drawn session by session, so a longer series begins with the
shorter one. The streams are those of NumPy's PCG64; a release of NumPy may change its normal distribution.
"""

import itertools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from stages.datasets.market.simulate.sessions import SESSION_MINUTES, bar_times, trading_days

MISSING_SHARE = 0.002
_DAY_VOLATILITY = 0.009  # standard deviation of a day's return, the median over the days
_PERSISTENCE, _SHOCK = 0.97, 0.09  # of the logarithm of a day's volatility: half of a shock is left after 23 days
_GAP = 0.25  # standard deviation of an overnight gap in units of the day's; a weekend's is twice that
_DAY_VOLUME = 400_000.0
_ROLL_MONTHS, _ROLL_DAY = (3, 6, 9, 12), 8
_STOCK_OPEN, _STOCK_CLOSE = 15.5, 22.0  # hours after 18:00
_FRIDAY_TO_SUNDAY = 2


@dataclass(frozen=True)
class Walk:
    """What is simulated: an instrument's name and numbers.

    `ticks` is the number of ticks in one unit of price, `roll` the relative size of the price jumps at rolls.
    """

    name: str
    seed: int
    start: date
    bar_minutes: int
    n_bars: int
    price: float
    ticks: int
    roll: float


def simulate(walk: Walk) -> dict[str, np.ndarray]:
    """Return the first `n_bars` bars from a date on.

    Returns
    -------
    dict
        ``time`` int64 (n_bars,), seconds since 1970 in UTC, when a bar opens; ``open``, ``high``, ``low``, ``close``
        int64, in ticks, low <= open, close <= high and low >= 1; ``volume`` int64, >= 0.
    """
    per_session = SESSION_MINUTES // walk.bar_minutes
    days = trading_days(walk.start, math.ceil(walk.n_bars / per_session * 1.02) + 5)
    time, is_open = bar_times(days, walk.bar_minutes)
    kept = is_open & (_stream(walk, "missing").random(time.shape) >= MISSING_SHARE)
    bars = {"time": time, **_bars(walk, days, is_open)}
    return {name: values[kept][: walk.n_bars] for name, values in bars.items()}


def _stream(walk: Walk, quantity: str) -> np.random.Generator:
    """Return the random numbers of one quantity of an instrument."""
    return np.random.default_rng([walk.seed, zlib.crc32(f"{walk.name}/{quantity}".encode())])


def _bars(walk: Walk, days: list[date], is_open: np.ndarray) -> dict[str, np.ndarray]:
    """Return prices and volumes of full sessions, each int64 (sessions, bars); nothing moves after an early close."""

    def normal(quantity: str, shape: tuple[int, ...] = is_open.shape) -> np.ndarray:
        return _stream(walk, quantity).standard_normal(shape)

    day_level = _day_level(normal("day", (len(days),)))
    hours = np.arange(is_open.shape[1]) * (walk.bar_minutes / 60)
    profile = _profile(hours)
    size = _DAY_VOLATILITY * day_level[:, None] * np.sqrt(profile / profile.sum()) * is_open
    # Mixing sizes gives returns heavier tails than a normal distribution's.
    moves = size * normal("move") * np.exp(0.4 * normal("size") - 0.16)
    gaps = _gaps(walk, days, _DAY_VOLATILITY * day_level * normal("gap", (len(days),)))
    prices = _prices(walk, moves, gaps, size, normal)
    noise = np.exp(0.5 * normal("volume") - 0.125)
    volume = np.rint(_DAY_VOLUME * day_level[:, None] * profile / profile.sum() * noise)
    return {**prices, "volume": volume.astype(np.int64)}


def _day_level(shocks: np.ndarray) -> np.ndarray:
    """Return each day's volatility relative to the median day's; the recursion runs over days, not over bars."""
    levels, level = [], 0.0
    for shock in (_SHOCK * shocks).tolist():
        level = _PERSISTENCE * level + shock
        levels.append(level)
    return np.exp(np.array(levels))


def _profile(hours: np.ndarray) -> np.ndarray:
    """Return how busy each hour after the open is, relative to the night."""
    peaks = [8 * np.exp(-((hours - hour) ** 2)) for hour in (_STOCK_OPEN, _STOCK_CLOSE)]
    is_day = (hours >= _STOCK_OPEN) & (hours < _STOCK_CLOSE)
    return 1 + 3 * is_day + sum(peaks)


def _gaps(walk: Walk, days: list[date], day_moves: np.ndarray) -> np.ndarray:
    """Return the logarithm of the price jump at the open of each session: chance, or a roll."""
    closed = np.array([0, *((later - day).days for day, later in itertools.pairwise(days))])
    gaps = _GAP * np.where(closed > _FRIDAY_TO_SUNDAY, 2, np.minimum(closed, 1)) * day_moves
    if walk.roll:
        rolls = [i for i, day in enumerate(days) if i and _quarter(day) != _quarter(days[i - 1])]
        gaps[rolls] = [math.log1p(walk.roll) * (1 if _quarter(days[i]) % 2 else -1) for i in rolls]
    return gaps


def _quarter(day: date) -> int:
    """Return the number of rolls there have been; it grows on the 8th of a roll month."""
    past = sum((day.month, day.day) >= (month, _ROLL_DAY) for month in _ROLL_MONTHS)
    return day.year * len(_ROLL_MONTHS) + past


def _prices(
    walk: Walk, moves: np.ndarray, gaps: np.ndarray, size: np.ndarray, normal: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """Return prices in ticks from the logarithms of the bars' moves and the sessions' gaps."""
    steps = moves.copy()
    steps[:, 0] += gaps
    level = np.cumsum(steps.ravel()).reshape(steps.shape)
    scale = walk.price * walk.ticks
    close = scale * np.exp(level)
    start = scale * np.exp(level - moves)
    ticks = {"open": start, "close": close}
    ticks = {name: np.maximum(np.rint(values), 1).astype(np.int64) for name, values in ticks.items()}
    above, below = (np.rint(0.6 * close * size * np.abs(normal(name))).astype(np.int64) for name in ("high", "low"))
    top, bottom = np.maximum(ticks["open"], ticks["close"]), np.minimum(ticks["open"], ticks["close"])
    return {**ticks, "high": top + above, "low": np.maximum(bottom - below, 1)}
