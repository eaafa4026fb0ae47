"""The columns of a part and their names.

A label or key is one column under its field's own name, ``label_noble`` and ``turn_number``. A feature's columns have
the names that its dataset gave them, ``gems_board_white``; where two features, or a feature and another field, have a
name in common, the feature's own name stands before it: ``observation.tick``. Values of a feature without names are
numbered by their axes: ``board_0_6_12``. A mask has a column for each class: ``mask_action_type.build``.
"""

import difflib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stages.core.errors import ExpectedError

LookRole = Literal["feature", "label", "mask", "key"]
PLURALS: dict[str, LookRole] = {"features": "feature", "labels": "label", "masks": "mask", "keys": "key"}


@dataclass(frozen=True)
class LookField:
    """One array of a part.

    Attributes
    ----------
    name, role
        The field, by the name that the loader knows it by, and what it is.
    dtype, shape
        Of a row, its bits unpacked.
    columns
        The name of each value of a row.
    classes
        The class names of a label or mask, by index; None where none are known.
    """

    name: str
    role: LookRole
    dtype: np.dtype
    shape: tuple[int, ...]
    columns: tuple[str, ...]
    classes: tuple[str, ...] | None = None

    @property
    def head(self) -> str:
        """The name of a label or mask without its role: ``label_noble`` is ``noble``."""
        return self.name.removeprefix(f"{self.role}_")


@dataclass(frozen=True)
class Choice:
    """Some columns of a field: their places in a flattened row, in the order that was asked for; None is all."""

    field: LookField
    places: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of these columns."""
        columns = self.field.columns
        return columns if self.places is None else tuple(columns[place] for place in self.places)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return these columns of a field's rows (n, ...): (n, columns)."""
        flat = rows.reshape(len(rows), len(self.field.columns))
        return flat if self.places is None else flat[:, list(self.places)]


def numbered(name: str, shape: Sequence[int]) -> tuple[str, ...]:
    """Return names for the values of a row by their places.

    Examples
    --------
    >>> numbered("board", (2, 2)), numbered("player_to_move", ())
    (('board_0_0', 'board_0_1', 'board_1_0', 'board_1_1'), ('player_to_move',))
    """
    return tuple("_".join([name, *map(str, place)]) for place in itertools.product(*map(range, shape)))


def told_apart(fields: Iterable[LookField]) -> dict[str, LookField]:
    """Return fields by name, with the feature's name before each of its columns that another field has as well."""
    listed = list(fields)
    counts = Counter(name for field in listed for name in {*field.columns, field.name})
    result = {}
    for field in listed:
        if field.role == "feature":
            columns = [name if counts[name] == 1 else f"{field.name}.{name}" for name in field.columns]
            field = field if field.columns == (field.name,) else replace(field, columns=tuple(columns))
        result[field.name] = field
    return result


def choose(fields: Mapping[str, LookField], wanted: Sequence[str], where: str) -> list[Choice]:
    """Return what some names mean, in their order, each column once.

    Parameters
    ----------
    fields
        Of the part, by name.
    wanted
        Names of fields (``X``, ``label_noble``, ``mask_noble``), of heads (``noble``, its label), of columns
        (``gems_board_white``, ``mask_noble.0``), or ``features``, ``labels``, ``masks``, ``keys`` for all of a kind.
    where
        What begins the message.

    Raises
    ------
    ExpectedError
        When there is no such column; the nearest names are told.
    """
    places = {name: (field, place) for field in fields.values() for place, name in enumerate(field.columns)}
    taken: set[tuple[str, int]] = set()
    found: list[Choice] = []
    for name in wanted:
        for choice in _meant(fields, places, name, where):
            every = range(len(choice.field.columns)) if choice.places is None else choice.places
            new = tuple(place for place in every if (choice.field.name, place) not in taken)
            taken |= {(choice.field.name, place) for place in new}
            found += [Choice(choice.field, None if len(new) == len(choice.field.columns) else new)] if new else []
    return list(_joined(found))


def _meant(
    fields: Mapping[str, LookField], places: Mapping[str, tuple[LookField, int]], name: str, where: str
) -> list[Choice]:
    if name in PLURALS:
        return [Choice(field) for field in fields.values() if field.role == PLURALS[name]]
    if name in fields:
        return [Choice(fields[name])]
    if f"label_{name}" in fields:
        return [Choice(fields[f"label_{name}"])]
    if name in places:
        field, place = places[name]
        return [Choice(field, (place,))]
    raise ExpectedError(f"{where}: no column {name!r}{suggestion(name, [*fields, *places, *heads(fields)])}")


def heads(fields: Mapping[str, LookField]) -> list[str]:
    """Return the heads of the labels."""
    return [field.head for field in fields.values() if field.role == "label"]


def _joined(choices: Iterable[Choice]) -> Iterable[Choice]:
    """Join columns of one field that follow each other, so that they are read together."""
    for _, group in itertools.groupby(choices, key=lambda choice: choice.field.name):
        listed = list(group)
        places = tuple(place for choice in listed for place in choice.places or ())
        yield listed[0] if len(listed) == 1 else Choice(listed[0].field, places)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return what to say of a name that is not known: the nearest ones, or some of those that there are."""
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    shown = ", ".join(names[:12])
    return f", expected one of {shown}{', ...' if len(names) > 12 else ''}"
