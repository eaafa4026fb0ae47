"""What a dataset says of its training: the model, the loss, the metrics, and what they are measured against.

A dataset's task is the class `Task<Dataset>`, named ``TASK``, in stages/datasets/<dataset>/training/task.py. It is made
once for a run, from the parameters of ``train.<dataset>`` and the folder of processed arrays, and holds no state that
training changes: the weights are the model's, what a metric counts is the `Meter`'s.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from stages.training.figures import ModelFigure

TensorBatch = Mapping[str, Tensor]
Metrics = dict[str, float]


@dataclass(frozen=True)
class Headline:
    """A metric that the closing table shows beside each baseline.

    `name` is a key of what `Meter.result` gives; `is_higher_better` says which end is good. `threshold` is what
    `make bench-train` demands of the sample's test part, None for nothing.
    """

    name: str
    is_higher_better: bool
    threshold: float | None = None


class Meter(Protocol):
    """Sums over the batches of a part, so that a metric is one of all its samples and no mean of means."""

    def update(self, model: nn.Module, batch: TensorBatch) -> None:
        """Take in a batch; gradients are off and the model is in evaluation mode."""

    def state(self) -> Tensor:
        """Return all that is counted, float64 (k,), of which ranks take the sum."""

    def load(self, state: Tensor) -> None:
        """Take what `state` gave, summed over ranks."""

    def result(self) -> Metrics:
        """Return each metric by name, of all samples so far; NaN where nothing was counted."""

    def figures(self) -> Sequence[ModelFigure]:
        """Return what the page of `make report` shows of a model beside its metrics; there may be nothing."""


class Task(Protocol):
    """See the module.

    Attributes
    ----------
    DEFAULTS
        Of the keys of ``train.<dataset>`` that are this task's own (``model``, loss weights, ``algorithm``), and of
        the trainer's keys where this task wants others than stages/training/settings.py has. ``model`` is a mapping.
    HEADLINES
        What the closing table shows.
    LOSS
        Name of the metric that early stopping and the choice of the best weights follow by default, such as "nll";
        lower is better.
    ANSWERED_ROW
        Of the rows of a window that one that `outputs` speaks of: 0 the first, -1 the last; 0 where samples are rows.
    """

    DEFAULTS: ClassVar[Mapping[str, Any]]
    HEADLINES: ClassVar[tuple[Headline, ...]]
    LOSS: ClassVar[str]
    ANSWERED_ROW: ClassVar[int]

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        """Check the parameters and read the small files of data/processed/<dataset>.

        Parameters
        ----------
        params
            The keys of `DEFAULTS`, all of them, with what ``train.<dataset>`` says of them; a section, such as
            ``model``, has every key of its default. Keys that neither `DEFAULTS` nor the trainer has were refused.
        folder
            data/processed/<dataset>.

        Raises
        ------
        ExpectedError
            When a parameter is wrong; the nearest name is offered for one that is unknown.
        """

    def build(self) -> nn.Module:
        """Return the model, its weights drawn with torch's global generator, which the trainer has seeded.

        What it draws later, such as dropout, it draws with that generator as well: the trainer seeds it at each step.
        """

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return keys of the loader's `Settings` (fields, window, packed, transform) for a part."""

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss of a batch, a scalar with gradient, and its named parts as numbers.

        The mean is one over the samples (k,): the losses of two pieces of a batch, weighted by their numbers of
        samples, give that of the batch, as `micro_batch` and several ranks need it. So a head that does not apply to
        each sample is divided by k as well, not by how many it applies to.

        Raises
        ------
        ExpectedError
            When a label is illegal by its own mask.
        """

    def outputs(self, model: nn.Module, batch: TensorBatch) -> Mapping[str, Tensor]:
        """Return what the model says of each sample, for `load_model`; the batch may lack the labels.

        Logits (k, classes) by head, as `loss` has them before the mask ``mask_<head>``, which is applied behind this
        (-inf says that a class is illegal where no field of the batch does); other values as (k,).
        """

    def meter(self) -> Meter:
        """Return a new meter."""

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return metrics of each honest baseline on a part, fitted on the train part of the same folder, by its name.

        The metrics have the names that `Meter.result` gives; what a baseline has no notion of is left out.
        """

    def replay(self, model: nn.Module, folder: Path, part: str) -> dict[str, Metrics]:
        """Return what comes of acting as the model says on a part, and as others do, by name; the model is ``model``.

        Nothing where nobody acts; `model` is in evaluation mode.
        """
