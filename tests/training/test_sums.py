"""Totals add up over batches and over ranks."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.training.sums import Sums, ratio  # noqa: E402

pytestmark = pytest.mark.train


def test_rows_of_any_dtype_are_summed_in_float64():
    """In float32 the second million would be lost in part."""
    sums = Sums({"one": (), "table": (2, 3)})
    sums.add("one", torch.full((1000,), 16_777_217, dtype=torch.int64))
    sums.add("table", torch.ones(5, 2, 3, dtype=torch.bool))
    assert sums["one"] == 16_777_217_000
    assert sums["table"].tolist() == [[5.0] * 3] * 2
    assert sums.state().tolist() == [16_777_217_000, *[5.0] * 6]


def test_a_state_is_loaded_into_its_own_places():
    shapes = {"one": (), "table": (2, 2)}
    sums = Sums(shapes)
    sums.load(torch.arange(5.0))
    assert (float(sums["one"]), sums["table"].tolist()) == (0, [[1, 2], [3, 4]])
    sums.add("table", torch.ones(1, 2, 2))
    assert sums.state().tolist() == [0, 2, 3, 4, 5]


def test_a_state_of_another_length_is_refused():
    with pytest.raises(RuntimeError, match="split_with_sizes"):
        Sums({"one": ()}).load(torch.zeros(2))


def test_a_mean_of_nothing_is_nan():
    assert math.isnan(ratio(torch.tensor(0.0), torch.tensor(0.0)))
    assert ratio(torch.tensor(3.0), torch.tensor(2.0)) == 1.5
