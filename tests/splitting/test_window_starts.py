"""Windows: every one that fits a run, on a grid that begins anew with each run."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.splitting.window_starts import runs, starts

ROWS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=80)


def columns(rows):
    is_chosen, is_first, is_valid = (np.array(column) for column in zip(*rows, strict=True))
    return is_chosen, is_first, is_valid


@settings(max_examples=200)
@given(ROWS)
def test_runs_are_those_of_a_plain_loop(rows):
    """A run ends at a row that is not chosen or not valid, and before the first row of a segment."""
    found, length = [], 0
    for row, (is_chosen, is_first, is_valid) in enumerate(rows):
        if length and (is_first or not (is_chosen and is_valid)):
            found.append((row - length, length))
            length = 0
        length += is_chosen and is_valid
    if length:
        found.append((len(rows) - length, length))
    assert list(zip(*map(np.ndarray.tolist, runs(*columns(rows))), strict=True)) == found


@settings(max_examples=200)
@given(ROWS, st.integers(1, 9), st.integers(1, 9))
def test_starts_are_those_of_a_plain_loop(rows, window, step):
    """Each window lies within one run."""
    first, length = runs(*columns(rows))
    expected = [
        start
        for low, size in zip(first.tolist(), length.tolist(), strict=True)
        for start in range(low, low + size - window + 1, step)
    ]
    found = starts(first, length, window, step)
    assert found.tolist() == expected
    assert found.dtype == np.int64


def test_the_published_numbers_of_windows():
    """47 rows hold no window of 48, 48 one, 83 one, 84 two; 56,083 rows 1,557, and a million 22,221 of 60."""
    for n_rows, window, step, n_windows in (
        *((47, 48, 36, 0), (48, 48, 36, 1), (83, 48, 36, 1), (84, 48, 36, 2)),
        *((56_083, 48, 36, 1_557), (1_000_000, 60, 45, 22_221)),
    ):
        assert len(starts(np.zeros(1, int), np.array([n_rows]), window, step)) == n_windows
