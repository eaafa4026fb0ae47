"""Columns have names that tell them apart, and a name that means none of them is answered with the nearest."""

import doctest

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.look import Choice, LookField, columns


def field(name, role="feature", names=None, classes=None):
    names = names or (name,)
    return LookField(name, role, np.dtype(np.float32), (len(names),), tuple(names), classes)


FIELDS = columns.told_apart(
    [
        field("observation", names=["tick", "price"]),
        field("other", names=["price", "size"]),
        field("label_action", "label", classes=("BUY", "SELL")),
        field("mask_action", "mask", names=["mask_action.BUY", "mask_action.SELL"]),
        field("tick", "key"),
    ]
)


def chosen(*wanted):
    return [name for choice in columns.choose(FIELDS, wanted, "here") for name in choice.names]


def test_examples_are_right():
    assert doctest.testmod(columns).failed == 0


def test_a_name_in_common_stands_behind_that_of_its_feature():
    assert FIELDS["observation"].columns == ("observation.tick", "observation.price")
    assert FIELDS["other"].columns == ("other.price", "size")
    assert FIELDS["tick"].columns == ("tick",)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (["other"], ["other.price", "size"]),
        (["action"], ["label_action"]),
        (["masks"], ["mask_action.BUY", "mask_action.SELL"]),
        (["mask_action.SELL", "tick"], ["mask_action.SELL", "tick"]),
        (["size", "other"], ["size", "other.price"]),
        (["other", "tick", "size"], ["other.price", "size", "tick"]),
        (["features"], ["observation.tick", "observation.price", "other.price", "size"]),
    ],
)
def test_names_mean_fields_heads_columns_and_kinds_each_column_once(wanted, found):
    assert chosen(*wanted) == found


def test_columns_of_a_field_that_follow_each_other_are_read_together():
    assert columns.choose(FIELDS, ["size", "other.price"], "") == [Choice(FIELDS["other"], (1, 0))]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ExpectedError, match=r"here: no column 'label_acton'; did you mean 'label_action'"):
        chosen("label_acton")
    with pytest.raises(ExpectedError, match=r"here: no column 'zzz', expected one of observation, other"):
        chosen("zzz")
