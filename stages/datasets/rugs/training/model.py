"""Networks over the 29 numbers of a step that a policy should see: a policy, and what rates its actions."""

# mypy: disable-error-code="import-not-found, misc, no-any-return"

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from stages.datasets.rugs.schema import ACTIONS

N_CRITICS: Final = 2  # the smaller of two estimates is used: one alone is too high where it errs


def perceptron(n_inputs: int, widths: Sequence[int], n_outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Return linear layers with ReLU, and dropout behind each hidden one."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((n_inputs, *widths)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear((n_inputs, *widths)[-1], n_outputs))


class Policy(nn.Module):
    """Logits of the actions."""

    def __init__(self, n_inputs: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.layers = perceptron(n_inputs, widths, len(ACTIONS), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of all actions (B, 4), of illegal ones too, in states (B, 29)."""
        return self.layers(x)


class ActorCritic(Policy):
    """A policy with the networks of implicit Q-learning beside it, see `iql`.

    `critics` rate each action of a state, `value` the state. `targets` follow the critics slowly; like the statistics
    of a batch norm they move when the model is trained and not by gradients, and they are stored with the weights.
    """

    def __init__(self, n_inputs: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__(n_inputs, widths, dropout)
        self.critics = nn.ModuleList(perceptron(n_inputs, widths, len(ACTIONS)) for _ in range(N_CRITICS))
        self.targets = nn.ModuleList(perceptron(n_inputs, widths, len(ACTIONS)) for _ in range(N_CRITICS))
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(False)
        self.value = perceptron(n_inputs, widths, 1)

    def follow(self, rate: float) -> None:
        """Move the targets a share of the way to the critics."""
        with torch.no_grad():
            for target, critic in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                target.lerp_(critic, rate)
