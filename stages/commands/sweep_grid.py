"""The combinations of a sweep: what each makes of an entry of `train`, how it is named, and how DVC is told of it.

In: an entry of `sweep` in params.yaml::

    hex:
      grid:
        lr: [0.003, 0.01]
        model:
          channels: [16, 32]

Out: combinations such as ``{"lr": 0.003, "model.channels": 16}``, the last key changing first. Nothing here knows what
a key means; that is for the settings of the training, which each combination is checked with.
"""

import itertools
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.params import ParamsError, SweepParams

MOST = 1000  # combinations: each of them takes DVC two seconds to queue
LONGEST = 80  # characters of a name, before its digits
KEY = re.compile(r"[A-Za-z_]\w*")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9.-]+")

Combination = Mapping[str, Any]


def combinations(sweep: SweepParams, where: str) -> list[Combination]:
    """Return what is to be tried.

    Parameters
    ----------
    sweep
        The grid, and how many of it.
    where
        How errors name the section: "params.yaml: sweep.hex".

    Raises
    ------
    ParamsError
        When a key has no list of different values, or there are too many combinations.
    """
    lists = _lists(sweep.grid, f"{where}.grid")
    size = math.prod(len(values) for values in lists.values())
    n_tried = min(size, sweep.random or size)
    if n_tried > MOST:
        raise ParamsError(f"{where}: {size:,} combinations, expected at most {MOST:,}; set random, or try fewer values")
    if n_tried == size:
        return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    numbers = sorted(random.Random(sweep.seed).sample(range(size), n_tried))
    return [_combination(lists, number) for number in numbers]


def _lists(section: Mapping[str, Any], where: str, before: str = "") -> dict[str, Sequence[Any]]:
    """Return the list of values of each key, a key in a section as ``model.width``."""
    lists: dict[str, Sequence[Any]] = {}
    for key, found in section.items():
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ParamsError(f"{where}: key {key!r}, expected the name of a setting; correct it")
        name, inner = f"{before}{key}", f"{where}.{key}"
        if isinstance(found, Mapping):
            lists |= _lists(found, inner, f"{name}.")
        elif isinstance(found, list) and found:
            lists[name] = _different(found, inner)
        else:
            raise ParamsError(f"{inner}: {found!r}, expected a list of values to try; write [{as_yaml(found)}]")
    return lists


def _different(values: list[Any], where: str) -> list[Any]:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ParamsError(f"{where}: {as_yaml(value)} stands there twice; remove one of them")
    return values


def _combination(lists: Mapping[str, Sequence[Any]], number: int) -> Combination:
    """Return the combination with a number, counted as `itertools.product` does."""
    chosen = {}
    for key in reversed([*lists]):
        number, place = divmod(number, len(lists[key]))
        chosen[key] = lists[key][place]
    return {key: chosen[key] for key in lists}


def applied(entry: Mapping[str, Any], combination: Combination) -> dict[str, Any]:
    """Return an entry of `train` with other values of some keys, as DVC's ``--set-param ++key=value`` makes it."""
    result = dict(entry)
    for key, value in combination.items():
        first, _, rest = key.partition(".")
        before = result.get(first)
        section = before if isinstance(before, Mapping) else {}
        if rest:
            result[first] = applied(section, {rest: value})
        else:
            result[first] = applied(section, value) if isinstance(value, Mapping) else value
    return result


def overrides(dataset: str, combination: Combination) -> list[str]:
    """Return what ``dvc exp run --set-param`` takes for a combination."""
    return [f"++train.{dataset}.{key}={as_yaml(value)}" for key, value in combination.items()]


def varying(tried: Sequence[Combination]) -> list[str]:
    """Return the keys that do not have the same value in each combination."""
    return [key for key in tried[0] if any(one[key] != tried[0][key] for one in tried)]


def name_of(dataset: str, combination: Combination, keys: Sequence[str], digits: str) -> str:
    """Return the name of an experiment: ``hex-lr0.01-channels16-1f2e3d``.

    Parameters
    ----------
    dataset
        What it begins with.
    combination, keys
        What it tries, and which of that is named: the last part of each key, and the value.
    digits
        What it ends with, and what no other training has.
    """
    parts = [f"{key.rpartition('.')[2]}{as_yaml(combination[key])}" for key in keys]
    return f"{_plain('-'.join([dataset, *parts]))[:LONGEST]}-{digits}"


def _plain(text: str) -> str:
    """Return a text as a git reference may have it."""
    return re.sub(r"\.{2,}|\.$|\.(?=-|lock)", "_", NOT_IN_NAMES.sub("_", text))


def told(combination: Combination) -> str:
    """Return a combination as a user is told of it: ``lr: 0.01, model.channels: 16``."""
    return ", ".join(f"{key}: {as_yaml(value)}" for key, value in combination.items())


def as_yaml(value: Any) -> str:
    """Return a value in one line of YAML that is hydra's grammar of overrides as well: no quotes around keys."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    return json.dumps(value, default=str)
