"""Random rows are the same in each run and only added to, stretches and numbers are those that were asked for."""

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.look import Condition, PartRows, pick


@pytest.fixture(scope="module")
def rows(finished):
    return PartRows(finished / "data/processed/splendor", "train")


def picked(rows, wanted, where=None, seed=0):
    found = pick.pick(rows, wanted, Condition(where, rows) if where else None, seed)
    return found.rows.tolist(), found.n_matching


def test_random_rows_follow_from_the_seed_and_a_larger_number_only_adds(rows):
    few, many, other = (picked(rows, *arguments)[0] for arguments in (("5",), ("50",), ("50", None, 1)))
    assert len(set(few)) == 5
    assert set(few) < set(many)
    assert many == sorted(many) != other
    assert np.ptp(many) > rows.n_rows / 2


def test_random_rows_fulfil_the_condition(rows):
    found, n_matching = picked(rows, "20", "turn_number == 3")
    turns = rows.read("turn_number", slice(0, None))
    assert n_matching == (turns == 3).sum()
    assert len(found) == 20
    assert (turns[found] == 3).all()
    assert len(picked(rows, "500", "turn_number == 3")[0]) == n_matching


def test_a_stretch_is_one_of_the_rows_that_fulfil_the_condition(rows, monkeypatch):
    """Also where they lie in several of the stretches that are read."""
    monkeypatch.setattr("stages.look.condition.SPAN_ROWS", 100)
    matching = np.flatnonzero(rows.read("turn_number", slice(0, None)) == 3).tolist()
    for wanted, expected in ((":4", matching[:4]), ("2:9", matching[2:9]), ("5:", matching[5:]), ("9:2", [])):
        assert picked(rows, wanted, "turn_number == 3") == (expected, len(matching))
    assert picked(rows, "3:6") == ([3, 4, 5], rows.n_rows)


def test_rows_by_number_keep_their_order(rows):
    assert picked(rows, "9,2") == ([9, 2], rows.n_rows)
    assert picked(rows, "7,") == ([7], rows.n_rows)
    assert picked(rows, "9,2,5", "row < 6")[0] == [2, 5]


@pytest.mark.parametrize("wanted", ["x", "-1", "1:2:3", "1,x", "", "3.5", ","])
def test_what_is_no_rows_is_told(rows, wanted):
    with pytest.raises(ExpectedError, match=r"ROWS is .*, expected a number as 10"):
        picked(rows, wanted)


def test_rows_that_are_not_there_or_too_many_are_told(rows):
    with pytest.raises(ExpectedError, match=f"row {rows.n_rows}, expected 0..{rows.n_rows - 1}"):
        picked(rows, f"3,{rows.n_rows}")
    for wanted in ("1001", "0:1001", "0," * 1001, "2000", "5:"):
        with pytest.raises(
            ExpectedError, match=r"more than 1,000 rows, expected at most so many; stages.frame gives them all"
        ):
            picked(rows, wanted)
