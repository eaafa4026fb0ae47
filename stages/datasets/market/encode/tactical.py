"""The 7 tactical columns of a bar: open fair-value gaps, momentum and volume against its moving average.

A fair-value gap is born at bar t when the body of bar t-1 is more than 1.5 times the mean body of bars t-9..t and the
prices of bars t-2 and t do not overlap: bullish from high[t-2] (lower edge) to low[t] (upper edge), bearish from
high[t] to low[t-2]. It is mitigated, and gone, at the first bar whose low (bullish) reaches the lower or whose high
(bearish) reaches the upper edge, and it is gone without a signal when it is more than 50 bars old.

So a bar depends on gaps of the last 50 bars, and these on the 9 bars before for the mean body: `TACTICAL_LOOKBACK`. The
average of the volume begins at a row that the caller defines.
"""

import math

import numpy as np

from stages.datasets.market.encode.rolling import decayed_sum, earlier, ema
from stages.datasets.market.schema import BODY_BARS, GAP_BARS

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
MOMENTUM_BARS = 5
ALPHA = 0.02
AGE_DECAY = np.array([math.exp(-0.1 * age) for age in range(GAP_BARS + 1)])


def raw(prices: dict[str, np.ndarray]) -> np.ndarray:
    """Return all columns but the last as they are before scaling.

    Parameters
    ----------
    prices
        `open`, `high`, `low`, `close`: float64 (n,), above 0.

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
    return np.stack([*_follow(_births(prices), prices), momentum], axis=1)


def volume_ratio(volume: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Return the volume against its exponential average.

    Parameters
    ----------
    volume
        Volumes, not negative, float64 (n,).
    age
        Rows since the average began, int64 (n,); 0.98**1000 < 2e-9 is the weight of all before 1,000 rows ago.

    Returns
    -------
    ndarray
        float64 (n,), 1 where the average is 0.
    """
    average = ema(volume, age, ALPHA, lambda v: (1.0 - ALPHA) * np.maximum(v, 1.0) + ALPHA * v)
    is_defined = np.abs(average) > 1e-10
    return np.where(is_defined, volume / np.where(is_defined, average, 1.0), 1.0)


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


def _births(prices: dict[str, np.ndarray]) -> Gaps:
    """Return the gaps in the order of their birth: `row` int64, `bullish` bool, `lower` and `upper` edge."""
    body = np.abs(prices["close"] - prices["open"])
    mean_body = np.maximum(decayed_sum(body, BODY_BARS) / BODY_BARS, LEAST_BODY)
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
