"""Windows: where they begin, and that looking through them copies nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.processed.windows import gather, view
from stages.splitting.window_starts import runs, starts
from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "market" / "nq30_0_5000.npz"
GAPS_MINUTES = (30, 90, 120, 240, 720, 2940)


def starts_by_hand(is_chosen, is_first, is_valid, window, step):
    """Walk over the rows: the definition, in plain Python."""
    found, length = [], 0
    for row in range(len(is_chosen)):
        is_in = is_chosen[row] and is_valid[row]
        length = 0 if not is_in else 1 if is_first[row] else length + 1
        if length >= window and (length - window) % step == 0:
            found.append(row - window + 1)
    return found


@settings(max_examples=150)
@given(
    rows=st.lists(st.tuples(*[st.sampled_from([True, True, True, True, False])] * 3), max_size=60),
    window=st.integers(1, 8),
    step=st.integers(1, 9),
)
def test_windows_are_those_found_row_by_row(rows, window, step):
    """The grid restarts at each run; no window holds a break, a row of another part or a row that is not valid."""
    is_chosen, is_joined, is_valid = np.array(rows, bool).reshape(-1, 3).T
    found = starts(*runs(is_chosen, ~is_joined, is_valid), window, step)
    assert found.dtype == np.int64
    assert found.tolist() == starts_by_hand(is_chosen, ~is_joined, is_valid, window, step)


@settings(max_examples=150)
@given(
    rows=st.lists(st.tuples(*[st.sampled_from([True, True, True, True, False])] * 3), max_size=60),
    window=st.integers(1, 8),
    step=st.integers(1, 9),
    ahead=st.integers(0, 5),
)
def test_rows_ahead_drop_windows_and_move_none(rows, window, step, ahead):
    """Left are the windows whose next rows are of the same run."""
    is_chosen, is_joined, is_valid = np.array(rows, bool).reshape(-1, 3).T
    found = runs(is_chosen, ~is_joined, is_valid)
    run = np.full(len(rows) + window + ahead, -1)
    for number, (first, length) in enumerate(zip(*found, strict=True)):
        run[first : first + length] = number
    every = starts(*found, window, step)
    left = [start for start in every.tolist() if (run[start : start + window + ahead] == run[start]).all()]
    assert starts(*found, window + ahead, step).tolist() == left


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference bars are not beside the repository")
@pytest.mark.parametrize(("window", "step"), [(48, 36), (60, 45)])
@pytest.mark.parametrize("gap", GAPS_MINUTES)
def test_windows_between_gaps_are_the_references(window, step, gap):
    """The starts in 5,001 real bars equal the reference for every largest gap (minutes of local time)."""
    with np.load(REFERENCE) as reference:
        steps = np.diff(reference["timestamp"].astype("datetime64[m]").astype(np.int64))
        expected = reference[f"starts{window}_step{step}_gap{gap}min"]
    everything = np.ones(len(steps) + 1, bool)
    is_first = np.append(True, steps > gap)
    np.testing.assert_array_equal(starts(*runs(everything, is_first, everything), window, step), expected)


def test_a_view_takes_no_memory():
    """All windows, every 36th and one of them lie in the memory of the features and cannot be written."""
    features = np.arange(5000 * 13, dtype=np.float32).reshape(5000, 13)
    windows = view(features, 48)
    assert windows.shape == (4953, 48, 13)
    assert windows.strides == (13 * 4, 13 * 4, 4)
    for seen in (windows, windows[::36], windows[1000]):
        assert np.shares_memory(seen, features)
        assert not seen.flags.writeable
    np.testing.assert_array_equal(windows[1000], features[1000:1048])
    assert view(features[:47], 48).shape == (0, 48, 13)


def test_gathered_windows_are_their_rows():
    """A gathered window holds the rows from its start on, in an array of its own."""
    features = np.arange(100 * 3, dtype=np.float32).reshape(100, 3)
    first = np.array([7, 90, 0, 7])
    found = gather(features, first, 10)
    np.testing.assert_array_equal(found, np.stack([features[row : row + 10] for row in first]))
    assert not np.shares_memory(found, features)
    assert gather(features, first[:0], 10).shape == (0, 10, 3)
