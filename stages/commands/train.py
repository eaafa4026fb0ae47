"""Bring the arrays up to date, train the models, and print them beside their baselines: behind `make train`.

Training is a pipeline of its own, stages/training/dvc.yaml, so that nothing else needs torch.
"""

import sys
import time
from collections.abc import Iterator, Sequence

from stages.commands.preprocess import layout, preprocess, read_logs
from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.pipeline import dvc, verbs
from stages.report import model_cards
from stages.report.model import MODEL, read_model, shown, verdict
from stages.runtime import cli
from stages.train import require_torch

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


def rows_of(dataset: str, seconds: float | None) -> Iterator[tuple[str, ...]]:
    """Yield what the table says of a model, a row for each headline, in the order of `COLUMNS`.

    Parameters
    ----------
    dataset
        Whose model it is.
    seconds
        What its training took, None where it was trained before.
    """
    model = read_model(dataset)
    if model is None:
        raise ExpectedError(f"{paths.model_dir(dataset)}: no model, expected one; run `make train` again")
    took = "-" if seconds is None else f"{seconds:.1f}"
    first = (dataset, f"{model.metrics['samples']:,}", f"{model.metrics['steps']:,}", took)
    of_test = model.of_part("test")
    for headline in model.headlines:
        name = headline["name"]
        told = [f"{of} {shown(of_test[of][name])}" for of in model.baselines if of_test[of].get(name) is not None]
        words = f"{', '.join(told)}: {verdict(headline, of_test)}" if told else verdict(headline, of_test)
        yield (*first, name, shown(of_test[MODEL].get(name)), words)
        first = ("", "", "", "")


def _seconds(dataset: str, since: float) -> float | None:
    """Return what the training of a dataset took since then, None where there was none."""
    times = [entry.time for entry in read_logs(since) if (entry.stage, entry.name) == ("train", dataset)]
    return max(times) - min(times) if times else None


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        started, trained = time.time(), params.with_entry("train", datasets)
        train(params, trained)
        rows = [row for dataset in trained for row in rows_of(dataset, _seconds(dataset, started))]
        for dataset in trained:
            model_cards.write(dataset)
        folders = ", ".join(f"{paths.model_dir(dataset)}/" for dataset in trained)
        sys.stdout.write(f"\n{layout([COLUMNS, *rows])}\n\nThe models lie in {folders}.\n")

    return cli.on_datasets("commands.train", "Train the models, and show them beside their baselines.", action)


if __name__ == "__main__":
    sys.exit(main())
