"""params.yaml as typed values: everything that changes the bytes of an output, and nothing else.

    datasets:
      <name>:
        raw: data/sample/<name>      # folder with the raw files; the only key that is needed
        batch_size: 500              # most units in one batch
        limit: null                  # take only this many units (those with the lowest key hashes)
        max_bad_units: 0             # how many unreadable units may be left out
        options: {}                  # the dataset's own settings, checked by its package
        split: {}                    # where it differs from the section `split`
    split: {train: 0.8, val: 0.1, test: 0.1, seed: 42, by: group}
    simulate:
      <name>: {...}                  # the settings of a dataset's simulator; no entry, no simulation
    train:
      <name>: {...}                  # the settings of a dataset's training; no entry, no training
    sweep:
      <name>: {grid: {...}}          # what of these `make sweep` tries; changes no byte
    iterate:
      <name>: {...}                  # how a network learns from its own games; no entry, no generations

An unknown key, a wrong type or a value out of range is an error that names the key and, where there is one, the
known key nearest to it; all errors are told at once. What a dataset needs to check its own options likewise comes from
here as well: `build` and the rules, see stages/core/sections.py.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from stages.core import paths, plain_yaml
from stages.core.sections import AtLeast, Between, Fault, Must, ParamsError, build, check, nearest

__all__ = ["AtLeast", "Between", "DatasetParams", "Fault", "Must", "Params", "ParamsError", "SplitParams"]
__all__ += ["SweepParams", "Window", "build", "load"]

BOUNDARIES = "two rising times such as ['2024-01-01', '2024-07-01']"
DATASET_NAME = re.compile(r"[a-z][a-z0-9_]*")
Section = Literal["train", "sweep", "iterate"]  # with an entry for each dataset that has to do with it
Share = Annotated[float, Between(0, 1, is_open=True)]


def _are_rising_times(boundaries: list[Any]) -> bool:
    try:
        first, second = (datetime.fromisoformat(str(time)) for time in boundaries)
        is_rising = first < second
    except (ValueError, TypeError):
        is_rising = False
    return is_rising


@dataclass(frozen=True)
class DatasetParams:
    """Settings of one dataset."""

    raw: str
    batch_size: Annotated[int, AtLeast(1)] = 500
    limit: Annotated[int, AtLeast(1)] | None = None
    max_bad_units: Annotated[int, AtLeast(0)] = 0
    options: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)

    @property
    def raw_dir(self) -> Path:
        """Folder with the raw files."""
        return Path(self.raw)


@dataclass(frozen=True)
class Window:
    """Sliding windows: `window` rows each, one every `step` rows, with at least `ahead` rows behind them."""

    window: Annotated[int, AtLeast(1)]
    step: Annotated[int, AtLeast(1)]
    ahead: Annotated[int, AtLeast(0)] = 0


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
        Per feature field, the ``window`` (rows) and ``step`` of its sliding windows, and how many rows ``ahead`` follow
        each of them in its segment and part, for labels to be made of.
    shuffle
        Whether the rows of a part come in the order of a hash instead of the merged one; see
        stages/splitting/shuffle.py.
    store
        How features that are standardised are written: ``float32`` as a trainer reads them, ``stored`` in the dtype and
        with the values that merged has, which the loader standardises, to the same bits.
    """

    train: Share = 0.8
    val: Share = 0.1
    test: Share = 0.1
    seed: int = 42
    by: Literal["group", "time"] = "group"
    horizon: Annotated[int, AtLeast(0)] = 0
    embargo: Annotated[int, AtLeast(0)] = 0
    boundaries: Annotated[list[Any], Must(_are_rising_times, BOUNDARIES)] | None = None
    windows: dict[str, Window] = field(default_factory=dict)
    shuffle: bool = False
    store: Literal["float32", "stored"] = "float32"

    def shares(self) -> dict[str, float]:
        """Return the share of each part."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def described(self) -> dict[str, Any]:
        """Return the settings that the rule in `by` uses, for stats.json."""
        if self.by == "group":
            return {**self.shares(), "seed": self.seed, **({"shuffle": True} if self.shuffle else {})}
        return {**self.shares(), "by": self.by, "horizon": self.horizon, "embargo": self.embargo}

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the settings together."""
        total = sum(self.shares().values())
        if abs(total - 1) > 1e-6:
            yield Fault("", f"shares sum to {total:g}, expected 1; correct train, val or test")
        reason = "by: time" if self.by == "time" else "windows" if self.windows else ""
        if self.shuffle and reason:
            yield Fault("shuffle", f"True, expected False with {reason}, which needs rows in order; drop one")


