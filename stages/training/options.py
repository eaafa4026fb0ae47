"""The keys of ``train.<dataset>`` that are a task's own, beside those of the trainer."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from stages.core.params import Must, build

O = TypeVar("O")  # noqa: E741 - of options


def _are_widths(widths: list[Any]) -> bool:
    return len(widths) > 0 and all(isinstance(width, int) and width >= 1 for width in widths)


Widths = Annotated[list[int], Must(_are_widths, "at least one width, each from 1")]  # of hidden layers, the first first


def own_options(kind: type[O], params: Mapping[str, Any], where: str) -> O:
    """Return those of the parameters that are fields of a dataclass, as one; the others are the trainer's.

    Raises
    ------
    ExpectedError
        When a value is wrong, with where it stands.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return build(kind, {name: params[name] for name in names if name in params}, where)
