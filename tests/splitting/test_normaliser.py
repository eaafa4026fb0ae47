"""A mean that is no number is refused: it would make all rows of its column none."""

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.splitting.normaliser import fit

FIELD = NamedField("x", np.dtype("float32"), (2,), "feature", names=("speed", "load"), normalise=(True, True))


class Rows:
    """Three rows of a feature, as `Merged` gives them; the last one is not valid."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)

    def feature_chunks(self, name, n_rows):
        yield self.values, np.zeros(3, np.uint8), np.array([True, True, False])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_normaliser_that_is_no_number_is_refused(value):
    """What is not valid does not count."""
    assert fit(Rows([[1, 2], [3, 2], [value, 0]]), FIELD).mean.tolist() == [2, 2]
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(
            ExpectedError, match=r"x: mean .* and deviation .* of load over the train rows, expected numbers"
        ),
    ):
        fit(Rows([[1, 2], [3, value], [1, 0]]), FIELD)
