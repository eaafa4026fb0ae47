"""How well a policy tells what the human did, counted as sums over transitions.

Of transitions whose action is legal by the mask of its step: nll; accuracy; balanced_accuracy, the mean recall of the
actions that occur; macro_f1; and the last two with ``_adjusted``, for logits less the log frequency of each action in
train. Nearly all steps are HOLD, and a policy that is right about when to press still finds HOLD the likeliest nearly
always; adjusted, it decides as if all actions were equally frequent.

Of each action, and of pressing anything: pr_auc, the area under precision over recall when transitions are taken by
falling probability, and base_rate, which it is for a policy that knows nothing; press_lift is the quotient for
pressing. Probabilities are counted in bins of their log odds, so that sums of ranks are those of one process; within a
bin they count as equal.

`refused` is how many presses the masks forbid; no policy that keeps to the mask can imitate them, so they are counted
here and in nothing else.
"""

# mypy: disable-error-code="import-not-found, misc"

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from stages.datasets.rugs.schema import ACTIONS, HOLD
from stages.datasets.rugs.training.steps import imitation, legal_log_probabilities
from stages.training.figures import Confusion
from stages.training.task import Metrics, TensorBatch

N_BINS: Final = 1 << 15  # steps of 0.001 in log odds
MOST_ODDS: Final = 16.0  # log odds beyond it share the last bin
SCORES: Final = ("press", *(name.lower() for name in ACTIONS[HOLD + 1 :]))
SUMS: Final = ("transitions", "counted", "refused", "loss", "nll")

Losses = Callable[[nn.Module, TensorBatch], Tensor]


class PressMeter:
    """Sums over transitions, see the module.

    Parameters
    ----------
    log_prior
        float64 (4,): log frequency of each action in train.
    losses
        Gives the loss of each transition (B,) of a model.
    """

    def __init__(self, log_prior: Tensor, losses: Losses) -> None:
        self._log_prior, self._losses = log_prior, losses
        n = len(ACTIONS)
        self._sums = torch.zeros(len(SUMS), dtype=torch.float64)
        self._confusion = torch.zeros(2, n, n, dtype=torch.float64)  # plain and adjusted: what was done, what is told
        self._bins = torch.zeros(len(SCORES), 2, N_BINS, dtype=torch.float64)  # others and those that were pressed

    def update(self, model: nn.Module, batch: TensorBatch) -> None:
        """Take in a batch of transitions."""
        self.add(model(batch["x"]), batch)
        self._sums[SUMS.index("loss")] += self._losses(model, batch).double().sum().cpu()

    def add(self, logits: Tensor, batch: TensorBatch) -> None:
        """Take in the logits (B, 4) of whatever made them; its loss is not counted."""
        logits = logits.double().cpu()
        batch = {name: values.cpu() for name, values in batch.items()}
        is_counted = batch["is_counted"]
        counts = (len(logits), is_counted.sum(), batch["is_refused"].sum(), 0.0, imitation(logits, batch).sum())
        self._sums += torch.tensor([float(count) for count in counts], dtype=torch.float64)
        self._decisions(logits[is_counted], batch["mask_action"][is_counted], batch["label_action"][is_counted])
        self._scores(logits[is_counted], batch["mask_action"][is_counted], batch["label_action"][is_counted])

    def _decisions(self, logits: Tensor, mask: Tensor, actions: Tensor) -> None:
        """Count what was done and what is told."""
        for number, seen in enumerate((logits, logits - self._log_prior)):
            told = seen.masked_fill(mask == 0, -torch.inf).argmax(1)
            pairs = torch.bincount(actions * len(ACTIONS) + told, minlength=len(ACTIONS) ** 2)
            self._confusion[number] += pairs.reshape(len(ACTIONS), -1)

    def _scores(self, logits: Tensor, mask: Tensor, actions: Tensor) -> None:
        """Count the probabilities of those that were pressed and of the others."""
        probabilities = legal_log_probabilities(logits, mask).double().exp()
        scores = torch.cat([1 - probabilities[:, HOLD, None], probabilities[:, HOLD + 1 :]], dim=1)
        is_true = torch.cat([(actions != HOLD)[:, None], actions[:, None] == torch.arange(1, len(ACTIONS))], dim=1)
        for number in range(len(SCORES)):
            places = is_true[:, number] * N_BINS + _bin(scores[:, number])
            self._bins[number] += torch.bincount(places, minlength=2 * N_BINS).reshape(2, -1)

    def state(self) -> Tensor:
        """Return all that is counted, float64 (262,181,): 2 MB."""
        return torch.cat([self._sums, self._confusion.flatten(), self._bins.flatten()])

    def load(self, state: Tensor) -> None:
        """Take what `state` gave."""
        sizes = [len(self._sums), self._confusion.numel(), self._bins.numel()]
        sums, confusion, bins = state.clone().split(sizes)
        self._sums = sums
        self._confusion, self._bins = confusion.reshape(self._confusion.shape), bins.reshape(self._bins.shape)

    def figures(self) -> list[Confusion]:
        """Return how often each action was told for each that was done."""
        doc = (
            "Steps by what the human did, and by what the policy does if all actions are taken to be equally frequent."
        )
        return [Confusion("Actions, adjusted", doc, tuple(ACTIONS), self.confusion.tolist())]

    @property
    def confusion(self) -> np.ndarray:
        """What was done and what is told by adjusted logits, float64 (4, 4)."""
        return self._confusion[1].numpy()

    def result(self) -> Metrics:
        """Return the metrics."""
        sums = dict(zip(SUMS, self._sums.tolist(), strict=True))
        result = {
            "loss": _ratio(sums["loss"], sums["transitions"]),
            "nll": _ratio(sums["nll"], sums["counted"]),
            "accuracy": _ratio(float(self._confusion[0].trace()), sums["counted"]),
        }
        for suffix, confusion in zip(("", "_adjusted"), self._confusion.numpy(), strict=True):
            result |= {f"{name}{suffix}": value for name, value in _by_class(confusion).items()}
        for name, (others, pressed) in zip(SCORES, self._bins.numpy(), strict=True):
            result[f"pr_auc_{name}"] = average_precision(others, pressed)
            result[f"base_rate_{name}"] = _ratio(float(pressed.sum()), sums["counted"])
        result["press_lift"] = _ratio(result["pr_auc_press"], result["base_rate_press"])
        return result | {"refused": sums["refused"] if sums["transitions"] else math.nan}


