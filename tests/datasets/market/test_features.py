"""The features of bars equal their definitions, written here in plain Python for one bar at a time."""

import math
import statistics

import numpy as np
import pytest

from stages.datasets.market.encode import strategic, tactical
from stages.datasets.market.encode.rolling import comoment, decayed_sum, ema, tanh
from stages.datasets.market.schema import LOOKBACK, STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK
from tests.helpers.market_bars import history, with_a_gap

PRICES = ("open", "high", "low", "close")


def correlation(x, y):
    """Return Pearson's r, 0 over a constant."""
    return statistics.correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else math.nan


def average(values, period):
    result = values[0]
    for value in values[1:]:
        result += 2 / (period + 1) * (value - result)
    return result


def strategic_by_hand(c, v, t):
    """Return the 13 columns of bar `t` from lists of closes and volumes."""
    changes = [b / a - 1 for a, b in zip(c[t - 30 : t - 1], c[t - 29 : t], strict=True)]
    moves = [b - a for a, b in zip(c[t - 15 : t - 1], c[t - 14 : t], strict=True)]
    mean, sd = statistics.fmean(c[t - 20 : t]), statistics.pstdev(c[t - 20 : t])
    volume = statistics.fmean(v[t - 10 : t])
    gain, loss = sum(m for m in moves if m > 0), -sum(m for m in moves if m < 0)
    slow = average(c[t - 26 : t], 26)
    regime = statistics.pstdev(changes)
    low = sorted(changes[-14:])
    values = {
        "price_change": c[t] / c[t - 1] - 1,
        "volume_ratio": v[t] / volume if volume else 1.0,
        "volatility": sd / mean,
        "momentum": c[t] / c[t - 10] - 1,
        "rsi": 1 - 1 / (1 + gain / loss) if loss else 1.0,
        "macd": average(c[t - 26 : t], 12) / slow - 1,
        "bollinger_position": (c[t] - mean) / (2 * sd) + 0.5 if sd else 0.5,
        "market_sentiment": math.tanh(10 * statistics.fmean(changes[-4:])),
        "correlation_strength": correlation(v[t - 20 : t], c[t - 20 : t]),
        "regime_indicator": float(regime > 0.02) - float(regime < 0.01),
        "risk_score": min(max(-20 * (low[0] + 0.65 * (low[1] - low[0])), 0), 1),
        "liquidity_index": min(2, v[t] / volume) / 2 if volume else 0.5,
        "structural_break": 1 - correlation(c[t - 40 : t - 20], c[t - 20 : t]),
    }
    return [0.0 if math.isnan(values[name]) else values[name] for name in strategic.COLUMNS]


def gaps_by_hand(bars):
    """Return bullish, bearish, level, age and signal of every bar, following the gaps bar by bar."""
    o, h, low, c = (bars[name].tolist() for name in PRICES)
    gaps, rows = [], []
    for t in range(len(c)):
        bodies = [abs(a - b) for a, b in zip(c[max(t - 9, 0) : t + 1], o[max(t - 9, 0) : t + 1], strict=True)]
        if t >= 2 and abs(c[t - 1] - o[t - 1]) > 1.5 * max(statistics.fmean(bodies), 0.001):
            gaps += [(True, low[t], h[t - 2], t)] if low[t] > h[t - 2] else []
            gaps += [(False, low[t - 2], h[t], t)] if h[t] < low[t - 2] else []
        met = [gap for gap in gaps if (low[t] <= gap[2] if gap[0] else h[t] >= gap[1])]
        gaps = [gap for gap in gaps if gap not in met and t - gap[3] <= 50]
        edges = [edge for _, upper, lower, _ in gaps for edge in (lower, upper)]
        level = min(edges, key=lambda edge: abs(edge - c[t]), default=0.0)
        age = int(statistics.fmean([t - gap[3] for gap in gaps] or [0]))
        signal = any(t - gap[3] < 20 for gap in met)
        rows.append((any(g[0] for g in gaps), any(not g[0] for g in gaps), level, age, signal))
    return np.array(rows, float)


@pytest.mark.parametrize("tick", [0.25, 0.01])
def test_strategic_columns_are_their_definitions(tick):
    """All 13 columns of 400 bars, on ticks that float64 holds exactly and on such that it does not."""
    bars = history(400, tick=tick)
    close, volume = bars["close"].tolist(), bars["volume"].tolist()
    found = strategic.columns(bars["close"], bars["volume"])
    expected = [strategic_by_hand(close, volume, t) for t in range(STRATEGIC_LOOKBACK, 400)]
    np.testing.assert_allclose(found[STRATEGIC_LOOKBACK:], expected, rtol=0, atol=1e-12)


