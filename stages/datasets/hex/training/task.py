"""Learn the next move and who wins from positions of self-play.

The loss is ``policy_weight`` times the NLL of the next move among the empty cells, plus the cross-entropy of "the
player to move wins", each a sum over rows divided by their number, also where rows have no next move: so micro-batches
and ranks of equal size add up to the loss of the whole batch. Boards are turned so that the mover joins the rows
(`canonical`), and each sample is seen under one of its symmetries, drawn anew in each epoch (`augment`).
"""

# mypy: disable-error-code="import-not-found, misc"

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.core.params import AtLeast, Between, Must
from stages.datasets.hex.training import baselines
from stages.datasets.hex.training.augment import augment
from stages.datasets.hex.training.canonical import planes
from stages.datasets.hex.training.model import GROUP_CHANNELS, HexNet
from stages.datasets.hex.training.network import answers
from stages.datasets.hex.training.positions import PositionMeter, mover_wins, target_of
from stages.processed import Processed
from stages.training.masked import ROW_KEYS, Target, log_probabilities, nll, require_legal, row_names
from stages.training.options import own_options
from stages.training.task import Headline, Metrics, TensorBatch

WHERE = "params.yaml: train.hex"
FIELDS = (*baselines.FIELDS, *ROW_KEYS)


def _are_groups(channels: int) -> bool:
    return channels > 0 and channels % GROUP_CHANNELS == 0


@dataclass(frozen=True)
class HexNetOptions:
    """The key ``model``.

    Attributes
    ----------
    channels, blocks
        Planes between two convolutions, in groups for the norms, and residual blocks of two convolutions each.
    """

    channels: Annotated[int, Must(_are_groups, f"a multiple of {GROUP_CHANNELS}")] = 32
    blocks: Annotated[int, AtLeast(1)] = 3


@dataclass(frozen=True)
class HexOptions:
    """The keys of ``train.hex`` that are not the trainer's.

    Attributes
    ----------
    policy_weight
        Of the policy in the loss; the value has 1.
    """

    model: HexNetOptions = field(default_factory=HexNetOptions)
    policy_weight: Annotated[float, Between(0, 1000, noun="a weight")] = 1.0


class TaskHex:
    """See the module; the interface is described in stages/training/task.py."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        **asdict(HexOptions()),
        "batch_size": 256,
        "epochs": 6,
        "lr": 1e-2,
        "schedule": "onecycle",
        "warmup": 0.1,
        "weight_decay": 1e-4,
        "grad_clip": 4.0,
    }
    HEADLINES: ClassVar[tuple[Headline, ...]] = (
        Headline("top1", is_higher_better=True, threshold=0.55),
        Headline("top5", is_higher_better=True),
        Headline("value_accuracy", is_higher_better=True, threshold=0.60),
        Headline("brier", is_higher_better=False),
    )
    LOSS: ClassVar[str] = "loss"
    ANSWERED_ROW: ClassVar[int] = 0

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        self._options = own_options(HexOptions, params, WHERE)
        self._processed = Processed(folder)

    def build(self) -> nn.Module:
        """Return the model: 64 thousand parameters with the default size.

        Its kernels lie with the channels last: on a CPU a step takes a fifth less time so.
        """
        net = HexNet(self._options.model.channels, self._options.model.blocks)
        return net.to(memory_format=torch.channels_last)

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return the fields that are read, and for train the symmetries."""
        return {"fields": FIELDS, **({"transform": augment} if part == "train" else {})}

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss, and policy and value without weight.

        Raises
        ------
        ExpectedError
            When the next move of a row goes to a cell that is taken, with unit and row.
        """
        target = target_of(batch)
        logits, value = model(planes(batch["board"], batch["player_to_move"]))
        policy_loss = nll(log_probabilities(logits, target), target).mean()
        value_loss = functional.binary_cross_entropy_with_logits(value.float(), mover_wins(batch))
        parts = {"policy_nll": float(policy_loss.detach()), "value_nll": float(value_loss.detach())}
        if not math.isfinite(parts["policy_nll"]):
            self._require_legal(target, batch)
        return self._options.policy_weight * policy_loss + value_loss, parts

    def outputs(self, model: nn.Module, batch: TensorBatch) -> dict[str, Tensor]:
        """Return what the model says of boards as they lie; only ``board`` and ``player_to_move`` are looked at.

        Returns
        -------
        dict
            ``policy``, float32 (n, 169): logits of the cells, -inf where a stone stands; and ``value``, float32 (n,):
            the probability that red wins, as the label has it.
        """
        policy, value = answers(model, batch["board"], batch["player_to_move"])
        return {"policy": policy, "value": value}

    def meter(self) -> PositionMeter:
        """Return a new meter."""
        return PositionMeter(self._options.policy_weight)

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return the metrics of each baseline; see `baselines`."""
        return baselines.baselines(train, part, self._options.policy_weight)

    def replay(self, model: nn.Module, folder: Path, part: str) -> dict[str, Metrics]:
        """Return nothing: nobody acts on what was recorded."""
        del model, folder, part
        return {}

    def _require_legal(self, target: Target, batch: TensorBatch) -> None:
        rows = row_names("hex", self._processed.units(), batch, len(target.label))
        require_legal(target, "policy", rows)


TASK = TaskHex
