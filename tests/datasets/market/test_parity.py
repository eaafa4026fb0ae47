"""The features of 5,001 real half-hour bars equal those of the earlier system, and so do windows cut from them."""

import numpy as np
import pytest

from stages.datasets.market.encode import encode, strategic, tactical
from stages.datasets.market.encode.rolling import ema
from stages.datasets.market.schema import STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK, VOLUME_BARS
from stages.processed.windows import gather
from tests.helpers.market_bars import HALF_HOUR_NS, table
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "market" / "nq30_0_5000.npz"
pytestmark = pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference bars are not beside the repository")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def bars(reference):
    """Return the bars as one segment in one month, which is how the reference looks at them."""
    n = len(reference["ohlcv"])
    prices = dict(zip(("open", "high", "low", "close", "volume"), reference["ohlcv"].T.copy(), strict=True))
    ones = {name: np.zeros(n, np.int64) for name in ("segment", "month")}
    return {**prices, **ones, "time": np.arange(n) * HALF_HOUR_NS, "line": np.arange(n, dtype=np.int32)}


@pytest.fixture(scope="module")
def arrays(bars):
    return encode(table(bars, [0], VOLUME_BARS), {"scale": "original"})


def test_columns_and_their_look_backs_are_the_references(reference):
    assert list(strategic.COLUMNS) == reference["strategic_names"].tolist()
    assert [column.lookback for column in strategic.COLUMNS.values()] == reference["strategic_warmup"].tolist()
    assert [column.default for column in strategic.COLUMNS.values()] == reference["strategic_default"].tolist()
    assert list(tactical.COLUMNS) == reference["fvg_names"].tolist()


def test_strategic_columns_are_the_references(reference, bars):
    """Each column from its own look-back on, to 1e-12 before the cast."""
    found = strategic.columns(bars["close"], bars["volume"])
    for index, lookback in enumerate(reference["strategic_warmup"]):
        expected = reference["strategic_global"][lookback:, index]
        np.testing.assert_allclose(found[lookback:, index], expected, rtol=0, atol=1e-12)


def test_isolated_windows_can_be_had_from_the_columns(reference, bars):
    """What the earlier system emitted: a window on its own, with defaults in 35.6 % of its cells."""
    found = gather(strategic.columns(bars["close"], bars["volume"]), reference["strategic_window_start"], 48)
    for index, column in enumerate(strategic.COLUMNS.values()):
        found[:, : column.lookback, index] = column.default
    np.testing.assert_allclose(found, reference["strategic_windows_isolated"], rtol=0, atol=1e-12)


def test_raw_tactical_columns_are_the_references(reference, bars):
    """Gaps and momentum to the last bit, the volume's ratio to 1e-12, and to 1e-8 beyond its look-back."""
    found, expected = tactical.raw(bars)[TACTICAL_LOOKBACK:], reference["fvg_raw"][TACTICAL_LOOKBACK:]
    np.testing.assert_array_equal(found, expected[:, :6])
    ratio = tactical.volume_ratio(bars["volume"], np.arange(len(bars["volume"])))
    expected = reference["fvg_raw"][:, 6]
    np.testing.assert_allclose(ratio[:VOLUME_BARS], expected[:VOLUME_BARS], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ratio, expected, rtol=1e-8)


def test_arrays_are_the_references(reference, arrays):
    """What is stored, float32: tactical columns to the last bit, the volume's and strategic ones to a rounding."""
    expected = reference["strategic_global"][STRATEGIC_LOOKBACK:].astype(np.float32)
    np.testing.assert_allclose(arrays["strategic"][STRATEGIC_LOOKBACK:], expected, rtol=1.2e-7, atol=1e-9)
    found, expected = arrays["tactical"][TACTICAL_LOOKBACK:], reference["fvg_processed"][TACTICAL_LOOKBACK:]
    np.testing.assert_array_equal(found[:, :6], expected[:, :6])
    np.testing.assert_allclose(found[:, 6], expected[:, 6], rtol=1.2e-7, atol=1e-8)
    is_whole = np.arange(len(found)) < VOLUME_BARS - TACTICAL_LOOKBACK
    np.testing.assert_array_equal(found[is_whole], expected[is_whole])


@pytest.mark.parametrize("segment_rows", [230, 46])
def test_segments_do_not_begin_the_average_anew(reference, bars, segment_rows):
    """In weekly and daily segments the volume's column is the endless one of the reference, in each valid row."""
    row = np.arange(len(bars["time"]))
    months = {"segment": row // segment_rows * segment_rows * HALF_HOUR_NS, "month": row // 900}
    found = encode(table(bars | months, sorted(set(months["month"].tolist())), VOLUME_BARS), {"scale": "original"})
    is_valid = found["valid_tactical"].astype(bool)
    assert is_valid.any() == (segment_rows > TACTICAL_LOOKBACK)
    expected = reference["fvg_processed"][:, 6]
    np.testing.assert_allclose(found["tactical"][is_valid, 6], expected[is_valid], rtol=1.2e-7, atol=1e-8)


@pytest.mark.parametrize(("name", "expected", "starts", "window", "lookback"), [
    ("strategic", "strategic_windows_global", "strategic_window_start", 48, STRATEGIC_LOOKBACK),
    ("tactical", "fvg_windows", "tactical_window_start", 60, TACTICAL_LOOKBACK),
])  # fmt: skip
def test_windows_are_the_references(reference, arrays, name, expected, starts, window, lookback):
    """Windows cut from the stored rows, but for those that reach into the warm-up."""
    is_warm = reference[starts] >= lookback
    assert is_warm.sum() == len(is_warm) - 2
    found = gather(arrays[name], reference[starts][is_warm], window)
    np.testing.assert_allclose(found, reference[expected][is_warm], rtol=1.2e-7, atol=1e-8)


@pytest.mark.parametrize("first", [500, 1500, 3000])
def test_an_average_begun_a_thousand_bars_ago_is_that_of_all_time(bars, first):
    """1,000 rows on, less than 2e-9 is left of the difference to the average that began with the file."""
    volume, row = bars["volume"], np.arange(len(bars["volume"]))
    of_all_time, late = (ema(volume, row - start, tactical.ALPHA, np.copy) for start in (0, first))
    difference = np.abs(late - of_all_time)
    assert difference[first] > 100
    assert difference[first + 1000 :].max() < 2e-9 * difference[first]
