"""The 7 tactical columns of a bar: open fair-value gaps, momentum and volume against its moving average.

A fair-value gap is born at bar t when the body of bar t-1 is more than 1.5 times the mean body of bars t-9..t and the
prices of bars t-2 and t do not overlap: bullish from high[t-2] (lower edge) to low[t] (upper edge), bearish from
high[t] to low[t-2]. It is mitigated, and gone, at the first bar whose low (bullish) reaches the lower or whose high
(bearish) reaches the upper edge, and it is gone without a signal when it is more than 50 bars old.

So a bar depends on gaps of the last 50 bars, and these on the 9 bars before for the mean body: `TACTICAL_LOOKBACK`.
The average of the volume looks back on as many bars as the caller says, over segments.

The mean body has a floor, so that in a market that stands still the smallest move is no gap, and the average of the
volume one for its first row. With the scale ``auto`` the floor of a body is `BODY_SHARE` of the close, and the
average begins with the first volume as it is: no column depends on the units of price and volume. ``original`` has the
floors of the earlier system, `LEAST_BODY` in units of price and 1 in those of volume, with which a currency pair near 1
has no gaps at all.
"""

import math

import numpy as np

from stages.datasets.market.encode.rolling import decayed_sum, earlier, ema
from stages.datasets.market.schema import BODY_BARS, GAP_BARS, VOLUME_BARS

COLUMNS = {
    "fvg_bullish_active": "1 if a bullish gap is open",
    "fvg_bearish_active": "1 if a bearish gap is open",
    "fvg_nearest_level": "edge of an open gap next to the close: % from the close / 2, clipped to -1..1; 0 if none",
    "fvg_age": "exp(-0.1 mean age of the open gaps in whole bars); 1 if none",
    "fvg_mitigation_signal": "1 if a gap younger than 20 bars is mitigated at this bar",
    "price_momentum_5": "% change of the close over 5 bars / 5, clipped to -1..1",
    "volume_ratio": "tanh(ln(volume / its exponential average with weight 0.02)); 0 if the volume is 0",
}
CATEGORICAL = {"fvg_bullish_active", "fvg_bearish_active", "fvg_mitigation_signal"}
SIGNAL_BARS = 20
BODY_FACTOR = 1.5
LEAST_BODY = 0.001
BODY_SHARE = 1e-7  # 0.001 of a price of 10,000, for which the earlier system was made
LEAST_VOLUME = 1e-10  # an average below counts as 0
MOMENTUM_BARS = 5
ALPHA = 0.02
AGE_DECAY = np.array([math.exp(-0.1 * age) for age in range(GAP_BARS + 1)])


def raw(prices: dict[str, np.ndarray], scale: str = "original") -> np.ndarray:
    """Return all columns but the last as they are before scaling.

    Parameters
    ----------
    prices
        `open`, `high`, `low`, `close`: float64 (n,), above 0.
    scale
        ``auto`` or ``original``: the floor of the mean body.

    Returns
    -------
    ndarray
        float64 (n, 6): bullish and bearish 0/1, level (price, 0 if none), mean age in whole bars, signal 0/1, change of
        the close in % (clipped to -10..10). They have a meaning only where `TACTICAL_LOOKBACK` rows of the segment lie
        before.
    """
    close = prices["close"]
    before = earlier(close, MOMENTUM_BARS)
    momentum = np.clip(100.0 * (close - before) / before, -10.0, 10.0)
    return np.stack([*_follow(_births(prices, scale), prices), momentum], axis=1)


def volume_ratio(volume: np.ndarray, age: np.ndarray, n_bars: int = VOLUME_BARS, scale: str = "original") -> np.ndarray:
    """Return the volume against its exponential average over a row and up to `n_bars` rows before.

    Parameters
    ----------
    volume
        Volumes, not negative, float64 (n,).
    age
        Rows before each one that count, int64 (n,); those of a stretch rise by 1 from 0.
    n_bars
        How many of them the average looks back on: with 1,000 it differs from an endless one by 2e-9 of what they
        differ by before these.
    scale
        ``auto`` or ``original``: the floor of the volume with which the average begins.

    Returns
    -------
    ndarray
        float64 (n,), 1 where the average is 0.
    """
    least = 1.0 if scale == "original" else 0.0
    # Where fewer rows lie before, the average begins with the first one.
    young = np.flatnonzero(age < n_bars)
    average = np.empty_like(volume)
    average[young] = ema(volume[young], age[young], ALPHA, lambda v: (1.0 - ALPHA) * np.maximum(v, least) + ALPHA * v)
    if len(young) < len(volume):
        # Weights of 0.98**i that sum to 1: what lies further back is taken to be as large as what does not.
        old = decayed_sum(ALPHA * volume, n_bars + 1, 1.0 - ALPHA) / (1.0 - _power(1.0 - ALPHA, n_bars + 1))
        average = np.where(age < n_bars, average, old)
    is_defined = average > (LEAST_VOLUME if scale == "original" else 0.0)
    return np.where(is_defined, volume / np.where(is_defined, average, 1.0), 1.0)


