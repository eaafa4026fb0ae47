"""A course is drawn of the rows of its own segment, up to the row and no further."""

import doctest

import numpy as np

from stages.look import PartRows, sparkline


def test_examples_are_right():
    assert doctest.testmod(sparkline).failed == 0


def test_a_course_begins_with_its_own_group_and_ends_with_its_row(finished):
    part = PartRows(finished / "data/processed/splendor", "train")
    turns, groups = (part.read(name, slice(0, None)) for name in ("turn_number", "group_id"))
    second = int(np.flatnonzero(groups != groups[0])[0])
    rows = np.array([second + 2, 0, second + 15])
    drawn = sparkline.courses(part, rows, "turn_number", "group_id", 10)
    for row, text in zip(rows.tolist(), drawn, strict=True):
        first = max(row - 9, second if row >= second else 0)
        own = turns[first : row + 1].astype(float)
        assert text == f"{sparkline.sparkline(own)}\n{own.min():g} to {own.max():g}"
