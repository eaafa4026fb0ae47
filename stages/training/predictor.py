"""A trained model as a function of arrays: `load_model`."""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.core import paths
from stages.loader.settings import Batch
from stages.processed import Processed
from stages.training.device import Device
from stages.training.settings import params_of_task
from stages.training.task import Task
from stages.training.tasks import task_class
from stages.training.weights import load_weights, read_about


@dataclass(frozen=True)
class Predictor:
    """A trained model; call it with a batch, as the loader gives it with `settings`.

    Attributes
    ----------
    task, model
        The dataset's task, and the model in evaluation mode.
    about
        The content of model.json.
    data
        The processed arrays that say how features are made and classes are called.
    """

    task: Task
    model: nn.Module
    about: Mapping[str, Any]
    data: Processed

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of the loader's `Settings` with which its batches are what the model takes."""
        return self.task.stream_settings("test")

    def __call__(self, batch: Batch) -> Batch:
        """Return what the model says of each sample.

        Parameters
        ----------
        batch
            Arrays (k, ...) by field. Labels are not needed; masks are, where there are illegal classes.

        Returns
        -------
        dict
            What `Task.outputs` names; of each head with classes float32 (k, classes), the probabilities: 0 for an
            illegal class, and all 0 for a sample without a legal one.
        """
        with torch.inference_mode():
            outputs = self.task.outputs(self.model, Device().send(batch))
        return {name: self._answer(name, values, batch) for name, values in outputs.items()}

    def _answer(self, head: str, values: Tensor, batch: Batch) -> np.ndarray:
        if values.ndim < 2:
            return values.float().numpy()
        mask = batch.get(f"mask_{head}")
        return legal_probabilities(values.float(), None if mask is None else torch.from_numpy(mask)).numpy()


def legal_probabilities(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax of logits (k, classes) over the classes whose mask is not 0 and whose logit is above -inf."""
    if mask is not None:
        logits = logits.masked_fill(mask == 0, -torch.inf)
    return torch.softmax(logits, -1).nan_to_num(0.0)


def load_model(name: str | Path, folder: Path | None = None) -> Predictor:
    """Return the trained model of a dataset.

    Parameters
    ----------
    name
        A dataset, for data/models/<dataset>; or a folder with a model.
    folder
        The processed arrays that say how features are made and classes are called; None is data/processed/<dataset>.

    Raises
    ------
    DamagedFile
        When the model is missing or damaged.
    ExpectedError
        When the model is of another form than the code makes now.
    """
    place = Path(name) if Path(name).is_dir() else paths.model_dir(str(name))
    about = read_about(place)
    task_of = task_class(about["dataset"])
    data = Processed(folder or paths.processed_dir(about["dataset"]))
    task = task_of(params_of_task(about["params"], task_of.DEFAULTS), data.folder)
    model = task.build()
    load_weights(model, place)
    return Predictor(task, model.eval(), about, data)
