"""The market encoder: the same bits in any chunk, no bar outside the look-back, warm-up, groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.datasets.base import group_id
from stages.datasets.market import encode
from stages.datasets.market.schema import STRATEGIC_LOOKBACK, TACTICAL_LOOKBACK
from tests.helpers.market_bars import history, table, with_a_gap

N = 900
FEATURES = ("strategic", "tactical", "valid_strategic", "valid_tactical", "lookback")
VALUES = ("open", "high", "low", "close", "volume")
KINDS = {"whole": 10**9, "sessions": 230}  # rows of a segment


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def bars(request):
    return history(N, segment_rows=request.param)


@pytest.fixture(scope="module")
def arrays(bars):
    return encode.encode(table(bars, months(bars)), {})


def months(bars):
    return list(range(int(bars["month"][-1]) + 1))


def features(bars, rows):
    """Return the bytes of the features of some rows."""
    arrays = encode.encode(table(bars, months(bars)), {})
    return [arrays[name][rows].tobytes() for name in FEATURES]


def test_arrays_are_those_declared(bars, arrays):
    """Every field with its dtype and shape, a row for each bar, finite."""
    for name, field in encode.FIELDS.items():
        assert arrays[name].dtype == field.dtype
        assert arrays[name].shape == (N, *field.shape)
    assert set(arrays) == {*encode.FIELDS, "group_id", "group_offsets", "source"}
    assert np.isfinite(arrays["strategic"]).all()
    assert (np.abs(arrays["tactical"]) <= 1).all()
    for name in (*VALUES, "time", "segment", "line"):
        np.testing.assert_array_equal(arrays[name], bars[name])
    assert set(arrays["instrument"].tolist()) == {b"NQ"}


def test_a_unit_has_the_same_bits_in_any_chunk(bars, arrays):
    """Each month alone, and all in another order, give the rows that all months together give."""
    order = months(bars)[::-1]
    alone = [encode.encode(table(bars, [month]), {}) for month in order]
    together = encode.encode(table(bars, order), {})
    for name in encode.FIELDS:
        assert np.concatenate([part[name] for part in alone]).tobytes() == together[name].tobytes()
        assert np.concatenate([part[name] for part in alone[::-1]]).tobytes() == arrays[name].tobytes()


@settings(max_examples=25)
@given(row=st.integers(0, N - 1), seed=st.integers(0, 99), segment_rows=st.sampled_from(list(KINDS.values())))
def test_no_bar_outside_the_look_back_is_looked_at(row, seed, segment_rows):
    """Other bars in place of all later ones and of those before the look-back leave a row's features as they are."""
    bars = history(N, segment_rows=segment_rows)
    other = history(N, seed + 100, segment_rows=segment_rows)
    expected = features(bars, row)
    oldest = row - int(np.frombuffer(expected[FEATURES.index("lookback")], np.int32)[0])
    is_seen = (np.arange(N) >= oldest) & (np.arange(N) <= row)
    mixed = bars | {name: np.where(is_seen, bars[name], other[name]) for name in VALUES}
    assert features(mixed, row) == expected


def test_bars_that_are_appended_change_no_row(bars):
    """The rows of a prefix are the rows of the whole, to the last bit."""
    expected = features(bars, slice(611))
    assert features({name: values[:611] for name, values in bars.items()}, slice(611)) == expected


def test_the_oldest_bars_of_the_look_back_count(bars):
    """A row 40 or 59 bars into a segment depends on the first of them: the look-backs are no longer than need be."""
    first = int(np.flatnonzero(bars["segment"] == bars["segment"][-1])[0])
    changed = bars | {"close": bars["close"].copy()}
    changed["close"][first] += 5.0
    before, after = (encode.strategic.columns(part["close"], part["volume"]) for part in (bars, changed))
    assert (before != after)[first + STRATEGIC_LOOKBACK].any()
    assert (before == after)[first + STRATEGIC_LOOKBACK + 1 :].all()


@pytest.mark.parametrize(("body", "is_open"), [(1.0, 1), (80.0, 0)])
def test_the_first_own_bar_sees_the_oldest_body(body, is_open):
    """A gap born at bar 70 is open at bar 120, the first of a month, unless a large body at bar 61 forbids it."""
    prices = with_a_gap()
    prices["close"][61] = prices["open"][61] + body
    row = np.arange(140)
    zeros = {"segment": row * 0, "volume": np.ones(140), "line": row.astype(np.int32)}
    bars = prices | zeros | {"time": row, "month": (row >= 120).astype(np.int32)}
    found = encode.encode(table(bars, [1]), {})
    assert found["tactical"][0, 0] == is_open
    assert not found["tactical"][1:, 0].any()


def test_look_back_is_to_the_oldest_bar(bars, arrays):
    """As far as the volume's average looks, over segments, and no further."""
    np.testing.assert_array_equal(arrays["lookback"], np.minimum(np.arange(N), 200))


def test_warm_up_is_marked_and_empty(bars, arrays):
    """The first 40 and 59 bars of a segment have no features: not valid, and 0; all others are valid."""
    row = np.arange(N)
    position = row - np.searchsorted(bars["time"], bars["segment"])
    for name, lookback in (("strategic", STRATEGIC_LOOKBACK), ("tactical", TACTICAL_LOOKBACK)):
        np.testing.assert_array_equal(arrays[f"valid_{name}"], position >= lookback)
        assert not arrays[name][position < lookback].any()
        assert arrays[name][position >= lookback].any(axis=1).all()


def test_a_group_is_a_segment_within_a_month(bars, arrays):
    """Its id names instrument, segment and month; groups are in the order of the rows and of the units."""
    keys = list(zip(bars["segment"].tolist(), bars["month"].tolist(), strict=True))
    distinct = sorted(set(keys))
    first = [keys.index(key) for key in distinct]
    assert arrays["group_offsets"].tolist() == [*first, N]
    assert arrays["source"].tolist() == [month for _, month in distinct]
    expected = [group_id(f"market NQ {segment} 2024-{month + 1:02d}") for segment, month in distinct]
    assert arrays["group_id"].tolist() == expected


def test_a_unit_without_bars_has_no_rows(bars):
    """A month whose rows were all bad lies between two others: no group of it, and the others as ever."""
    whole = table(bars, [0, 1])
    shifted = encode.Bars(**{**vars(whole.bars), "unit": whole.bars.unit * np.int32(2)})
    found = encode.encode(encode.Table(shifted, (whole.keys[0], "NQ/1999-01", whole.keys[1])), {})
    assert set(found["source"].tolist()) == {0, 2}
    empty = encode.Bars(**{**{name: v[:0] for name, v in vars(whole.bars).items()}, "findings": ()})
    assert len(encode.encode(encode.Table(empty, ("NQ/1999-01",)), {})["time"]) == 0
    assert found["strategic"].tobytes() == encode.encode(whole, {})["strategic"].tobytes()
