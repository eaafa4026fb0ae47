"""params.yaml as typed values: everything that changes the bytes of an output, and nothing else.

    datasets:
      <name>:
        raw: data/sample/<name>      # folder with the raw files
        batch_size: 500              # most units in one batch
        limit: null                  # take only this many units (those with the lowest key hashes)
        max_bad_units: 0             # how many unreadable units may be left out
        options: {}                  # the dataset's own settings, checked by its package
        split: {}                    # where it differs from the section `split`
    split: {train: 0.8, val: 0.1, test: 0.1, seed: 42, by: group}
    simulate:
      <name>: {...}                  # the settings of a dataset's simulator; no entry, no simulation

An unknown key, a wrong type or a value out of range is an error that names the key and, where there is one, the
known key nearest to it.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from stages.core import paths
from stages.core.errors import ExpectedError

P = TypeVar("P")

SPLIT_RULES = ("group", "time")


class ParamsError(ExpectedError):
    """Something in params.yaml is not as it must be."""


@dataclass(frozen=True)
class DatasetParams:
    """Settings of one dataset."""

    raw: str
    batch_size: int = 500
    limit: int | None = None
    max_bad_units: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)

    @property
    def raw_dir(self) -> Path:
        """Folder with the raw files."""
        return Path(self.raw)


@dataclass(frozen=True)
class SplitParams:
    """How rows are assigned to parts.

    Attributes
    ----------
    train, val, test
        Shares, which sum to 1.
    seed
        Of the assignment by group.
    by
        ``group``: whole groups by hash; ``time``: earlier rows to train, later ones to val, the last ones to test.
    horizon
        Rows after a row that its label depends on; as many are left out before a boundary in time.
    embargo
        Rows that are left out after a boundary in time, beyond those whose features reach back over it.
    boundaries
        The two times (ISO 8601, UTC) at which val and test begin, instead of the shares.
    windows
        Per feature field, the ``window`` (rows) and ``step`` of its sliding windows.
    shuffle
        Whether the rows of a part come in the order of a hash instead of the merged one; see
        stages/splitting/shuffle.py.
    """

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 42
    by: str = "group"
    horizon: int = 0
    embargo: int = 0
    boundaries: list[Any] | None = None
    windows: dict[str, Any] = field(default_factory=dict)
    shuffle: bool = False

    def shares(self) -> dict[str, float]:
        """Return the share of each part."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def described(self) -> dict[str, Any]:
        """Return the settings that the rule in `by` uses, for stats.json."""
        if self.by == "group":
            return {**self.shares(), "seed": self.seed, **({"shuffle": True} if self.shuffle else {})}
        return {**self.shares(), "by": self.by, "horizon": self.horizon, "embargo": self.embargo}


@dataclass(frozen=True)
class Window:
    """Sliding windows: `window` rows each, one every `step` rows."""

    window: int
    step: int


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml."""

    datasets: dict[str, DatasetParams]
    split: SplitParams
    simulate: dict[str, dict[str, Any]]

    def dataset(self, name: str) -> DatasetParams:
        """Return the settings of the dataset called `name`.

        Raises
        ------
        ParamsError
            When params.yaml has no such dataset.
        """
        if name not in self.datasets:
            known = ", ".join(sorted(self.datasets)) or "none"
            raise ParamsError(
                f"{paths.PARAMS_FILE}: no dataset {name!r}, expected one of: {known}{_nearest(name, self.datasets)}"
            )
        return self.datasets[name]

    def split_of(self, name: str) -> SplitParams:
        """Return how the rows of a dataset are assigned to parts: `split`, with what the dataset sets differently."""
        own = self.dataset(name).split
        return _split({**dataclasses.asdict(self.split), **own}, f"{paths.PARAMS_FILE}: datasets.{name}.split")


def load(path: Path = paths.PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises
    ------
    ParamsError
        When the file is missing, not YAML, or holds an unknown key or an unusable value.
    """
    try:
        with path.open("rb") as file:
            content = yaml.safe_load(file)
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found, expected in the working directory; run from the repository") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    sections = _mapping(content, str(path))
    _refuse_unknown(sections, ("datasets", "split", "simulate"), str(path))
    datasets = {
        name: _dataset(entry, f"{path}: datasets.{name}")
        for name, entry in _mapping(sections.get("datasets"), f"{path}: datasets").items()
    }
    simulate = {
        name: dict(_mapping(entry, f"{path}: simulate.{name}"))
        for name, entry in _mapping(_given(sections, "simulate"), f"{path}: simulate").items()
    }
    params = Params(datasets, _split(_given(sections, "split"), f"{path}: split"), simulate)
    for name in datasets:
        params.split_of(name)
    return params


