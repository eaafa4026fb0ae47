"""Rows of bits, eight in a byte: a board of 2 x 13 x 13 cells takes 43 bytes instead of 338.

A packed row holds the cells in C order, the first one in the highest bit of the first byte, and zeros behind the last.
Which fields of processed arrays are packed stands in packed.json beside them, with the shapes of their unpacked rows;
stages/processed reads it.
"""

import math

import numpy as np

from stages.core.errors import ExpectedError


def n_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes that a packed row of this shape takes: ``n_bytes((2, 13, 13))`` is 43."""
    return -(-math.prod(shape) // 8)


def pack(rows: np.ndarray) -> np.ndarray:
    """Pack rows of bits.

    Parameters
    ----------
    rows
        uint8 or bool (N, ...); all but 0 is 1.

    Returns
    -------
    numpy.ndarray
        uint8 (N, k), k as `n_bytes` says.
    """
    return np.packbits(rows.reshape(len(rows), math.prod(rows.shape[1:])), axis=1, bitorder="big")


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the rows that were packed, uint8 (N, *shape) of 0 and 1.

    Parameters
    ----------
    packed
        uint8 (N, k), or with more axes before the last one, which stay.
    shape
        Of a row before it was packed.

    Raises
    ------
    ExpectedError
        When k is not the bytes of such a row, or the dtype is another.
    """
    expected = n_bytes(shape)
    if packed.dtype != np.uint8 or packed.ndim < 2 or packed.shape[-1] != expected:
        found = f"{packed.dtype} {packed.shape}"
        raise ExpectedError(f"bits: packed rows are {found}, expected uint8 (rows, {expected}) for {shape}")
    bits = np.unpackbits(packed, axis=-1, count=math.prod(shape), bitorder="big")
    return bits.reshape(*packed.shape[:-1], *shape)