def test_strategic_columns_of_a_market_that_stands_still():
    """Equal prices and no volume: what is not defined has its default, no NaN, no warning."""
    found = strategic.columns(np.full(60, 70.13), np.zeros(60))[STRATEGIC_LOOKBACK:]
    undefined = {"bollinger_position", "correlation_strength", "liquidity_index", "structural_break", "volume_ratio"}
    expected = {name: column.default if name in undefined else 0.0 for name, column in strategic.COLUMNS.items()}
    expected |= {"rsi": 1.0, "regime_indicator": -1.0}
    np.testing.assert_allclose(found, np.tile(list(expected.values()), (20, 1)), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("change", "regime"), [(0.005, -1), (0.015, 0), (0.025, 1)])
def test_regime_follows_the_size_of_the_returns(change, regime):
    """Closes that rise and fall in turn by 0.5, 1.5 and 2.5 %."""
    close = np.cumprod(np.where(np.arange(60) % 2, 1 + change, 1 / (1 + change)))
    found = strategic.columns(close, np.ones(60))[
        STRATEGIC_LOOKBACK:, list(strategic.COLUMNS).index("regime_indicator")
    ]
    assert found.tolist() == [regime] * 20


def test_lookbacks_are_those_of_the_columns():
    """The longest look-back of a column is what find takes into the halo."""
    assert max(column.lookback for column in strategic.COLUMNS.values()) == STRATEGIC_LOOKBACK == 40
    assert TACTICAL_LOOKBACK == LOOKBACK == 59


@pytest.mark.parametrize("seed", range(3))
def test_gaps_are_those_followed_bar_by_bar(seed):
    """Birth, mitigation, age and nearest edge of all gaps in 3,000 bars, on exact ticks: equal to the last bit."""
    bars = history(3000, seed, tick=0.25)
    expected = gaps_by_hand(bars)
    assert (expected[:, [0, 1, 4]].mean(axis=0) > 0.02).all()
    np.testing.assert_array_equal(tactical.raw(bars)[TACTICAL_LOOKBACK:, :5], expected[TACTICAL_LOOKBACK:])


