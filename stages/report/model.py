"""What is known of a trained model, and in words how it compares with its baselines; nothing here needs torch.

In: data/models/<dataset>/model.json, metrics.json and figures.json in data/train/<dataset>/, and
data/curves/<dataset>/curve.csv, as stages/training/run.py describes them.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import paths
from stages.core.arrays import DamagedFile

Json = dict[str, Any]
OfPart = Mapping[str, Mapping[str, float | None]]  # metrics of the model and of each baseline, by its name

EVALUATED = ("val", "test")
MODEL = "model"  # its own metrics, among those of the baselines
SMALL = 0.01
N_DIGITS, N_DIGITS_SMALL = 3, 5  # behind the point


@dataclass(frozen=True)
class TrainedModel:
    """Contents of the files that a training leaves.

    Attributes
    ----------
    about, metrics, figures
        Of model.json, metrics.json and figures.json.
    curve
        A row for each evaluation, a number by column; None where there is none.
    """

    about: Json
    metrics: Json
    figures: list[Json]
    curve: list[dict[str, float | None]]

    @property
    def headlines(self) -> list[Json]:
        """The metrics to be shown first: ``name`` and ``is_higher_better``."""
        return list(self.about["headlines"])

    @property
    def baselines(self) -> list[str]:
        """Names of the baselines."""
        return [name for name in self.metrics["test"] if name != MODEL]

    def of_part(self, part: str) -> OfPart:
        """Return the metrics of val or test."""
        metrics: OfPart = self.metrics[part]
        return metrics

    def verdicts(self, part: str = "test") -> list[str]:
        """Return a sentence for each headline: what the metric is, and which baselines it is better than."""
        found = self.of_part(part)
        return [
            f"{one['name']} is {shown(found[MODEL].get(one['name']))}: {verdict(one, found)}." for one in self.headlines
        ]


def read_model(dataset: str) -> TrainedModel | None:
    """Return the model of a dataset, None where none was trained.

    Raises
    ------
    FileNotFoundError
        When some of the files are not there.
    DamagedFile
        When one is not what a training writes.
    """
    about = paths.model_dir(dataset) / "model.json"
    if not about.is_file():
        return None
    curve, metrics = paths.curve(dataset), _read(paths.train_metrics(dataset))
    figures = _read(paths.train_figures(dataset))
    try:
        with curve.open(encoding="utf-8", newline="") as file:
            rows = [{name: float(text) if text else None for name, text in row.items()} for row in csv.DictReader(file)]
    except ValueError as error:
        raise _damaged(curve, error) from None
    return TrainedModel(_read(about), metrics, figures, rows)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: ValueError) -> DamagedFile:
    return DamagedFile(f"{path}: not what a training writes ({error}); remove it and run `make train`")


def verdict(headline: Mapping[str, Any], of_part: OfPart) -> str:
    """Say in words which baselines a model is better than, as far as its samples can tell.

    Parameters
    ----------
    headline
        ``name`` of a metric, and ``is_higher_better``.
    of_part
        Metrics of the model and of each baseline. Where the model's has an interval, ``<name>_low`` and
        ``<name>_high``, it is better than what the whole interval is better than.

    Examples
    --------
    >>> found = {"model": {"r2": 0.5}, "mean": {"r2": 0.0}, "ridge": {"r2": 0.6}, "coin": {}}
    >>> verdict({"name": "r2", "is_higher_better": True}, found)
    'not better than ridge; better than mean'
    >>> verdict({"name": "r2", "is_higher_better": True}, {**found, "ridge": {}})
    'better than every baseline'
    >>> earned = {"model": {"return": 0.4, "return_low": -0.2, "return_high": 0.9}, "hold": {"return": 0.0}}
    >>> verdict({"name": "return", "is_higher_better": True}, earned)
    'not better than hold'
    """
    name, sign = headline["name"], 1 if headline["is_higher_better"] else -1
    own, bound = of_part[MODEL].get(name), of_part[MODEL].get(f"{name}_{'low' if sign > 0 else 'high'}")
    values = {of: found.get(name) for of, found in of_part.items() if of != MODEL}
    others = {of: value for of, value in values.items() if value is not None}
    if own is None:
        return "nothing was counted"
    if not others:
        return "no baseline has it"
    surely = own if bound is None else bound
    worse = [of for of, value in others.items() if sign * surely > sign * value]
    rest = [of for of in others if of not in worse]
    if not rest:
        return "better than every baseline"
    return f"not better than {', '.join(rest)}" + (f"; better than {', '.join(worse)}" if worse else "")


def shown(value: float | None) -> str:
    """Return a metric, a dash for none: with three digits, a small one, such as a return in SOL, with five.

    What is left of a 0 by its sums has no sign.
    """
    if value is None:
        return "-"
    is_small = 0 < abs(round(value, N_DIGITS_SMALL)) < SMALL
    n_digits = N_DIGITS_SMALL if is_small else N_DIGITS
    return f"{round(value, n_digits) + 0.0:.{n_digits}f}"
