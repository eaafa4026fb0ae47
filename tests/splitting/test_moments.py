"""Running mean and standard deviation against NumPy's over all rows at once."""

import itertools

import numpy as np
import pytest

from stages.splitting.moments import Moments

DTYPES = ["int8", "uint8", "int16", "float32", "float64"]
RNG = np.random.default_rng(3)


def moments_of(rows, chunk_rows=1024, cuts=None):
    moments = Moments(rows.shape[1:], rows.dtype, chunk_rows)
    edges = cuts if cuts is not None else range(0, len(rows) + chunk_rows, chunk_rows)
    for start, stop in itertools.pairwise(edges):
        moments.add(rows[start:stop])
    return moments.mean(), moments.std()


def random_rows(dtype, shape):
    if dtype.startswith("float"):
        return RNG.normal(3, 20, shape).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def assert_numpy_s(rows, **how):
    mean, std = moments_of(rows, **how)
    wide = rows.astype(np.float64)
    # A mean near 0 is as exact as its column's spread allows.
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-12, atol=1e-12 * max(1, wide.std()))
    np.testing.assert_allclose(std, wide.std(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_rows", [2, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_numpy_s(dtype, n_rows):
    assert_numpy_s(random_rows(dtype, (n_rows, 6)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_numpy_s_for_rows_of_any_shape(dtype):
    assert_numpy_s(random_rows(dtype, (3000, 2, 3)))
    assert_numpy_s(random_rows(dtype, (3000,)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_numpy_s_for_chunks_larger_than_exact_sums_allow(dtype):
    assert_numpy_s(random_rows(dtype, (5000, 3)), chunk_rows=4096)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row_has_itself_as_mean_and_no_spread(dtype):
    rows = random_rows(dtype, (1, 4))
    mean, std = moments_of(rows)
    np.testing.assert_array_equal(mean, rows[0])
    np.testing.assert_array_equal(std, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_column_has_exactly_no_spread(dtype):
    rows = np.tile(np.array([0, 1, 7, 100], dtype), (4321, 1))
    mean, std = moments_of(rows)
    np.testing.assert_array_equal(mean, [0, 1, 7, 100])
    np.testing.assert_array_equal(std, 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_column_of_fractions_has_exactly_no_spread(dtype):
    """A spread of 1e-15 would not be seen as none, and one other value in val or test would become 1e14."""
    _, std = moments_of(np.tile(np.array([0.1, 1 / 3, 1e8 + 0.1], dtype), (4321, 1)))
    np.testing.assert_array_equal(std, 0)


def test_small_noise_on_a_large_offset_does_not_cancel():
    """Sums of squares would be off by more than the whole variance of 1e-6: 1e16 has a spacing of 2."""
    rows = 1e8 + RNG.normal(0, 1e-3, (20_000, 3))
    mean, std = moments_of(rows)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(std, (rows - 1e8).std(0), rtol=1e-5)


def test_the_extremes_of_int8_are_exact():
    rows = np.array([[-128, -128, 127], [127, -128, 127]] * 2500, np.int8)
    mean, std = moments_of(rows)
    assert mean.tolist() == [-0.5, -128, 127]
    assert std.tolist() == [127.5, 0, 0]


def test_the_sums_of_many_int8_rows_do_not_overflow():
    """30 million rows: the square of a sum, and rows x squares, pass 2**63."""
    chunk = np.array([[-128], [127]] * 512, np.int8)
    moments = Moments((1,), chunk.dtype, 1024)
    for _ in range(30_000):
        moments.add(chunk)
    assert (moments.mean().item(), moments.std().item()) == (-0.5, 127.5)


def test_any_chunking_of_int8_gives_the_very_same_moments():
    rows = random_rows("int8", (3000, 5))
    expected = moments_of(rows)
    for cuts in ([0, 1, 2, 1000, 2000, 3000], [0, 500, 500, 1500, 2523, 3000], [*range(3001)]):
        np.testing.assert_array_equal(moments_of(rows, cuts=cuts), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_any_chunking_gives_the_same_moments_within_rounding(dtype):
    rows = random_rows(dtype, (3000, 5))
    for cuts in ([0, 1, 2, 1000, 2000, 3000], [0, 500, 500, 1500, 2523, 3000], [*range(3001)]):
        assert_numpy_s(rows, cuts=cuts)
