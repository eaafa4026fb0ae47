"""What a worker makes of a chunk is looked at before it is written: numbers that later stages can hold."""

from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.core.fields import Field
from stages.core.units import Source, Unit
from stages.processing.chunks import Chunk, _refuse_not_finite

FIELDS = {
    "x": Field("float32", (2,), "feature", "two columns", ("speed", "load"), (True, True)),
    "valid_x": Field("uint8", (), "valid", "whether x counts"),
    "price": Field("float64", (), "key", "a price"),
}


def chunk():
    units = [Unit(f"u{i}", (Source(f"u{i}.csv"),), "") for i in range(2)]
    return Chunk("d", Path("raw"), {}, units, 5, 0.0)


def arrays():
    return {
        "x": np.zeros((4, 2), np.float32),
        "valid_x": np.array([1, 0, 1, 1], np.uint8),
        "price": np.ones(4),
        "group_offsets": np.array([0, 2, 4]),
        "source": np.array([5, 6], np.int32),
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_where_valid_is_refused(value):
    """With the unit, the field and the column; where the row is not valid it does no harm."""
    good, bad, key = arrays(), arrays(), arrays()
    good["x"][1, 0] = value
    _refuse_not_finite(FIELDS, good, chunk())
    bad["x"][3, 1] = value
    with pytest.raises(
        ExpectedError, match=rf"raw: u1: x \(load\) is {value} in 1 rows, expected numbers that float32"
    ):
        _refuse_not_finite(FIELDS, bad, chunk())
    key["price"][0] = value
    with pytest.raises(ExpectedError, match=r"raw: u0: price \(0\) is"):
        _refuse_not_finite(FIELDS, key, chunk())
