"""A section of YAML as a dataclass: every kind of field, and what is told of a value that does not fit."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal

import pytest

from stages.core.sections import AtLeast, Between, Fault, Must, ParamsError, build


@dataclass(frozen=True)
class Inner:
    """A nested section."""

    size: Annotated[int, AtLeast(1)] = 1


@dataclass(frozen=True)
class Outer:
    """One field of each kind."""

    name: str
    inner: Inner = field(default_factory=Inner)
    by_name: dict[str, Inner] = field(default_factory=dict)
    numbers: list[Annotated[int, Between(0, 9, noun="a digit")]] = field(default_factory=list)
    pair: tuple[float, ...] = ()
    either: Literal["a", "b"] = "a"
    many: Literal[1, 2, 3, 4] = 1
    share: Annotated[float, Between(0, 1, is_open=True)] = 0.5
    even: Annotated[int, Must(lambda number: number % 2 == 0, "an even number")] | None = None
    anything: Any = None
    is_on: bool = False

    def faults(self):
        """Say what is wrong between fields."""
        if self.is_on and not self.numbers:
            yield Fault("numbers", "[], expected some with is_on")
        if self.name == "nobody":
            yield Fault("", "nobody has a section, expected somebody")


def told(entry):
    """Return the message for a section, without its name."""
    with pytest.raises(ParamsError) as caught:
        build(Outer, {"name": "x", **entry}, "file: section")
    return str(caught.value).removeprefix("file: section")


def test_every_kind_of_field_is_made():
    entry = {
        "name": "x",
        "inner": {"size": 2},
        "by_name": {"a": {"size": 3}, "b": None},
        "numbers": [1, 2],
        "pair": [1, 2.5],
        "either": "b",
        "many": 4,
        "share": 0.25,
        "even": 4,
        "anything": [{}],
        "is_on": True,
    }
    by_name = {"a": Inner(3), "b": Inner(1)}
    expected = Outer("x", Inner(2), by_name, [1, 2], (1.0, 2.5), "b", 4, 0.25, 4, [{}], True)
    assert build(Outer, entry, "s") == expected
    assert build(Outer, {"name": "x", "inner": None, "by_name": None, "even": None}, "s") == Outer("x")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"inner": 5}, ".inner: 5, expected a section of named keys"),
        ({"inner": {"size": 0}}, ".inner.size: 0, expected a whole number from 1"),
        ({"inner": {"sise": 1}}, ".inner: unknown key 'sise', expected size; did you mean 'size'?"),
        ({"by_name": {"a": {"size": "1"}}}, ".by_name.a.size: '1', expected int"),
        ({"by_name": {"a": 3}}, ".by_name.a: 3, expected a section of named keys"),
        ({"by_name": {1: {}}}, ".by_name: {1: {}}, expected a section of named keys"),
        ({"numbers": 3}, ".numbers: 3, expected list"),
        ({"numbers": [1, 10]}, ".numbers[1]: 10, expected a digit from 0 to 9"),
        ({"pair": ["x"]}, ".pair[0]: 'x', expected float"),
        ({"either": "c"}, ".either: 'c', expected a or b"),
        ({"either": True}, ".either: True, expected str"),
        ({"many": 5}, ".many: 5, expected one of 1, 2, 3, 4"),
        ({"share": 1}, ".share: 1, expected a share between 0 and 1"),
        ({"share": float("nan")}, ".share: nan, expected a share between 0 and 1"),
        ({"even": 3}, ".even: 3, expected an even number"),
        ({"even": "4"}, ".even: '4', expected int or null"),
        ({"even": True}, ".even: True, expected int or null"),
        ({"is_on": 1}, ".is_on: 1, expected bool"),
        ({"is_on": True}, ".numbers: [], expected some with is_on"),
        ({"name": "nobody"}, ": nobody has a section, expected somebody"),
        ({"name": None}, ".name: None, expected str"),
        ({"name": date(2024, 1, 2)}, ".name: datetime.date(2024, 1, 2), expected text; put the date in quotes"),
        (
            {"name": datetime(2024, 1, 2)},
            ".name: datetime.datetime(2024, 1, 2, 0, 0), expected text; put the time in quotes",
        ),
    ],
)
def test_one_error_is_one_line(entry, message):
    assert told(entry) == message


def test_several_errors_are_counted_and_told_together():
    assert told({"numbers": [10, "x"], "inner": {"size": 0}, "nam": 1}) == (
        ": 4 errors, correct each of them:\n"
        "  file: section: unknown key 'nam', expected name, inner, by_name, numbers, pair, either, many, share, even, "
        "anything, is_on; did you mean 'name'?\n"
        "  file: section.inner.size: 0, expected a whole number from 1\n"
        "  file: section.numbers[0]: 10, expected a digit from 0 to 9\n"
        "  file: section.numbers[1]: 'x', expected int"
    )
