"""How a move is judged: what each head has to say of a row, and the metrics of a part.

A head counts in the rows where its label is not -1; `gems_removed`, for which returning nothing is legal in each row,
in those where something else is legal too. The NLL of a move is the sum over its heads: a model of the whole move that
takes the heads for independent, given the position.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.datasets.splendor.schema import ACTION_TYPES, HEADS
from stages.training.figures import Confusion
from stages.training.masked import Target, log_probabilities, nll
from stages.training.sums import Sums, ratio
from stages.training.task import Metrics, TensorBatch

ONLY_CHOICES = ("gems_removed",)
GROUPS = ("all", "choice")  # rows that count, and those of them with more than one legal class

_N = len(HEADS)


def target_of(batch: TensorBatch, head: str) -> Target:
    """Return what a head has to say of a batch, from its label int16 (n,) and its mask uint8 (n, classes)."""
    label, legal = batch[f"label_{head}"].long(), batch[f"mask_{head}"].bool()
    target = Target(label, legal, label >= 0)
    return Target(label, legal, target.has_choice) if head in ONLY_CHOICES else target


def targets_of(batch: TensorBatch) -> dict[str, Target]:
    """Return what each head has to say of a batch."""
    return {head: target_of(batch, head) for head in HEADS}


class MoveMeter:
    """Metrics of whole parts, of a model or of a baseline.

    ``nll`` and ``move_accuracy`` are of whole moves: a move is right where all its heads are. ``<head>_accuracy`` and
    ``<head>_nll`` are of the rows where a head counts, ``<head>_choice_accuracy`` and ``<head>_choice_nll`` of those
    with a choice. ``n`` is the number of rows, ``<head>_n`` and ``<head>_choice_n`` of those.
    """

    def __init__(self) -> None:
        of_heads = {f"{group}_{what}": (_N,) for group in GROUPS for what in ("n", "right", "nll")}
        confusion = {"confusion": (len(ACTION_TYPES), len(ACTION_TYPES))}
        self._sums = Sums({"n": (), "right": (), "nll": (), **of_heads, **confusion})

    def update(self, model: nn.Module, batch: TensorBatch) -> None:
        """Take in what a model says of a batch."""
        targets, logits = targets_of(batch), model(batch["X"])
        log_p = {head: log_probabilities(logits[head], target) for head, target in targets.items()}
        best = {head: log_p[head].argmax(1) for head in HEADS}
        right = {head: (best[head] == target.label).double() for head, target in targets.items()}
        self.count(targets, right, {head: nll(log_p[head], target) for head, target in targets.items()})
        action = targets["action_type"]
        self._sums.add("confusion", _pairs(action.label, best["action_type"], action.counts))

    def count(self, targets: Mapping[str, Target], right: Mapping[str, Tensor], cost: Mapping[str, Tensor]) -> None:
        """Take in a batch.

        Parameters
        ----------
        targets
            By head.
        right
            By head, float64 (n,): the chance that the class named is the label, which is 0 or 1 for a model.
        cost
            By head, (n,): minus the log-probability of the label; not looked at where a row does not count.
        """
        counts = torch.stack([targets[head].counts for head in HEADS], 1)
        has_choice = torch.stack([targets[head].has_choice for head in HEADS], 1)
        rights, costs = (torch.stack([values[head].double() for head in HEADS], 1) for values in (right, cost))
        for group, rows in zip(GROUPS, (counts, has_choice), strict=True):
            self._sums.add(f"{group}_n", rows)
            self._sums.add(f"{group}_right", rights.where(rows, 0))
            self._sums.add(f"{group}_nll", costs.where(rows, 0))
        self._sums.add("n", torch.ones(len(counts)))
        self._sums.add("right", rights.where(counts, 1).prod(1))
        self._sums.add("nll", costs.where(counts, 0).sum(1))

    def state(self) -> Tensor:
        """Return all sums, float64 (k,)."""
        return self._sums.state()

    def load(self, state: Tensor) -> None:
        """Take what `state` gave, summed over ranks."""
        self._sums.load(state)

    def result(self) -> Metrics:
        """Return the metrics by name."""
        sums, n = self._sums, self._sums["n"]
        found = {"n": float(n), "nll": ratio(sums["nll"], n), "move_accuracy": ratio(sums["right"], n)}
        for index, head in enumerate(HEADS):
            for group in GROUPS:
                name, count = (head if group == "all" else f"{head}_choice"), sums[f"{group}_n"][index]
                found[f"{name}_n"] = float(count)
                found[f"{name}_accuracy"] = ratio(sums[f"{group}_right"][index], count)
                found[f"{name}_nll"] = ratio(sums[f"{group}_nll"][index], count)
        return found

    def figures(self) -> list[Confusion]:
        """Return how often each action was named for each that was played."""
        doc = "Moves by the action that was played, and by the likeliest legal one."
        return [Confusion("Actions", doc, tuple(ACTION_TYPES), self._sums["confusion"].tolist())]


def _pairs(label: Tensor, best: Tensor, counts: Tensor) -> Tensor:
    """Return a matrix of rows by label and best class, (1, classes, classes)."""
    n = len(ACTION_TYPES)
    index = (label * n + best)[counts]
    return torch.bincount(index, minlength=n * n).view(1, n, n)
