"""The 13 strategic columns of a bar: returns, volatility, oscillators and regime over up to 40 bars.

Formulas are those of the earlier system, with its peculiarities (they are named in `COLUMNS`). All windows but those of
`price_change`, `volume_ratio`, `momentum` and `liquidity_index` end at the bar before; no column sees a later bar.
C and V are close and volume, t the row, `mean` and `sd` over all rows of a window (population), r[t] = C[t]/C[t-1] - 1.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.market.encode.rolling import comoment, decayed_sum, earlier, tanh
from stages.datasets.market.schema import STRATEGIC_LOOKBACK

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Column:
    """A column: how many rows back its oldest bar lies, its value when undefined, and its meaning."""

    lookback: int
    default: float
    doc: str


COLUMNS = {
    "price_change": Column(1, 0.0, "r[t]"),
    "volume_ratio": Column(10, 1.0, "V[t] / mean V[t-10..t-1]; 1 if that is 0"),
    "volatility": Column(20, 0.1, "sd / mean of C[t-20..t-1]: of prices, not of returns"),
    "momentum": Column(10, 0.0, "C[t] / C[t-10] - 1"),
    "rsi": Column(15, 0.5, "Cutler's RSI over the 14 moves within C[t-15..t-1], 0..1; 1 without a falling move"),
    "macd": Column(26, 0.0, "(E12 - E26) / E26, exponential averages over C[t-26..t-1] that begin with C[t-26]"),
    "bollinger_position": Column(20, 0.5, "(C[t] - mean) / (2 sd) + 0.5 over C[t-20..t-1]; 0.5 if sd is 0"),
    "market_sentiment": Column(5, 0.0, "tanh(10 mean of r[t-4..t-1])"),
    "correlation_strength": Column(20, 0.0, "Pearson's r of V and C over t-20..t-1; 0 if undefined"),
    "regime_indicator": Column(30, 0.0, "1 if sd of r[t-29..t-1] is above 0.02, -1 if below 0.01, else 0"),
    "risk_score": Column(15, 0.5, "-20 times the 5 % quantile of r[t-14..t-1], clipped to 0..1"),
    "liquidity_index": Column(10, 0.5, "min(2, volume_ratio) / 2; 0.5 if that is undefined"),
    "structural_break": Column(STRATEGIC_LOOKBACK, 0.0, "1 - Pearson's r of C[t-40..t-21] and C[t-20..t-1]"),
}
CATEGORICAL = {"regime_indicator"}


def columns(close: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Return the columns of `COLUMNS`.

    Parameters
    ----------
    close
        Closing prices above 0, float64 (n,).
    volume
        Volumes, not negative, float64 (n,).

    Returns
    -------
    ndarray
        float64 (n, 13); a column has a meaning only where its look-back lies within the segment: for all of them, where
        `STRATEGIC_LOOKBACK` rows of the segment lie before.
    """
    found = _price(close) | _returns(close) | _volume(volume) | _correlations(close, volume)
    return np.stack([found[name] for name in COLUMNS], axis=1)


def _rows(name: str) -> int:
    """Return the number of rows in the window of a column, which ends at the row before."""
    return COLUMNS[name].lookback


def _price(close: np.ndarray) -> Columns:
    k = _rows("volatility")
    mean = earlier(decayed_sum(close, k), 1) / k
    deviation = np.sqrt(earlier(comoment(close, close, k), 1) / k)
    before = earlier(close, _rows("momentum"))
    fast, slow = _truncated_ema(close, 12), _truncated_ema(close, 26)
    return {
        "volatility": deviation / mean,
        "bollinger_position": _ratio(close - mean, 2.0 * deviation, 0.0) + 0.5,
        "momentum": (close - before) / before,
        "macd": (fast - slow) / slow,
    }


def _truncated_ema(close: np.ndarray, period: int) -> np.ndarray:
    """Return the exponential average of the rows before that begins with the oldest of them."""
    k, alpha = _rows("macd"), 2.0 / (period + 1)
    seed_weight = 1.0
    for _ in range(k - 1):
        seed_weight *= 1.0 - alpha
    return alpha * earlier(decayed_sum(close, k - 1, 1.0 - alpha), 1) + seed_weight * earlier(close, k)


def _returns(close: np.ndarray) -> Columns:
    before = earlier(close, 1)
    move = close - before
    change = move / before
    n_moves, n_sentiment, n_regime = (_rows(name) - 1 for name in ("rsi", "market_sentiment", "regime_indicator"))
    gain = earlier(decayed_sum(np.maximum(move, 0.0), n_moves), 1)
    loss = earlier(decayed_sum(np.maximum(-move, 0.0), n_moves), 1)
    deviation = np.sqrt(earlier(comoment(change, change, n_regime), 1) / n_regime)
    quantile = earlier(_low_quantile(change, _rows("risk_score") - 1), 1)
    return {
        "price_change": change,
        "rsi": _ratio(gain, gain + loss, 1.0),
        "market_sentiment": tanh(10.0 * (earlier(decayed_sum(change, n_sentiment), 1) / n_sentiment)),
        "regime_indicator": np.where(deviation > 0.02, 1.0, np.where(deviation < 0.01, -1.0, 0.0)),
        "risk_score": np.clip(-20.0 * quantile, 0.0, 1.0),
    }


def _low_quantile(x: np.ndarray, k: int) -> np.ndarray:
    """Return the 5 % quantile of the last `k` rows, between the two lowest values (3 <= k <= 20)."""
    lowest, second = x, np.full_like(x, np.inf)
    for lag in range(1, k):
        value = earlier(x, lag)
        second = np.minimum(second, np.maximum(lowest, value))
        lowest = np.minimum(lowest, value)
    return lowest + 0.05 * (k - 1) * (second - lowest)


def _volume(volume: np.ndarray) -> Columns:
    k = _rows("volume_ratio")
    mean = earlier(decayed_sum(volume, k), 1) / k
    ratio = _ratio(volume, mean, 1.0)
    return {"volume_ratio": ratio, "liquidity_index": np.minimum(2.0, ratio) / 2.0}


def _correlations(close: np.ndarray, volume: np.ndarray) -> Columns:
    k = _rows("correlation_strength")
    block = _rows("structural_break") // 2
    before = earlier(close, block)
    close_square, volume_square = comoment(close, close, k), comoment(volume, volume, k)
    with_volume = _pearson(comoment(volume, close, k), volume_square, close_square, 0.0)
    with_before = _pearson(comoment(before, close, block), earlier(close_square, block), close_square, 1.0)
    return {"correlation_strength": earlier(with_volume, 1), "structural_break": earlier(1.0 - with_before, 1)}


def _pearson(moment: np.ndarray, x_square: np.ndarray, y_square: np.ndarray, undefined: float) -> np.ndarray:
    return np.clip(_ratio(moment, np.sqrt(x_square) * np.sqrt(y_square), undefined), -1.0, 1.0)


def _ratio(a: np.ndarray, b: np.ndarray, undefined: float) -> np.ndarray:
    """Return a / b, or `undefined` where b is 0."""
    is_defined = b > 0.0
    return np.where(is_defined, a / np.where(is_defined, b, 1.0), undefined)
