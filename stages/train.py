"""Train the model of a dataset on its processed arrays.

In: data/processed/<dataset> and the section ``train.<dataset>`` of params.yaml. Out: data/models/<dataset>/ and the
figures that stages/training/run.py describes. A training that was stopped or killed goes on where its newest checkpoint
is, bit for bit. torch is in the extra `train`, which `make train` installs. Several processes train together under
``torchrun --nproc-per-node 2 -m stages.train splendor``.
"""

import importlib.util
import sys
from collections.abc import Callable

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params, ParamsError
from stages.core.sections import nearest
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


def require_entry(params: Params, dataset: str) -> None:
    """Refuse a dataset that is not to be trained.

    Raises
    ------
    ParamsError
        When params.yaml has no such dataset, or no entry of it in `train`.
    """
    params.dataset(dataset)
    if dataset not in params.train:
        known = ", ".join(sorted(params.train)) or "none"
        where = f"{paths.PARAMS_FILE}: train"
        raise ParamsError(f"{where}: no entry {dataset!r}, expected one of: {known}{nearest(dataset, params.train)}")


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
    require_entry(params, dataset)
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