@dataclass(frozen=True)
class SweepParams:
    """Which settings of a dataset's training are tried.

    Attributes
    ----------
    grid
        Keys of ``train.<dataset>``, each with the list of its values; a section, such as ``model``, with keys in it.
    random
        How many combinations are tried, drawn without repeating; None is all of them.
    seed
        Of that draw.
    """

    grid: Annotated[dict[str, Any], Must(bool, "at least one key of train with a list of values")]
    random: Annotated[int, AtLeast(1)] | None = None
    seed: Annotated[int, AtLeast(0)] = 42


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml."""

    datasets: dict[str, DatasetParams]
    split: SplitParams = field(default_factory=SplitParams)
    simulate: dict[str, dict[str, Any]] = field(default_factory=dict)
    train: dict[str, dict[str, Any]] = field(default_factory=dict)
    iterate: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweep: dict[str, SweepParams] = field(default_factory=dict)

    def takes_sample(self, dataset: str) -> bool:
        """Say whether the raw files of a dataset are those that its simulation makes.

        With a raw folder of one's own a simulation that params.yaml still has makes files that nothing reads.
        """
        sample = paths.sample_dir(dataset).resolve()
        return dataset in self.simulate and self.datasets[dataset].raw_dir.resolve().is_relative_to(sample)

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
                f"{paths.PARAMS_FILE}: no dataset {name!r}, expected one of: {known}{nearest(name, self.datasets)}"
            )
        return self.datasets[name]

    def require_entry(self, section: Section, dataset: str) -> None:
        """Raise `ParamsError` when there is no such dataset, or no entry of it in a section."""
        self.dataset(dataset)
        entries = getattr(self, section)
        if dataset not in entries:
            known = ", ".join(sorted(entries)) or "none"
            raise ParamsError(
                f"{paths.PARAMS_FILE}: {section}: no entry {dataset!r}, expected one of: {known}"
                f"{nearest(dataset, entries)}"
            )

    def with_entry(self, section: Section, datasets: Sequence[str]) -> list[str]:
        """Return those of some datasets that have an entry in a section.

        Raises
        ------
        ParamsError
            When none has one, or one has none though not all datasets are asked for.
        """
        if len(datasets) < len(self.datasets):
            for dataset in datasets:
                self.require_entry(section, dataset)
        found = [dataset for dataset in datasets if dataset in getattr(self, section)]
        if not found:
            raise ParamsError(f"{paths.PARAMS_FILE}: {section}: no entry, expected one for a dataset; add it")
        return found

    def split_of(self, name: str) -> SplitParams:
        """Return how the rows of a dataset are assigned to parts: `split`, with what the dataset sets differently."""
        return build(SplitParams, self._split_of(name), f"{paths.PARAMS_FILE}: datasets.{name}.split")

    def faults(self) -> Iterator[Fault]:
        """Yield the names that no package can have, and what is wrong with `split` where a dataset differs."""
        sections = {"datasets": [*self.datasets], "simulate": [*self.simulate]}
        sections |= {"train": [*self.train], "sweep": [*self.sweep], "iterate": [*self.iterate]}
        for section, name in ((section, name) for section, names in sections.items() for name in names):
            if not DATASET_NAME.fullmatch(name):
                yield Fault(section, f"{name!r}, expected a small letter, then small letters, digits or _; rename it")
        for name in self.datasets:
            yield from check(SplitParams, self._split_of(name), f"datasets.{name}.split")[1]

    def _split_of(self, name: str) -> dict[str, Any]:
        return {**dataclasses.asdict(self.split), **self.dataset(name).split}


def load(path: Path = paths.PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises
    ------
    ParamsError
        When the file is missing, not plain YAML, or holds an unknown key or an unusable value.
    """
    try:
        content = plain_yaml.parse(path.read_bytes())
    except FileNotFoundError:
        raise ParamsError(f"{path}: not found, expected in the working directory; run from the repository") from None
    except plain_yaml.NotPlainYaml as error:
        raise ParamsError(f"{path}: {error}") from None
    return build(Params, content, f"{path}: ")
