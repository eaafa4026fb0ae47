"""140 half-hour bars around the end of a month whose features were worked out by hand.

tests/datasets/market/golden/NQ.csv stands still at 9.5 (open), 11, 9, 10.5 (close), volume 100, but for a jump: row 69
closes at 19.5, and from row 70 on all prices are higher by 10. January ends with row 119.

Row 70: the 20 closes before are 19 of 10.5 and one of 19.5: mean 10.95, sd sqrt(3.8475). Averages over 26 closes end on
10.5 + 9 * 2/13 and 10.5 + 9 * 2/27. The four returns before are 0, 0, 0 and 9/10.5; none is below 0.
The body of row 69 is 10, the mean of bodies 61..70 is 1.9: a bullish gap from 11 (high of row 68) to 19 (low of row
70).
"""

import math
from pathlib import Path

import numpy as np
import pytest

from stages.datasets.base import group_id
from stages.datasets.market import encode
from stages.datasets.market.find import find

GOLDEN = Path(__file__).parent / "golden"
JANUARY_29_NOON_NS = 1_706_529_600 * 10**9
ROW_70 = {
    "price_change": 1 / 19.5,
    "volume_ratio": 1.0,
    "volatility": math.sqrt(3.8475) / 10.95,
    "momentum": 10 / 10.5,
    "rsi": 1.0,
    "macd": (9 * 2 / 13 - 9 * 2 / 27) / (10.5 + 9 * 2 / 27),
    "bollinger_position": (20.5 - 10.95) / (2 * math.sqrt(3.8475)) + 0.5,
    "market_sentiment": math.tanh(10 * 9 / 10.5 / 4),
    "correlation_strength": 0.0,
    "regime_indicator": 1.0,
    "risk_score": 0.0,
    "liquidity_index": 0.5,
    "structural_break": 0.0,
}


@pytest.fixture(scope="module")
def golden():
    units = find(GOLDEN, {})
    assert [unit.key for unit in units] == ["NQ/2024-01", "NQ/2024-02"]
    return encode.encode(encode.read(GOLDEN, units, {}), {})


def test_strategic_columns_of_a_jump(golden):
    """Row 70, every column by name; row 139, long after, has only what does not look back: everything at rest."""
    row = dict(zip(encode.FIELDS["strategic"].names, golden["strategic"][70].tolist(), strict=True))
    assert row == pytest.approx(ROW_70, rel=1e-6, abs=1e-9)
    at_rest = [0, 1, 0, 0, 1, 0, 0.5, 0, 0, -1, 0, 0.5, 0]
    np.testing.assert_allclose(golden["strategic"][139], at_rest, rtol=0, atol=1e-7)


def test_tactical_columns_of_a_gap(golden):
    """Born at row 70, two bars old at row 72 with the momentum of the jump, 50 at row 120, gone at row 121."""
    gone = [0, 0, 0, 1, 0, 0, 0]
    expected = {69: [0, 0, 0, 1, 0, 1, 0], 70: [1, 0, -1, 1, 0, 1, 0], 72: [1, 0, -1, math.exp(-0.2), 0, 1, 0]}
    expected |= {120: [1, 0, -1, math.exp(-5), 0, 0, 0], 121: gone, 139: gone}
    for row, values in expected.items():
        np.testing.assert_allclose(golden["tactical"][row], values, rtol=0, atol=1e-7)


def test_rows_groups_and_warm_up(golden):
    """One segment, two groups; features from rows 40 and 59 on; the volume's average begins with January."""
    row = np.arange(140)
    np.testing.assert_array_equal(golden["time"], JANUARY_29_NOON_NS + row * 1800 * 10**9)
    assert set(golden["segment"].tolist()) == {JANUARY_29_NOON_NS}
    assert golden["group_offsets"].tolist() == [0, 120, 140]
    ids = [group_id(f"market NQ {JANUARY_29_NOON_NS} 2024-{month}") for month in ("01", "02")]
    assert golden["group_id"].tolist() == ids
    np.testing.assert_array_equal(golden["valid_strategic"], row >= 40)
    np.testing.assert_array_equal(golden["valid_tactical"], row >= 59)
    np.testing.assert_array_equal(golden["lookback"], row)
    assert golden["line"][[0, 119, 120, 139]].tolist() == [1, 120, 1, 20]
