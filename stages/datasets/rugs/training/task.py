"""Learn from a human's presses when to hold, buy, sell and bet on the side.

`algorithm: bc` imitates them (behaviour cloning); `algorithm: iql` learns which of them paid, see `iql`. Either way the
policy sees the 29 numbers of `features.MODEL_FEATURES`, and the actions that the mask of a step forbids are as good as
not there: in the loss, in the metrics and in use. What a policy earns is told by `replay`.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from stages.core.params import Between
from stages.datasets.rugs.schema import ACTIONS, HOLD
from stages.datasets.rugs.training import baselines, steps
from stages.datasets.rugs.training.features import MODEL_FEATURES
from stages.datasets.rugs.training.iql import IqlOptions, losses
from stages.datasets.rugs.training.meter import PressMeter
from stages.datasets.rugs.training.model import ActorCritic, Policy
from stages.datasets.rugs.training.replay import (
    Holder,
    Logits,
    ModelPlayer,
    RecordedHuman,
    ReplayOptions,
    of_processed,
    summary,
)
from stages.datasets.rugs.training.transitions import of_part
from stages.loader import PartArrays
from stages.processed import Processed
from stages.training.options import Widths, own_options
from stages.training.task import Headline, Metrics, TensorBatch

WHERE = "params.yaml: train.rugs"
CHUNK_STEPS = 65_536
SURE = 20.0  # log odds of the baseline that always holds


@dataclass(frozen=True)
class PolicyOptions:
    """The key ``model``.

    Attributes
    ----------
    widths
        Of the hidden layers, the first one first.
    dropout
        Share of a hidden layer of the policy that is left out in training.
    """

    widths: Widths = field(default_factory=lambda: [128, 128])
    dropout: Annotated[float, Between(0, 1)] = 0.1


@dataclass(frozen=True)
class PressOptions:
    """The keys of ``train.rugs`` that are not the trainer's; `iql` counts for that algorithm only."""

    model: PolicyOptions = field(default_factory=PolicyOptions)
    algorithm: Literal["bc", "iql"] = "bc"
    iql: IqlOptions = field(default_factory=IqlOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)


class TaskRugs:
    """See the module; the interface is described in stages/training/task.py."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {**asdict(PressOptions()), "batch_size": 256, "epochs": 8, "lr": 1e-3}
    HEADLINES: ClassVar[tuple[Headline, ...]] = (  # no thresholds: 24 games teach nothing that holds for others
        Headline("nll", is_higher_better=False),
        Headline("balanced_accuracy_adjusted", is_higher_better=True),
        Headline("pr_auc_press", is_higher_better=True),
        Headline("return", is_higher_better=True),
    )
    LOSS: ClassVar[str] = "loss"
    ANSWERED_ROW: ClassVar[int] = 0

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        self._options = own_options(PressOptions, params, WHERE)
        self._counts = baselines.action_counts(Processed(folder))
        prior = self._counts.sum(0) + baselines.SMOOTHING
        self._log_prior = torch.from_numpy(np.log(prior / prior.sum()))
        self._reward_scale = reward_scale(folder)

    def build(self) -> nn.Module:
        """Return the model: 21 thousand parameters by default, six times as many with `iql` and its targets."""
        made = Policy if self._options.algorithm == "bc" else ActorCritic
        return made(int(MODEL_FEATURES.sum()), self._options.model.widths, self._options.model.dropout)

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return the pairs of steps, and what makes transitions of them; the same for each part."""
        del part
        return {"window": "observation", "fields": steps.FIELDS, "transform": steps.of_pairs}

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss over the transitions of a batch, those that do not count as 0, and its parts.

        Raises
        ------
        ExpectedError
            When an action counts that its mask forbids.
        """
        if isinstance(model, ActorCritic) and model.training:
            model.follow(self._options.iql.rate)
        found = self._losses(model, batch)
        parts = {name: float(loss.detach().mean()) for name, loss in found.items()}
        return torch.stack(list(found.values())).sum(0).mean(), parts

    def outputs(self, model: nn.Module, batch: TensorBatch) -> dict[str, Tensor]:
        """Return the logits of the actions, (n, 4), of illegal ones too; only ``x`` is looked at."""
        return {"action": model(batch["x"])}

    def meter(self) -> PressMeter:
        """Return a new meter."""
        return PressMeter(
            self._log_prior, lambda model, batch: torch.stack(list(self._losses(model, batch).values())).sum(0)
        )

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return the metrics of always holding, and of the frequencies of actions in train with the same mask."""
        meters = {"hold": self.meter(), "legal marginal": self.meter()}
        counts = baselines.action_counts(Processed(train))
        source = PartArrays(train, part, steps.FIELDS, "observation")
        for start in range(0, len(source), CHUNK_STEPS):
            batch = steps.of_pairs(source.read(np.arange(start, min(start + CHUNK_STEPS, len(source)))))
            tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
            holding = torch.zeros(len(batch["x"]), len(ACTIONS))
            holding[:, HOLD] = SURE
            meters["hold"].add(holding, tensors)
            meters["legal marginal"].add(
                torch.from_numpy(baselines.legal_marginal(counts, batch["mask_action"])), tensors
            )
        results = {name: meter.result() for name, meter in meters.items()}
        untold = {"hold": ("loss", "nll"), "legal marginal": ("loss",)}
        return {
            name: {key: value for key, value in found.items() if key not in untold[name]}
            for name, found in results.items()
        }

    def replay(self, model: nn.Module, folder: Path, part: str) -> dict[str, Metrics]:
        """Return what the model earns on the recorded prices of a part, beside holding and the human; see `replay`."""
        model.eval()
        recording = of_processed(Processed(folder), of_part(folder, part))
        policy = ModelPlayer(recording, self._logits_of(model), self._options.replay)
        human = RecordedHuman(recording)
        returns = {
            "model": recording.play(policy),
            "hold": recording.play(Holder()),
            "human": recording.play(human),
        }
        return {name: summary(found) for name, found in returns.items()}

    def _losses(self, model: nn.Module, batch: TensorBatch) -> dict[str, Tensor]:
        """Return the losses of each transition (B,) by name."""
        if isinstance(model, ActorCritic):
            return losses(model, batch, self._options.iql, self._reward_scale)
        return {"imitation": steps.imitation(model(batch["x"]), batch)}

    def _logits_of(self, model: nn.Module) -> Logits:
        """Return the model as a function of arrays."""

        def logits(x: np.ndarray) -> np.ndarray:
            device = next(model.parameters()).device
            with torch.inference_mode():
                return np.asarray(model(torch.from_numpy(x).to(device)).float().cpu().numpy())

        return logits


def reward_scale(folder: Path) -> float:
    """Return the standard deviation of the rewards of train, in SOL, where the player is known; 1 if all are 0."""
    keys = Processed(folder).keys("train", ["reward", "player_known"])
    rewards = keys["reward"][keys["player_known"] != 0].astype(np.float64)
    return float(rewards.std()) or 1.0 if len(rewards) else 1.0


TASK = TaskRugs