def _power(base: float, exponent: int) -> float:
    """Return a power by multiplications, the same bits on every processor."""
    result = 1.0
    for _ in range(exponent):
        result *= base
    return result


def scaled(columns: np.ndarray, ratio: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Return what a model reads, float64 (n, 7) within -1..1, from `raw`, `volume_ratio` and the close."""
    bullish, bearish, level, age, signal, momentum = columns.T
    distance = np.where(level > 0.0, np.clip(100.0 * (level - close) / close, -2.0, 2.0) / 2.0, 0.0)
    square = ratio * ratio
    # tanh(ln(x)) is (x**2 - 1) / (x**2 + 1): the same bits on every processor, and x is at most 1 / ALPHA
    volume = np.where(ratio > 0.0, 1.0 - 2.0 / (square + 1.0), 0.0)
    momentum = np.clip(momentum / 5.0, -1.0, 1.0)
    return np.stack([bullish, bearish, distance, AGE_DECAY[age.astype(np.int64)], signal, momentum, volume], axis=1)


Gaps = dict[str, np.ndarray]


def _births(prices: dict[str, np.ndarray], scale: str) -> Gaps:
    """Return the gaps in the order of their birth: `row` int64, `bullish` bool, `lower` and `upper` edge."""
    body = np.abs(prices["close"] - prices["open"])
    least = LEAST_BODY if scale == "original" else BODY_SHARE * np.abs(prices["close"])
    mean_body = np.maximum(decayed_sum(body, BODY_BARS) / BODY_BARS, least)
    high, low = prices["high"], prices["low"]
    bullish = low > earlier(high, 2)
    bearish = high < earlier(low, 2)
    is_born = (earlier(body, 1) > BODY_FACTOR * mean_body) & (bullish | bearish)
    row = np.flatnonzero(is_born[2:]) + 2
    up = bullish[row]
    lower, upper = np.where(up, high[row - 2], high[row]), np.where(up, low[row], low[row - 2])
    return {"row": row, "bullish": up, "lower": lower, "upper": upper}


def _follow(gaps: Gaps, prices: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Follow all gaps at once through the bars of their life; return bullish, bearish, level, age and signal.

    At each age no two gaps are at the same row, so each row is written once; ages rise, so that of two levels equally
    near the later assignment, which is the earlier gap, wins.
    """
    close = prices["close"]
    n_bullish, n_open, age_sum = np.zeros((3, len(close)), np.int64)
    signal, level = np.zeros((2, len(close)))
    nearest = np.full(len(close), np.inf)
    for age in range(GAP_BARS + 1):
        # The gaps that live to see this age, and the bar at which they have it.
        gaps = _select(gaps, slice(np.searchsorted(gaps["row"], len(close) - age)))
        row = gaps["row"] + age
        # Those that are mitigated there go.
        is_met = np.where(gaps["bullish"], prices["low"][row] <= gaps["lower"], prices["high"][row] >= gaps["upper"])
        if age < SIGNAL_BARS:
            signal[row[is_met]] = 1.0
        gaps, row = _select(gaps, ~is_met), row[~is_met]
        # The others are open there.
        n_open[row] += 1
        n_bullish[row] += gaps["bullish"]
        age_sum[row] += age
        edge, distance = _nearer_edge(gaps, close[row])
        is_nearest = distance <= nearest[row]
        nearest[row[is_nearest]] = distance[is_nearest]
        level[row[is_nearest]] = edge[is_nearest]
    mean_age = age_sum // np.maximum(n_open, 1)
    return [n_bullish > 0, n_open > n_bullish, level, mean_age, signal]


def _select(gaps: Gaps, wanted: np.ndarray | slice) -> Gaps:
    return {name: values[wanted] for name, values in gaps.items()}


def _nearer_edge(gaps: Gaps, close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each gap's edge nearer to the close, the lower one of two equally near, and its distance."""
    to_lower, to_upper = np.abs(close - gaps["lower"]), np.abs(close - gaps["upper"])
    return np.where(to_upper < to_lower, gaps["upper"], gaps["lower"]), np.minimum(to_lower, to_upper)
