"""Rows of bits, eight in a byte."""

import numpy as np
import pytest

from stages.core import bits
from stages.core.errors import ExpectedError


@pytest.mark.parametrize("shape", [(), (1,), (8,), (9,), (2, 13, 13)])
@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_rows_come_back_as_they_were(shape, dtype):
    """Whatever their shape; a scalar takes a byte."""
    rows = np.random.default_rng(1).integers(0, 2, (50, *shape)).astype(dtype)
    packed = bits.pack(rows)
    assert packed.dtype == np.uint8
    assert packed.shape == (50, bits.n_bytes(shape))
    unpacked = bits.unpack(packed, shape)
    assert unpacked.dtype == np.uint8
    assert np.array_equal(unpacked, rows)


def test_the_first_cell_is_the_highest_bit_and_the_rest_is_zero():
    """By hand: the bytes are a format that other programs read too."""
    rows = np.array([[[1, 0, 0, 0, 0], [0, 0, 1, 1, 1]]], np.uint8)
    assert bits.pack(rows).tolist() == [[0b10000001, 0b11000000]]
    assert bits.n_bytes((2, 13, 13)) == 43
    assert bits.pack(np.zeros((0, 2, 13, 13), np.uint8)).shape == (0, 43)


def test_axes_before_the_last_stay():
    """As of windows of packed rows."""
    rows = np.random.default_rng(1).integers(0, 2, (12, 3, 5)).astype(np.uint8)
    windows = bits.unpack(bits.pack(rows).reshape(4, 3, 2), (3, 5))
    assert np.array_equal(windows, rows.reshape(4, 3, 3, 5))


@pytest.mark.parametrize("packed", [np.zeros((4, 42), np.uint8), np.zeros((4, 43), np.int8), np.zeros(43, np.uint8)])
def test_rows_of_another_size_or_type_are_refused(packed):
    """Too short, signed, and a single row."""
    with pytest.raises(ExpectedError, match=r"bits: packed rows are .* expected uint8 \(rows, 43\)"):
        bits.unpack(packed, (2, 13, 13))
