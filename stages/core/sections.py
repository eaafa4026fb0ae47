"""A section of a YAML file as a dataclass, with every error in it told at once.

In: what `plain_yaml.parse` gave for a section. Out: an instance of a dataclass whose fields say what is expected:

    @dataclass(frozen=True)
    class Options:
        games: Annotated[int, AtLeast(1)]
        rule: Literal["strict", "lenient"] = "strict"
        share: Annotated[float, Between(0, 1)] = 0.1
        name: str | None = None
        files: dict[str, FileOptions] = field(default_factory=dict)  # FileOptions is a dataclass as well

A field is an int, float, str, bool, `Any`, `Literal`, `dict[str, ...]`, `list[...]`, `tuple[..., ...]`, a dataclass, or
one of these ``| None``. A key is needed if its field has no default. A section that may be left out may be empty too.
What fields must be together, the dataclass says in a method ``faults()``, see `HasFaults`.
"""

import dataclasses
import difflib
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from stages.core.errors import ExpectedError

P = TypeVar("P")

FEW_CHOICES = 3  # so many are told as "a or b or c", more as "one of a, b, c, d"


class ParamsError(ExpectedError):
    """Something in params.yaml is not as it must be."""


class Fault(NamedTuple):
    """One error: the key, as a path of keys, and what was found and is expected there."""

    where: str
    what: str

    def __str__(self) -> str:
        """Return it as it is told."""
        return f"{self.where.removesuffix(': ')}: {self.what}"


class HasFaults(Protocol):
    """A dataclass that says what is wrong with its fields together; asked when each of them is right by itself."""

    def faults(self) -> Iterable[Fault]:
        """Return what is wrong, with `where` a key of the section, or empty for the section itself."""


class Rule(Protocol):
    """What a value of the right type must be: the second part of `Annotated`; its text ends "expected ..."."""

    def holds(self, value: Any) -> bool:
        """Say whether `value` is as it must be."""


