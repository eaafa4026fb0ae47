"""Implicit Q-learning with four actions: a policy better than the human's, from the human's actions alone.

With state s, action a, reward r and next state s', and never with an action that nobody took:

- value: V(s) is the upper expectile of the targets' Q(s, a), so that it speaks of the better actions;
- critics: Q(s, a) is r + discount V(s') where the game goes on. It goes on at `truncated` too, where only the recording
  ended, and not at `terminated`, the rug;
- policy: imitates each action with the weight exp(Q(s, a) - V(s)), which is above 1 where it was better than usual.

Transitions count where the player's state is known and the mask allows the action. Rewards are in standard deviations
of those of train.

References
----------
I. Kostrikov, A. Nair, S. Levine: Offline Reinforcement Learning with Implicit Q-Learning, arXiv:2110.06169.
"""

# mypy: disable-error-code="import-not-found, misc"

from dataclasses import dataclass
from typing import Annotated, Final

import torch
from torch import Tensor

from stages.core.params import Between, Must
from stages.datasets.rugs.training.model import ActorCritic
from stages.datasets.rugs.training.steps import imitation
from stages.training.task import TensorBatch

MOST_WEIGHT: Final = 100.0  # as in the paper


@dataclass(frozen=True)
class IqlOptions:
    """The key ``iql``.

    Attributes
    ----------
    discount
        Worth of a reward one tick later; 0.99 looks some hundred ticks ahead, about half a game.
    expectile
        Above 0.5: how much V is drawn to the better actions.
    temperature
        By which advantages are multiplied in the weights; 0 imitates all actions alike.
    rate
        Share of the way that the targets go in a step.
    """

    discount: Annotated[float, Between(0, 1)] = 0.99
    expectile: Annotated[float, Between(0, 1, is_open=True)] = 0.7
    temperature: Annotated[float, Must(lambda value: value >= 0, "a number from 0")] = 3.0
    rate: Annotated[float, Between(0, 1)] = 0.005


def losses(model: ActorCritic, batch: TensorBatch, options: IqlOptions, reward_scale: float) -> dict[str, Tensor]:
    """Return the losses of each transition (B,) by name, policy, value and critic; 0 where it does not count."""
    is_counted = batch["is_counted"] & batch["is_known"] & (batch["label_action"] >= 0)
    actions = torch.where(is_counted, batch["label_action"], 0)[:, None]
    x, next_x = batch["x"], batch["next_x"]

    # Value: the expectile of what the targets say of the action that was taken.
    with torch.no_grad():
        target = torch.stack([critic(x).gather(1, actions)[:, 0] for critic in model.targets]).amin(0)
    value = model.value(x)[:, 0]
    advantage = target - value
    of_value = torch.where(advantage > 0, options.expectile, 1 - options.expectile) * advantage**2

    # Critics: the reward, and the value of the next state where there is one.
    with torch.no_grad():
        following = torch.where(batch["done"], 0.0, model.value(next_x)[:, 0])
        wanted = batch["reward"] / reward_scale + options.discount * following
    rated = torch.stack([critic(x).gather(1, actions)[:, 0] for critic in model.critics])
    of_critic = ((rated - wanted) ** 2).sum(0)

    # Policy: better actions weigh more.
    weight = (options.temperature * advantage.detach()).exp().clamp(max=MOST_WEIGHT)
    of_policy = weight * imitation(model(x), batch)
    found = {"policy": of_policy, "value": of_value, "critic": of_critic}
    return {name: torch.where(is_counted, loss, 0.0) for name, loss in found.items()}