def average_precision(others: np.ndarray, pressed: np.ndarray) -> float:
    """Return the area under precision over recall.

    Parameters
    ----------
    others, pressed
        float64 (bins,): how many transitions of both kinds have a score in each bin, the lowest scores first.

    Examples
    --------
    Of the two with the highest score one was pressed, and the other one that was pressed comes third:

    >>> average_precision(np.array([5.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0]))  # (1/2 + 2/3) / 2
    0.5833333333333333
    """
    found, n_taken = np.cumsum(pressed[::-1]), np.cumsum((others + pressed)[::-1])
    if not found[-1]:
        return math.nan
    return float(np.sum(pressed[::-1] * found / np.maximum(n_taken, 1)) / found[-1])


def _bin(probability: Tensor) -> Tensor:
    """Return the bin of each probability, int64 (B,)."""
    odds = torch.logit(probability.clamp(0, 1), eps=1e-12).clamp(-MOST_ODDS, MOST_ODDS)
    return ((odds + MOST_ODDS) / (2 * MOST_ODDS) * (N_BINS - 1)).round().long()


def _by_class(confusion: np.ndarray) -> Metrics:
    """Return the metrics that count each action that occurs alike."""
    hits, n_done, n_told = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    occurs = n_done > 0
    if not occurs.any():
        return {"balanced_accuracy": math.nan, "macro_f1": math.nan}
    f1 = 2 * hits / np.maximum(n_done + n_told, 1)
    recall = hits[occurs] / n_done[occurs]
    return {"balanced_accuracy": float(recall.mean()), "macro_f1": float(f1[occurs].mean())}


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
