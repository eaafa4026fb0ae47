"""Train the model of a dataset on its processed arrays.

In: data/processed/<dataset> and the section ``train.<dataset>`` of params.yaml. Out: data/models/<dataset>/ and the
figures that stages/training/run.py describes. A training that was stopped or killed goes on where its newest checkpoint
is, bit for bit. torch is in the extra `train`, which `make train` installs. Several processes train together under
``torchrun --nproc-per-node 2 -m stages.train splendor``.
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.runtime import cli


def require_torch() -> None:
    """Refuse to go on without torch.

    Raises
    ------
    ExpectedError
        When it is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise ExpectedError("torch: not installed, expected it for training; run `make train`")


@dataclass(frozen=True)
class Planned:
    """A training that was checked and not begun.

    Attributes
    ----------
    identity
        16 hex digits, others for every other training: see stages/training/identity.py.
    loss, headlines
        The names of the metric that chooses the best weights if nothing else is said, and of those to be shown.
    elsewhere
        The relative paths that it reads beside data/processed/<dataset>.
    """

    identity: str
    loss: str
    headlines: tuple[str, ...]
    elsewhere: tuple[str, ...]


def check_settings(dataset: str, entry: Mapping[str, Any]) -> None:
    """Refuse an entry of `train` with a key that nobody knows, or a wrong value of the trainer's; needs no arrays.

    Raises
    ------
    ParamsError
        With what is wrong.
    """
    from stages.training.settings import read_recipe
    from stages.training.tasks import task_class

    read_recipe(dataset, entry, task_class(dataset).DEFAULTS)


def plan(dataset: str, entry: Mapping[str, Any]) -> Planned:
    """Say what a training with an entry of `train` would be, all of it checked as the training itself does.

    Raises
    ------
    ExpectedError
        When a parameter is wrong or there are no arrays.
    """
    from stages.training.run import make_job
    from stages.training.tasks import task_class

    job = make_job(dataset, entry, task_class(dataset))
    read = {job.recipe.settings.init_from, *(source.folder for source in job.recipe.settings.sources)}
    elsewhere = {name for name in read if name and not Path(name).is_absolute() and Path(name) != job.folder}
    names = tuple(headline.name for headline in job.task.HEADLINES)
    return Planned(job.identity.name, job.task.LOSS, names, tuple(sorted(elsewhere)))


def train(params: Params, dataset: str, tell_kept: Callable[[str], None]) -> None:
    """Train the model of a dataset.

    Parameters
    ----------
    params, dataset
        All of params.yaml, and the name of an entry of `train`.
    tell_kept
        Told what is not lost, should the training stop now.

    Raises
    ------
    ExpectedError
        When torch is missing, a parameter is wrong, or the training fails.
    """
    params.require_entry("train", dataset)
    require_torch()
    from stages.training.run import make_job, run
    from stages.training.tasks import task_class

    run(make_job(dataset, params.train[dataset], task_class(dataset)), tell_kept)


def main() -> int:
    """Run the verb from the command line."""
    kept = ["nothing was done yet"]
    return cli.on_dataset(
        "train",
        "Train a model on data/processed/<dataset>/.",
        lambda params, dataset: train(params, dataset, kept.append),
        lambda: kept[-1],
    )


if __name__ == "__main__":
    sys.exit(main())
