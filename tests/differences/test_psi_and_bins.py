"""The stability index against its formula, and where columns are cut."""

import numpy as np
import pytest

from stages.differences import bins, psi


def test_the_index_is_that_of_the_formula():
    """Summed bin by bin in plain Python."""
    before, after = np.array([[100, 5], [300, 0], [600, 7]]), np.array([[300, 5], [300, 0], [400, 1]])
    shares = [(0.1, 0.3), (0.3, 0.3), (0.6, 0.4)]
    expected = sum((q - p) * np.log(q / p) for p, q in shares)
    found = psi.index(before, after)
    assert found[0] == pytest.approx(expected, rel=0.01)
    assert found[1] > 0


def test_equal_distributions_of_other_sizes_have_no_index_to_speak_of():
    """Ten times the rows are no drift, nor is a bin that both lack."""
    before = np.array([[50], [0], [150]])
    assert psi.index(before, before)[0] == 0
    assert psi.index(before, 10 * before)[0] < 1e-4
    assert psi.index(before, np.zeros_like(before))[0] == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 0, 1], [0.5]),
        ([3, 1, 2, 2], [1.5, 2.5]),
        ([7, 7, 7], [7 - 0.007, 7 + 0.007]),
        ([np.nan, 1, 2, np.inf], [1.5]),
        ([np.nan, np.nan], []),
    ],
)
def test_few_values_have_a_bin_each(values, expected):
    """A constant has one between two cuts, so that leaving it is seen; what is not finite is left out."""
    found = bins.cuts(np.array(values, np.float64)[:, None], np.zeros(1))
    assert found[:, 0].tolist() == pytest.approx(expected)


def test_many_values_are_cut_into_about_ten_equal_bins():
    """And a value that a third of the rows hold has cuts on both of its sides."""
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (2000, 2))
    values[:700, 1] = 0
    cuts = bins.cuts(values, np.zeros(2))
    counts = np.histogram(values[:, 0], [-np.inf, *cuts[:, 0], np.inf])[0]
    assert counts.tolist() == pytest.approx([200] * 10, abs=2)
    own = cuts[np.isfinite(cuts[:, 1]), 1]
    assert ((values[:, 1] > own[own < 0].max()) & (values[:, 1] < own[own > 0].min())).sum() == pytest.approx(
        700, abs=2
    )


def test_what_float32_blurs_is_one_value():
    """A value that a standardisation and its inverse leave a little off has no cut through it."""
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 4, 1000) + 16_500.0
    mean, scale = raw.mean(), raw.std()
    blurred = ((raw - mean) / scale).astype(np.float32).astype(np.float64) * scale + mean
    noisy = np.concatenate([raw, blurred])[:, None]
    assert bins.cuts(noisy, np.array([mean]))[:, 0].tolist() == pytest.approx([16_500.5, 16_501.5, 16_502.5])
