"""Metrics of a model on a part: sums over all of its samples, shared by the ranks."""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Iterable

import torch
from torch import nn

from stages.training.device import Device
from stages.training.ranks import Ranks
from stages.training.task import Meter, Task, TensorBatch


def evaluate(task: Task, model: nn.Module, batches: Iterable[TensorBatch], device: Device, ranks: Ranks) -> Meter:
    """Return what a meter counts of a model over the batches of all ranks."""
    meter = task.meter()
    model.eval()
    with torch.no_grad(), device.autocast():
        for batch in batches:
            meter.update(model, batch)
    model.train()
    if ranks.n_ranks > 1:
        total = ranks.sum(meter.state().to(device.kind)).cpu()
        meter = task.meter()
        meter.load(total)
    return meter
