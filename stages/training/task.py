"""What a dataset says of its training: the model, the loss, the metrics, and what they are measured against.

A dataset's task is the class `Task<Dataset>`, named ``TASK``, in stages/datasets/<dataset>/training/task.py. It is made
once for a run, from the parameters of ``train.<dataset>`` and the folder of processed arrays, and holds no state that
training changes: the weights are the model's, what a metric counts is the `Meter`'s.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

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
    """

    DEFAULTS: ClassVar[Mapping[str, Any]]
    HEADLINES: ClassVar[tuple[Headline, ...]]
    LOSS: ClassVar[str]

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        """Check the parameters (with their defaults filled in) and read the small files of data/processed/<dataset>.

        Raises
        ------
        ExpectedError
            When a parameter is wrong; the nearest name is offered for one that is unknown.
        """

    def build(self) -> nn.Module:
        """Return the model, its weights drawn with torch's global generator, which the trainer has seeded."""

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return keys of the loader's `Settings` (fields, window, packed, transform) for a part."""

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss of a batch, a scalar with gradient, and its named parts as numbers.

        Raises
        ------
        ExpectedError
            When a label is illegal by its own mask.
        """

    def meter(self) -> Meter:
        """Return a new meter."""

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return metrics of each honest baseline on a part, fitted on the train part of the same folder, by its name.

        The metrics have the names that `Meter.result` gives; what a baseline has no notion of is left out.
        """
