"""Bring the arrays up to date, train the models, and print them beside their baselines: behind `make train`.

Training is a pipeline of its own, stages/training/dvc.yaml, so that nothing else needs torch.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.commands.preprocess import layout, preprocess, read_logs
from stages.core import paths
from stages.core.arrays import DamagedFile
from stages.core.params import Params, ParamsError
from stages.pipeline import dvc, verbs
from stages.runtime import cli
from stages.train import require_entry, require_torch

COLUMNS = ("dataset", "samples", "steps", "seconds", "metric of test", "model", "baselines")
FAILURE = "dvc repro failed, see above; models that were trained are kept, correct it and run again"


def train(params: Params, datasets: Sequence[str]) -> None:
    """Train the models of some datasets, those whose arrays, code or params changed.

    Raises
    ------
    ExpectedError
        When torch is missing, or a stage fails.
    """
    require_torch()
    preprocess(params, datasets)
    stages = [verbs.train_stage(dataset) for dataset in datasets]
    dvc.call("repro", "--single-item", "--keep-going", *stages, failure=FAILURE)


def chosen(params: Params, datasets: Sequence[str]) -> list[str]:
    """Return the datasets to train: those that are named, or all that have an entry in `train`.

    Raises
    ------
    ParamsError
        When a named one has no entry, or no dataset has one.
    """
    named = [dataset for dataset in datasets if dataset in params.train]
    if len(datasets) < len(params.datasets):
        for dataset in datasets:
            require_entry(params, dataset)
    if not named:
        raise ParamsError(f"{paths.PARAMS_FILE}: train: no entry, expected one for each model; add it")
    return named


def rows_of(dataset: str, seconds: float | None) -> Iterator[tuple[str, ...]]:
    """Yield what the table says of a model, a row for each headline, in the order of `COLUMNS`.

    Parameters
    ----------
    dataset
        Whose model it is.
    seconds
        What its training took, None where it was trained before.
    """
    about = _read(paths.model_dir(dataset) / "model.json")
    metrics = _read(paths.train_metrics(dataset))
    took = "-" if seconds is None else f"{seconds:.1f}"
    first = (dataset, f"{metrics['samples']:,}", f"{metrics['steps']:,}", took)
    model, *baselines = metrics["test"].items()
    for headline in about["headlines"]:
        name = headline["name"]
        beside = ", ".join(f"{of} {_number(found, name)}" for of, found in baselines if found.get(name) is not None)
        yield (*first, name, _number(model[1], name), beside)
        first = ("", "", "", "")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{path}: not what a training writes ({error}); remove it and run `make train`") from None
    return content


def _number(metrics: Mapping[str, float | None], name: str) -> str:
    value = metrics.get(name)
    return "-" if value is None else f"{value:.3f}"


def _seconds(dataset: str, since: float) -> float | None:
    """Return what the training of a dataset took since then, None where there was none."""
    times = [entry.time for entry in read_logs(since) if (entry.stage, entry.name) == ("train", dataset)]
    return max(times) - min(times) if times else None


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        started, trained = time.time(), chosen(params, datasets)
        train(params, trained)
        rows = [row for dataset in trained for row in rows_of(dataset, _seconds(dataset, started))]
        folders = ", ".join(f"{paths.model_dir(dataset)}/" for dataset in trained)
        sys.stdout.write(f"\n{layout([COLUMNS, *rows])}\n\nThe models lie in {folders}.\n")

    return cli.on_datasets("commands.train", "Train the models, and show them beside their baselines.", action)


if __name__ == "__main__":
    sys.exit(main())
