"""What a model of moves must beat.

=================  =================================================================================================
majority           in each head the class that is most frequent in train, legal or not
legal majority     the most frequent one among the row's legal classes: what masks and frequencies alone give
random legal       a legal class drawn at random; its accuracy is the mean of 1 / legal classes, not one draw
=================  =================================================================================================

Probabilities, for the NLL, are frequencies in train with one more of each class, over all or over the legal classes.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from stages.datasets.splendor.schema import HEADS
from stages.datasets.splendor.training.moves import MoveMeter, targets_of
from stages.loader import batches
from stages.loader.torch_adapter.batches import tensors
from stages.training.masked import Target, nll
from stages.training.task import Metrics, TensorBatch

CHUNK_ROWS = 8192
FIELDS = tuple(f"{role}_{head}" for head in HEADS for role in ("label", "mask"))


def baselines(folder: Path, part: str) -> dict[str, Metrics]:
    """Return the metrics of each baseline, fitted on train, by its name."""
    log_p = {head: _log_frequencies(counts) for head, counts in _frequencies(folder).items()}
    meters = {"majority": MoveMeter(), "legal majority": MoveMeter(), "random legal": MoveMeter()}
    for batch in _batches(folder, part):
        targets = targets_of(batch)
        _count(meters["majority"], targets, {head: _everywhere(log_p[head], targets[head]) for head in HEADS})
        legal = {head: _among_legal(log_p[head], targets[head]) for head in HEADS}
        _count(meters["legal majority"], targets, legal)
        _count_random(meters["random legal"], targets)
    return {name: meter.result() for name, meter in meters.items()}


def _batches(folder: Path, part: str) -> Iterator[TensorBatch]:
    with batches(folder, part, batch_size=CHUNK_ROWS, fields=FIELDS, shard=(0, 1), remainder="keep") as stream:
        yield from map(tensors, stream)


def _frequencies(folder: Path) -> dict[str, Tensor]:
    """Return how often each class is the label in train where its head counts, int64 (classes,) by head."""
    counts = {head: torch.zeros(n_classes, dtype=torch.int64) for head, n_classes in HEADS.items()}
    for batch in _batches(folder, "train"):
        for head, target in targets_of(batch).items():
            counts[head] += torch.bincount(target.label[target.counts], minlength=HEADS[head])
    return counts


def _log_frequencies(counts: Tensor) -> Tensor:
    return torch.log((counts + 1).double() / (counts + 1).sum())


def _everywhere(log_p: Tensor, target: Target) -> Tensor:
    return log_p.expand(len(target.label), -1)


def _among_legal(log_p: Tensor, target: Target) -> Tensor:
    """Return log-probabilities among the legal classes, float64 (n, classes); NaN where a row has none."""
    return log_p.expand(len(target.label), -1).masked_fill(~target.legal, float("-inf")).log_softmax(1)


def _count(meter: MoveMeter, targets: dict[str, Target], log_p: dict[str, Tensor]) -> None:
    """Let a meter count the likeliest classes; of equally likely ones it is the first."""
    right = {head: (log_p[head].argmax(1) == targets[head].label).double() for head in HEADS}
    meter.count(targets, right, {head: nll(log_p[head], targets[head]) for head in HEADS})


def _count_random(meter: MoveMeter, targets: dict[str, Target]) -> None:
    chance = {head: 1 / target.legal.sum(1).clamp(min=1).double() for head, target in targets.items()}
    meter.count(targets, chance, {head: -torch.log(chance[head]) for head in HEADS})
