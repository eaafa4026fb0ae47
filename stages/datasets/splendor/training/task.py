"""Imitate the moves of a log: which action, which card, which tokens.

The loss is the mean over rows of the NLL of the whole move, each head over its legal classes alone (see `moves`): a sum
over rows divided by their number, so that micro-batches and ranks of equal size add up to the loss of the whole batch.
Masks in the loss are worth much: on the sample, accuracy with and without is .84 and .77 for the action, .71 and .59
for the card, .54 and .51 for the three tokens.
"""

# mypy: disable-error-code="import-not-found, misc"

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from stages.core.params import Between
from stages.datasets.splendor.schema import HEADS
from stages.datasets.splendor.training import baselines
from stages.datasets.splendor.training.model import MoveNet
from stages.datasets.splendor.training.moves import MoveMeter, targets_of
from stages.processed import Processed
from stages.training.masked import ROW_KEYS, Target, log_probabilities, nll, require_legal, row_names
from stages.training.options import Widths, own_options
from stages.training.task import Headline, Metrics, TensorBatch

WHERE = "params.yaml: train.splendor"
FIELDS = ("X", *baselines.FIELDS, *ROW_KEYS)


@dataclass(frozen=True)
class MoveNetOptions:
    """The key ``model``.

    Attributes
    ----------
    widths
        Of the hidden layers, the first one first.
    dropout
        Share of a hidden layer that is left out in training.
    """

    widths: Widths = field(default_factory=lambda: [512, 256])
    dropout: Annotated[float, Between(0, 1)] = 0.3


@dataclass(frozen=True)
class MoveOptions:
    """The keys of ``train.splendor`` that are not the trainer's."""

    model: MoveNetOptions = field(default_factory=MoveNetOptions)


class TaskSplendor:
    """See the module; the interface is described in stages/training/task.py."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        **asdict(MoveOptions()),
        "batch_size": 256,
        "epochs": 6,
        "lr": 1e-3,
        "schedule": "onecycle",
        "warmup": 0.1,
        "weight_decay": 1e-2,
        "grad_clip": 4.0,
    }
    HEADLINES: ClassVar[tuple[Headline, ...]] = (
        Headline("action_type_accuracy", is_higher_better=True, threshold=0.81),
        Headline("card_selection_accuracy", is_higher_better=True, threshold=0.66),
        Headline("gem_take3_accuracy", is_higher_better=True, threshold=0.48),
        Headline("move_accuracy", is_higher_better=True),
        Headline("nll", is_higher_better=False),
    )
    LOSS: ClassVar[str] = "nll"
    ANSWERED_ROW: ClassVar[int] = 0

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        self._options = own_options(MoveOptions, params, WHERE)
        self._processed = Processed(folder)
        (self._n_columns,) = self._processed.feature_header("X", "train").shape[1:]

    def build(self) -> nn.Module:
        """Return the model: 841 thousand parameters with the default widths."""
        return MoveNet(self._n_columns, self._options.model.widths, self._options.model.dropout)

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return the fields that are read, the same for each part."""
        del part
        return {"fields": FIELDS}

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean NLL of the moves, and of each head its share of it.

        Raises
        ------
        ExpectedError
            When a label is illegal by its own mask, with unit and row.
        """
        targets, logits = targets_of(batch), model(batch["X"])
        costs = torch.stack([nll(log_probabilities(logits[head], target), target) for head, target in targets.items()])
        of_heads = costs.mean(1)
        parts = dict(zip(HEADS, of_heads.tolist(), strict=True))
        if not all(map(math.isfinite, parts.values())):
            self._require_legal(targets, batch)
        return of_heads.sum(), parts

    def outputs(self, model: nn.Module, batch: TensorBatch) -> dict[str, Tensor]:
        """Return the logits of each head, (n, classes), of illegal classes too; only ``X`` is looked at."""
        logits: dict[str, Tensor] = model(batch["X"])
        return logits

    def meter(self) -> MoveMeter:
        """Return a new meter."""
        return MoveMeter()

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return the metrics of each baseline; see `baselines`."""
        return baselines.baselines(train, part)

    def replay(self, model: nn.Module, folder: Path, part: str) -> dict[str, Metrics]:
        """Return nothing: nobody acts on what was recorded."""
        del model, folder, part
        return {}

    def _require_legal(self, targets: dict[str, Target], batch: TensorBatch) -> None:
        rows = row_names("splendor", self._processed.units(), batch, len(batch["X"]))
        for head, target in targets.items():
            require_legal(target, head, rows)


TASK = TaskSplendor