@dataclass(frozen=True)
class AtLeast:
    """A whole number from `least`."""

    least: int

    def holds(self, value: Any) -> bool:
        """Say whether `value` is as it must be."""
        return value >= self.least

    def __str__(self) -> str:
        return f"a whole number from {self.least}"


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`; with `is_open` neither of the two. `noun` is what the number is called."""

    low: float
    high: float
    is_open: bool = False
    noun: str = "a share"

    def holds(self, value: Any) -> bool:
        """Say whether `value` is as it must be."""
        return self.low < value < self.high if self.is_open else self.low <= value <= self.high

    def __str__(self) -> str:
        words = ("between", "and") if self.is_open else ("from", "to")
        return f"{self.noun} {words[0]} {self.low:g} {words[1]} {self.high:g}"


@dataclass(frozen=True)
class Must:
    """Any other rule: `is_so(value)` must be true, and `expected` says what that means."""

    is_so: Callable[[Any], bool]
    expected: str

    def holds(self, value: Any) -> bool:
        """Say whether `value` is as it must be."""
        return self.is_so(value)

    def __str__(self) -> str:
        return self.expected


def build(cls: type[P], entry: object, where: str) -> P:
    """Make a dataclass from a section.

    Parameters
    ----------
    cls
        The dataclass; see the module for its fields.
    entry
        The section: a mapping from the YAML file.
    where
        How errors name the section: "params.yaml: datasets.hex.options"; "params.yaml: " for the whole file.

    Raises
    ------
    ParamsError
        With all that is wrong: a line for each key with what was found and what is expected.
    """
    result, faults = check(cls, entry, where)
    if faults:
        lines = [str(fault) for fault in faults]
        several = f"{where.removesuffix(': ')}: {len(lines)} errors, correct each of them:"
        raise ParamsError(*lines if len(lines) == 1 else (several, *(f"  {line}" for line in lines)))
    return result


def check(cls: type[P], entry: object, where: str) -> tuple[P, list[Fault]]:
    """Return what `build` returns, and all that is wrong; the dataclass counts only if that is nothing."""
    faults: list[Fault] = []
    return _section(cls, entry, where, faults), faults


def _section(cls: Any, entry: object, where: str, faults: list[Fault]) -> Any:
    """Return a section as a dataclass and append what is wrong with it to `faults`; then the result is None."""
    if not _is_section(entry, where, faults):
        return None
    content: dict[str, Any] = dict(entry)  # type: ignore[call-overload]
    n_before, fields = len(faults), dataclasses.fields(cls)
    faults += _unknown(content, [field.name for field in fields], where)
    hints, values = get_type_hints(cls, include_extras=True), {}
    for field in fields:
        inner = within(where, field.name)
        if field.name in content:
            found = content[field.name]
            if found is None and not _is_needed(field) and _is_kind_of_section(hints[field.name]):
                found = {}
            values[field.name] = _value(found, hints[field.name], inner, faults)
        elif _is_needed(field):
            faults.append(Fault(where, f"{field.name} is missing; add it"))
    if len(faults) > n_before:
        return None
    result = cls(**values)
    if hasattr(result, "faults"):
        faults += [Fault(within(where, key), what) for key, what in result.faults()]
    return result


def _value(found: object, kind: Any, where: str, faults: list[Fault]) -> Any:
    """Return a value as what `kind` says, and append what is wrong with it to `faults`."""
    kind, rules, may_be_null = _taken_apart(kind)
    if found is None and may_be_null:
        return None
    n_before, origin = len(faults), get_origin(kind) or kind
    if dataclasses.is_dataclass(origin):
        value = _section(origin, found, where, faults)
    elif origin is dict:
        value = _dict(found, kind, where, faults)
    elif origin in (list, tuple) and isinstance(found, list | tuple):
        (of, *_) = get_args(kind) or (Any,)
        value = origin(_value(item, of, f"{where}[{i}]", faults) for i, item in enumerate(found))
    else:
        value, what = _single(found, kind, " or null" if may_be_null else "")
        faults += [Fault(where, what)] if what else []
    if len(faults) == n_before:
        faults += [Fault(where, f"{found!r}, expected {rule}") for rule in rules if not rule.holds(value)]
    return value


def _single(found: object, kind: Any, or_null: str) -> tuple[object, str]:
    """Return a value that has no parts, and what is wrong with it, or an empty text."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    origin = type(choices[0]) if choices else get_origin(kind) or kind
    if origin is float and type(found) is int:
        return float(found), ""
    if origin is str and isinstance(found, date):  # YAML makes a date of text that looks like one
        return found, f"{found!r}, expected text; put the {'time' if isinstance(found, datetime) else 'date'} in quotes"
    is_right = origin is Any or (isinstance(found, origin) and (origin is bool or not isinstance(found, bool)))
    if not is_right:
        return found, f"{found!r}, expected {origin.__name__}{or_null}"
    if choices and found not in choices:
        names = [str(choice) for choice in choices]
        expected = " or ".join(names) if len(names) <= FEW_CHOICES else f"one of {', '.join(names)}"
        return found, f"{found!r}, expected {expected}"
    return found, ""


def _dict(found: object, kind: Any, where: str, faults: list[Fault]) -> Any:
    """Return a section of any keys; those that hold nothing hold an empty section, if they hold sections."""
    if not _is_section(found, where, faults):
        return None
    _, of = get_args(kind) or (str, Any)
    items: dict[str, Any] = dict(found)  # type: ignore[call-overload]
    empty: Any = {} if _is_kind_of_section(of) else None
    return {key: _value(empty if item is None else item, of, within(where, key), faults) for key, item in items.items()}


def _taken_apart(kind: Any) -> tuple[Any, tuple[Rule, ...], bool]:
    """Return the kind without `Annotated` and ``| None``, the rules of the one, and whether the other was there."""
    may_be_null = get_origin(kind) in (Union, types.UnionType)
    if may_be_null:
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
    if get_origin(kind) is Annotated:
        kind, *rules = get_args(kind)
        return kind, tuple(rules), may_be_null
    return kind, (), may_be_null


def _is_section(found: object, where: str, faults: list[Fault]) -> bool:
    is_section = isinstance(found, dict) and all(isinstance(key, str) for key in found)
    if not is_section:
        faults.append(Fault(where, f"{found!r}, expected a section of named keys"))
    return is_section


def _is_kind_of_section(kind: Any) -> bool:
    """Say whether a value is a section, so that one that holds nothing is an empty one, and not null."""
    kind, _, may_be_null = _taken_apart(kind)
    return not may_be_null and (dataclasses.is_dataclass(kind) or get_origin(kind) is dict)


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown(content: Iterable[str], known: Sequence[str], where: str) -> Iterator[Fault]:
    for key in content:
        if key not in known:
            yield Fault(where, f"unknown key {key!r}, expected {', '.join(known) or 'none'}{nearest(key, known)}")


def within(where: str, key: str) -> str:
    """Return how errors name a key of a section: "params.yaml: split" and "train" are "params.yaml: split.train"."""
    return f"{where}{key}" if not where or where.endswith(": ") or not key else f"{where}.{key}"


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a question after the known key that is most like `key`; empty if none is like it."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
