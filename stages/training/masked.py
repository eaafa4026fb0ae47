"""Cross-entropy over legal classes alone, and labels that are illegal by their own mask.

Illegal classes get the logit -inf, not a large negative number: their probability is 0 and no gradient reaches them. A
label among them costs infinitely much, so that it cannot be learnt by mistake: `require_legal` then says which row it
is. Where a row does not count, its label is -1 and its mask may be empty; it costs 0.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stages.core.errors import ExpectedError
from stages.training.task import TensorBatch

ROW_KEYS = ("unit", "row_in_unit")  # by which a row with an illegal label is named


@dataclass(frozen=True)
class Target:
    """What one head has to say of n rows.

    Attributes
    ----------
    label
        int64 (n,): the class; any number where a row does not count.
    legal
        bool (n, classes).
    counts
        bool (n,): the rows that the head is judged by.
    """

    label: Tensor
    legal: Tensor
    counts: Tensor

    @property
    def has_choice(self) -> Tensor:
        """Return the rows that count and have more than one legal class, bool (n,)."""
        return self.counts & (self.legal.sum(1) > 1)


def log_probabilities(logits: Tensor, target: Target) -> Tensor:
    """Return the log of a softmax over the legal classes, float32 (n, classes): -inf elsewhere.

    A row that does not count has all classes, since a softmax over none is NaN and so is its gradient.
    """
    possible = target.legal | ~target.counts[:, None]
    return functional.log_softmax(logits.float().masked_fill(~possible, float("-inf")), dim=1)


def nll(log_p: Tensor, target: Target) -> Tensor:
    """Return minus the log-probability of each label, (n,): 0 where a row does not count."""
    of_label = log_p.gather(1, target.label.clamp(min=0)[:, None]).squeeze(1)
    return torch.where(target.counts, -of_label, torch.zeros_like(of_label))


def row_names(dataset: str, units: Sequence[str], batch: TensorBatch, n_rows: int) -> list[str]:
    """Return how each of the rows of a batch is called in an error: unit and row in it, where `ROW_KEYS` are read."""
    if not set(ROW_KEYS) <= set(batch):
        return [f"{dataset}: row {row} of the batch" for row in range(n_rows)]
    places = zip(*(batch[key].tolist() for key in ROW_KEYS), strict=True)
    return [f"{dataset}: {units[unit]}, its row {row}" for unit, row in places]


def require_legal(target: Target, head: str, rows: list[str]) -> None:
    """Refuse labels that are illegal by their own mask.

    Parameters
    ----------
    target, head
        Of one head, and how it is called.
    rows
        How each row of the batch is called, (n,).

    Raises
    ------
    ExpectedError
        With the first such row, what its label is and which classes are legal.
    """
    is_legal = target.legal.gather(1, target.label.clamp(min=0)[:, None]).squeeze(1)
    wrong = torch.nonzero(target.counts & ~is_legal).flatten().tolist()
    if wrong:
        row = wrong[0]
        legal = torch.nonzero(target.legal[row]).flatten().tolist()
        raise ExpectedError(
            f"{rows[row]}: label_{head} is {int(target.label[row])}, expected one of its legal classes {legal} "
            f"({len(wrong)} such rows in the batch); correct what encodes it, or run `dvc repro`"
        )