def test_a_gap_of_which_all_is_known():
    """Born at bar 70 with edges 11 and 19, close 20.5: the nearer edge is 19, and after age 50 it is gone."""
    found = tactical.raw(with_a_gap())
    assert not found[59:70, :5].any()
    assert found[70, :5].tolist() == [1, 0, 19.0, 0, 0]
    assert found[120, :5].tolist() == [1, 0, 19.0, 50, 0]
    assert not found[121:, :5].any()
    np.testing.assert_array_equal(found[[73, 75], 5], [10.0, 0.0])
    scaled = tactical.scaled(found, np.ones(140), with_a_gap()["close"])
    np.testing.assert_allclose(scaled[72], [1, 0, -1.0, math.exp(-0.2), 0, 1.0, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize(("age", "signal"), [(1, 1), (19, 1), (20, 0), (50, 0)])
def test_a_gap_is_mitigated_with_a_signal_only_when_young(age, signal):
    """A low at the lower edge closes it; the bar itself says so if the gap is less than 20 bars old."""
    bars = with_a_gap()
    bars["low"][70 + age] = 11.0
    found = tactical.raw(bars)
    assert found[70 + age, :5].tolist() == [0, 0, 0, 0, signal]
    assert not found[71 + age : 130, :4].any()


def test_a_touch_of_the_upper_edge_only_leaves_a_gap_open():
    """A low one tick above the lower edge does not close it."""
    bars = with_a_gap()
    bars["low"][75] = 11.25
    assert tactical.raw(bars)[75, :5].tolist() == [1, 0, 19.0, 5, 0]


def test_volume_ratio_is_that_of_the_recursion():
    """The average begins with the larger of 1 and the first volume and takes 2 % of each volume, the first too."""
    volume = history(700)["volume"]
    volume[:3] = 0
    expected, average = [], max(volume[0], 1.0)
    for value in volume.tolist():
        average += 0.02 * (value - average)
        expected.append(value / average)
    np.testing.assert_allclose(tactical.volume_ratio(volume, np.arange(700)), expected, rtol=1e-13)
    standing_still = tactical.volume_ratio(np.zeros(9000), np.arange(9000))
    assert standing_still[500] == 0.0
    assert (tactical.volume_ratio(np.zeros(90), np.arange(90), scale="auto") == 1.0).all()


@pytest.mark.parametrize("n_bars", [1, 59, 200, 1000])
def test_the_average_of_the_volume_begins_so_many_bars_ago(n_bars):
    """Weights 0.98**i over a row and `n_bars` before; with fewer rows before the recursion from the first one on."""
    volume = history(1400)["volume"] + 1
    found = tactical.volume_ratio(volume, np.arange(1400), n_bars, "auto")
    weights = 0.98 ** np.arange(n_bars + 1)[::-1]
    for row in (n_bars, n_bars + 1, 1399):
        average = np.average(volume[row - n_bars : row + 1], weights=weights)
        assert found[row] == pytest.approx(volume[row] / average, rel=1e-12)
    for row in (0, n_bars - 1):
        average = volume[0]
        for value in volume[: row + 1].tolist():
            average += 0.02 * (value - average)
        assert found[row] == pytest.approx(volume[row] / average, rel=1e-12)


def test_the_columns_of_the_auto_scale_have_no_unit():
    """Prices times 2**-20 and volumes times 2**-10 give the same columns, to the last bit; the original ones do not."""
    bars = history(900)
    small = {name: values * 2.0**-20 for name, values in bars.items() if name in PRICES}
    columns = {}
    for scale in ("auto", "original"):
        large = tactical.raw({name: bars[name] for name in PRICES}, scale)
        tiny = tactical.raw(small, scale)
        columns[scale] = large[59:, [0, 1, 3, 4, 5]], tiny[59:, [0, 1, 3, 4, 5]]
    np.testing.assert_array_equal(*columns["auto"])
    assert columns["original"][0][:, :2].any()
    assert not columns["original"][1][:, :2].any()
    ratios = [tactical.volume_ratio(bars["volume"] * k, np.arange(900), 1000, "auto") for k in (1.0, 2.0**-10)]
    np.testing.assert_array_equal(*ratios)


def test_volume_ratio_scaled_is_the_tanh_of_its_logarithm():
    """0 for no volume, else tanh(ln(ratio)), within -1..1."""
    ratio = np.array([0.0, 1e-300, 0.01, 0.5, 1.0, 3.0, 20.0, 50.0])
    found = tactical.scaled(np.zeros((8, 6)), ratio, np.ones(8))[:, 6]
    np.testing.assert_allclose(found, [0.0, *np.tanh(np.log(ratio[1:]))], rtol=0, atol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 3, 10, 20, 29])
def test_moving_sums_do_not_depend_on_what_surrounds_them(k):
    """Sums, decayed sums and comoments of k rows: right, and with the same bits wherever the array begins and ends."""
    rng = np.random.default_rng(k)
    x, y = rng.normal(70, 3, (2, 400))
    weights = 0.9 ** np.arange(k)[::-1]
    stretches = [np.lib.stride_tricks.sliding_window_view(values, k) for values in (x, y)]
    deviations = [stretch - stretch.mean(axis=1, keepdims=True) for stretch in stretches]
    functions = {
        "sum": (lambda low, high: decayed_sum(x[low:high], k), stretches[0].sum(axis=1)),
        "decayed": (lambda low, high: decayed_sum(x[low:high], k, 0.9), stretches[0] @ weights),
        "comoment": (lambda low, high: comoment(x[low:high], y[low:high], k), (deviations[0] * deviations[1]).sum(1)),
    }
    for function, expected in functions.values():
        whole = function(0, 400)
        np.testing.assert_allclose(whole[k - 1 :], expected, rtol=1e-12, atol=1e-10)
        assert function(37, 311)[k - 1 :].tobytes() == whole[37 + k - 1 : 311].tobytes()
        assert len(function(0, 0)) == 0
        assert len(function(0, min(k, 2))) == min(k, 2)


def test_an_average_has_the_same_bits_wherever_the_array_begins_and_ends():
    """Two averages in one array equal each of them alone; rows before the first are not looked at."""
    x = np.random.default_rng(2).uniform(0, 9, 3000)
    age = np.concatenate([np.arange(-100, 900), np.arange(2000)])
    whole = ema(x, age, 0.02, np.copy)
    assert ema(x[100:700], np.arange(600), 0.02, np.copy).tobytes() == whole[100:700].tobytes()
    assert ema(x[1000:], np.arange(2000), 0.02, np.copy).tobytes() == whole[1000:].tobytes()


def test_tanh_is_that_of_the_c_library():
    """Within 3e-16 of math.tanh, odd, and 1 far out."""
    x = np.concatenate([np.linspace(-3, 3, 2001), [1e-9, 18.9, 50.0, 1e300, -1e300, 0.0]])
    np.testing.assert_allclose(tanh(x), [math.tanh(value) for value in x], rtol=0, atol=3e-16)
    np.testing.assert_array_equal(tanh(-x), -tanh(x))
