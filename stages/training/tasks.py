"""The task of a dataset, found by name: nothing here imports a dataset otherwise."""

import importlib
import importlib.util

from stages.core.errors import ExpectedError
from stages.training.task import Task


def task_class(dataset: str) -> type[Task]:
    """Return ``TASK`` of stages/datasets/<dataset>/training/task.py.

    Raises
    ------
    ExpectedError
        When the dataset says nothing of training.
    """
    package = f"stages.datasets.{dataset}"
    for name in (package, f"{package}.training", f"{package}.training.task"):
        if importlib.util.find_spec(name) is None:
            where = name.replace(".", "/")
            raise ExpectedError(f"train {dataset}: no {where}, expected a Task there; see stages/training/task.py")
    task: type[Task] = importlib.import_module(f"{package}.training.task").TASK
    return task