def _dataset(entry: object, where: str) -> DatasetParams:
    result = build(DatasetParams, entry, where)
    _at_least(result.batch_size, 1, f"{where}.batch_size")
    _at_least(result.max_bad_units, 0, f"{where}.max_bad_units")
    if result.limit is not None:
        _at_least(result.limit, 1, f"{where}.limit")
    return result


def _split(entry: object, where: str) -> SplitParams:
    result = build(SplitParams, entry, where)
    shares = {"train": result.train, "val": result.val, "test": result.test}
    for name, share in shares.items():
        if not 0 < share < 1:
            raise ParamsError(f"{where}.{name}: {share!r}, expected a share between 0 and 1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ParamsError(f"{where}: shares sum to {sum(shares.values()):g}, expected 1; correct train, val or test")
    if result.by not in SPLIT_RULES:
        raise ParamsError(f"{where}.by: {result.by!r}, expected {' or '.join(SPLIT_RULES)}")
    for name in ("horizon", "embargo"):
        _at_least(getattr(result, name), 0, f"{where}.{name}")
    for name, entry in result.windows.items():
        window = build(Window, entry, f"{where}.windows.{name}")
        _at_least(window.window, 1, f"{where}.windows.{name}.window")
        _at_least(window.step, 1, f"{where}.windows.{name}.step")
    _times(result.boundaries, f"{where}.boundaries")
    _refuse_shuffled_time(result, where)
    return result


def _refuse_shuffled_time(split: SplitParams, where: str) -> None:
    reason = "by: time" if split.by == "time" else "windows" if split.windows else ""
    if split.shuffle and reason:
        raise ParamsError(f"{where}.shuffle: True, expected False with {reason}, which needs rows in order; drop one")


def _times(boundaries: list[Any] | None, where: str) -> None:
    try:
        first, second = (datetime.fromisoformat(str(time)) for time in boundaries or ("2000-01-01", "2000-01-02"))
        is_sound = first < second
    except (ValueError, TypeError):
        is_sound = False
    if not is_sound:
        raise ParamsError(f"{where}: {boundaries!r}, expected two rising times such as ['2024-01-01', '2024-07-01']")


def build(cls: type[P], entry: object, where: str) -> P:
    """Make a dataclass from a mapping, refusing unknown, missing and wrongly typed keys.

    Parameters
    ----------
    cls
        A dataclass whose fields are int, float, str, dict or an optional one of these.
    entry
        The mapping from the YAML file.
    where
        How errors name the mapping.

    Raises
    ------
    ParamsError
        With the key, what was found and what is expected.
    """
    content = _mapping(entry, where)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    _refuse_unknown(content, [f.name for f in fields], where)
    missing = [
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in content
    ]
    if missing:
        raise ParamsError(f"{where}: {missing[0]} is missing; add it")
    hints = get_type_hints(cls)
    return cls(**{key: _typed(value, hints[key], f"{where}.{key}") for key, value in content.items()})


def require_choices(settings: object, choices: Mapping[str, Sequence[str]], where: str) -> None:
    """Raise `ParamsError` unless each attribute of `choices` has one of its values."""
    for name, expected in choices.items():
        value = getattr(settings, name)
        if value not in expected:
            raise ParamsError(f"{where}.{name}: {value!r}, expected {' or '.join(expected)}; correct it")


def _typed(value: object, kind: Any, where: str) -> object:
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    accepted = tuple(get_origin(k) or k for k in kinds)
    if float in accepted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        names = " or ".join("null" if k is types.NoneType else k.__name__ for k in accepted)
        raise ParamsError(f"{where}: {value!r}, expected {names}")
    return value


def _given(sections: Mapping[str, Any], name: str) -> object:
    value = sections.get(name)
    return {} if value is None else value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ParamsError(f"{where}: {value!r}, expected a section of named keys")
    return value


def _refuse_unknown(content: Mapping[str, Any], known: "tuple[str, ...] | list[str]", where: str) -> None:
    for key in content:
        if key not in known:
            raise ParamsError(f"{where}: unknown key {key!r}, expected {', '.join(known)}{_nearest(key, known)}")


def _nearest(key: str, known: "Mapping[str, Any] | tuple[str, ...] | list[str]") -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _at_least(value: int, least: int, where: str) -> None:
    if value < least:
        raise ParamsError(f"{where}: {value}, expected a whole number from {least}")
