"""Which parameters of a model learn how fast and decay how much."""

# mypy: disable-error-code="import-not-found, misc"

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from stages.core.errors import ExpectedError
from stages.training.settings import TrainSettings


def parameter_groups(model: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return the groups of an optimiser: ``params``, ``weight_decay``, and ``lr_factor`` of the learning rate.

    Weight decay is for matrices and kernels: biases and the weights of norms, which are vectors or numbers, have none.

    Raises
    ------
    ExpectedError
        When the model has no submodule that `heads` names.
    """
    modules = {name for name, _ in model.named_modules()}
    if missing := [head for head in settings.heads if head not in modules]:
        known = ", ".join(name for name, _ in model.named_children())
        raise ExpectedError(f"train: heads is {missing[0]!r}, expected submodules of the model, such as {known}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = any(name.startswith(f"{head}.") for head in settings.heads)
        factor, decay = (settings.head_lr_factor, settings.head_wd_factor) if is_head else (1.0, 1.0)
        groups[factor, settings.weight_decay * decay * (parameter.ndim > 1)].append(parameter)
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def make_optimiser(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return the optimiser of a model; its learning rate is set at each step, by `set_rate`."""
    groups = parameter_groups(model, settings)
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to its factor of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["lr_factor"]
