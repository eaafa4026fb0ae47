"""The split by time: no raw row is reachable from two parts, whatever the chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.params import SplitParams
from stages.splitting.time_parts import DROPPED, assign_by_time

HOUR = 3600 * 10**9


@st.composite
def series_of_bars(draw):
    """Return time, series and lookback of up to three series, whose segments features do not look beyond."""
    columns = {"time": [], "series": [], "lookback": []}
    for name in draw(st.lists(st.sampled_from([b"A", b"B", b"C"]), min_size=1, max_size=3, unique=True)):
        steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 40]), min_size=4, max_size=60))
        time = np.cumsum(steps) * HOUR + draw(st.integers(-30, 30)) * HOUR
        in_segment = np.arange(len(steps)) - np.maximum.accumulate(
            np.where(np.array(steps) > 2, np.arange(len(steps)), 0)
        )
        columns["time"].append(time)
        columns["series"].append(np.full(len(steps), name, "S16"))
        columns["lookback"].append(np.minimum(in_segment, draw(st.integers(0, 12))).astype(np.int32))
    return {role: np.concatenate(pieces) for role, pieces in columns.items()}


def chunked(columns, size):
    def chunks(role):
        buffer = np.empty(size, columns[role].dtype)  # used again, as that of npy_chunks
        for start in range(0, len(columns[role]), size):
            piece = columns[role][start : start + size]
            buffer[: len(piece)] = piece
            yield buffer[: len(piece)]

    return chunks


@settings(max_examples=150)
@given(series_of_bars(), st.integers(0, 5), st.integers(0, 5), st.integers(1, 40))
def test_no_raw_row_is_reachable_from_two_parts(columns, horizon, embargo, size):
    """A row reaches from the oldest row its features look back to, to the last one its label looks ahead to."""
    params = SplitParams(train=0.6, val=0.2, test=0.2, by="time", horizon=horizon, embargo=embargo)
    found = assign_by_time(chunked(columns, size), params)
    owner = {}
    for row, part in enumerate(found.part.tolist()):
        if part == DROPPED:
            continue
        series = columns["series"][row]
        ahead = range(row, min(row + horizon + 1, len(found.part)))
        reached = [*range(row - columns["lookback"][row], row), *(r for r in ahead if columns["series"][r] == series)]
        for raw in reached:
            assert owner.setdefault(raw, part) == part, (raw, row)


@settings(max_examples=60)
@given(series_of_bars(), st.integers(0, 4), st.integers(0, 4), st.integers(1, 40), st.integers(1, 40))
def test_the_size_of_the_chunks_does_not_matter(columns, horizon, embargo, size, other):
    """It is a matter of memory alone."""
    params = SplitParams(train=0.6, val=0.2, test=0.2, by="time", horizon=horizon, embargo=embargo)
    first, second = (assign_by_time(chunked(columns, n), params) for n in (size, other))
    assert (first.part == second.part).all()
    assert (first.boundaries, first.left_out) == (second.boundaries, second.left_out)


@settings(max_examples=60)
@given(series_of_bars())
def test_time_decides_the_part_in_all_series(columns):
    """What is before the first boundary is train, what is at or after the second one is test."""
    found = assign_by_time(chunked(columns, 7), SplitParams(train=0.6, val=0.2, test=0.2, by="time"))
    val, test = found.boundaries
    for part, time in zip(found.part, columns["time"], strict=True):
        assert part in ((time >= val).astype(int) + (time >= test), DROPPED)


def test_rows_left_out_are_those_the_rule_names_and_are_counted():
    """Twenty rows an hour apart that look back 2 rows, with a horizon of 1 and an embargo of 3."""
    columns = {"time": np.arange(20) * HOUR, "series": np.full(20, b"A", "S16"), "lookback": np.full(20, 2, np.int32)}
    columns["lookback"][:2] = 0, 1
    params = SplitParams(train=0.4, val=0.3, test=0.3, by="time", horizon=1, embargo=3)
    found = assign_by_time(chunked(columns, 6), params)
    assert found.boundaries == (8 * HOUR, 14 * HOUR)
    assert found.part.tolist() == [0] * 7 + [3] + [3] * 2 + [3] * 3 + [3] + [3] * 2 + [3] * 3 + [2]
    assert found.left_out == {
        "purged": {"val": 2, "test": 2},
        "embargoed": {"val": 3, "test": 3},
        "looked_ahead": {"val": 1, "test": 1},
    }
    assert found.described()["boundaries"] == {"val": "1970-01-01T08:00:00Z", "test": "1970-01-01T14:00:00Z"}


def test_nothing_is_left_out_where_a_series_begins_after_a_boundary():
    """There is no earlier row of it that its first rows could look back to."""
    columns = {
        "time": np.concatenate([np.arange(10), np.arange(8, 12)]) * HOUR,
        "series": np.repeat(np.array([b"A", b"B"], "S16"), [10, 4]),
        "lookback": np.zeros(14, np.int32),
    }
    params = SplitParams(by="time", boundaries=["1970-01-01T05:00", "1970-01-01T07:00:00+00:00"], embargo=1)
    found = assign_by_time(chunked(columns, 5), params)
    assert found.part.tolist() == [0] * 5 + [3, 1, 3, 2, 2] + [2] * 4


@pytest.mark.parametrize("n_rows", [1, 1000, 70_000])
def test_boundaries_are_quantiles_of_the_times_of_all_rows(n_rows):
    """Even when all times lie close together or far apart."""
    rng = np.random.default_rng(n_rows)
    time = np.sort(rng.choice(10 * n_rows + 10, n_rows, replace=False)) * rng.choice([1, 10**12])
    columns = {"time": time, "series": np.full(n_rows, b"A", "S16"), "lookback": np.zeros(n_rows, np.int32)}
    val, test = assign_by_time(chunked(columns, 4096), SplitParams(by="time")).boundaries
    assert (time < val).sum() == pytest.approx(0.8 * n_rows, abs=1)
    assert (time < test).sum() == pytest.approx(0.9 * n_rows, abs=1)
