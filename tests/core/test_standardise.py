"""Standardised values: the bits of the three operations, however many rows are taken at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core import standardise
from stages.core.standardise import Standard

MEAN, SCALE = np.array([0.1, -3.3, 0.0, 1e6]), np.array([0.7, 1 / 3, 1.0, 1e-3])
DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "float64", "bool")


def plain(rows):
    """The same in the open: one rounding to float32 in each step."""
    return (rows.astype(np.float32) - MEAN.astype(np.float32)) / SCALE.astype(np.float32)


@given(st.sampled_from(DTYPES), st.integers(0, 40), st.integers(0, 2**32))
def test_values_are_those_of_float32_in_each_step(dtype, n, seed):
    """Also of types whose difference with a float32 NumPy would take in float64."""
    rows = (np.random.default_rng(seed).normal(0, 100, (n, 4))).astype(dtype)
    found = Standard.of(MEAN, SCALE).apply(rows)
    assert found.dtype == np.float32
    assert found.tobytes() == plain(rows).tobytes()


@pytest.mark.parametrize("chunk_bytes", [1, 40, 1 << 20])
def test_chunks_windows_and_a_buffer_change_no_bit(chunk_bytes, monkeypatch):
    monkeypatch.setattr(standardise, "CHUNK_BYTES", chunk_bytes)
    rows = np.random.default_rng(1).integers(-128, 128, (50, 3, 4)).astype(np.int8)
    out = np.full(rows.shape, np.nan, np.float32)
    assert Standard.of(MEAN, SCALE).apply(rows, out=out) is out
    assert out.tobytes() == plain(rows).tobytes()


def test_rows_that_are_not_valid_are_zero():
    """Whatever was there; in windows each row by itself."""
    rows = np.random.default_rng(1).normal(size=(20, 3, 4))
    is_valid = np.random.default_rng(2).random((20, 3)) < 0.5
    rows[~is_valid] = np.nan
    expected = plain(rows)
    expected[~is_valid] = 0
    assert Standard.of(MEAN, SCALE).apply(rows, is_valid).tobytes() == expected.tobytes()
