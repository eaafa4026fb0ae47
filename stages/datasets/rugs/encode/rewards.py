"""Rewards, and how transitions end.

The reward of a step is the change of equity (balance + position x price, SOL) to the next step. The last one of an
episode that was seen to its rug takes in what was settled after the rug: late liquidation changes nothing, a late
sidebet payout counts. So rewards add up to the equity at the end less that at the start.
"""

import numpy as np

from stages.datasets.base import group_id, numbers
from stages.datasets.rugs.encode import formulas, state
from stages.datasets.rugs.encode.actions import has_next
from stages.datasets.rugs.encode.carry import carry_at
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.encode.steps import Steps
from stages.datasets.rugs.schema import HOLD


def rewards(events: Events, steps: Steps, features: dict[str, np.ndarray]) -> np.ndarray:
    """Return the reward of each step, float64 (S,), in SOL.

    0 at the last step of an episode, and where the player's state is not known.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        equity = formulas.equity(features["balance"], features["position_qty"], features["price"])
        settled = np.where(_is_rug(steps), _settled(events, steps, features["price"]), equity)
        change = np.concatenate((settled[1:], equity[-1:])) - equity
    return np.where(has_next(steps) & (features["player_known"] == 1), change, 0.0)


def ends(steps: Steps) -> dict[str, np.ndarray]:
    """Return `terminated` and `truncated`, uint8 (S,): set at the step whose transition is the last of its episode."""
    follows = has_next(steps)
    is_last = follows & ~np.concatenate((follows[1:], [False]))
    is_terminal = steps.is_terminal[steps.episode]
    return {
        "terminated": (is_last & is_terminal).astype(np.uint8),
        "truncated": (is_last & ~is_terminal).astype(np.uint8),
    }


def kept(events: Events, steps: Steps, action: np.ndarray, hold_keep: float) -> np.ndarray:
    """Return which transitions count, uint8 (S,).

    All but a share of the HOLDs, drawn by a hash of game id and tick alone. Their steps stay, since they are what the
    transitions before them lead to.
    """
    if hold_keep >= 1:
        return np.ones(len(action), np.uint8)
    game = np.array([group_id(game_id) for game_id in events.game_ids], np.uint64)
    drawn = numbers(game[steps.episode], steps.tick + 1)
    return ((action != HOLD) | (drawn / 2.0**64 < hold_keep)).astype(np.uint8)


def _is_rug(steps: Steps) -> np.ndarray:
    return np.asarray(steps.row == steps.terminal_row[steps.episode])


def _settled(events: Events, steps: Steps, price: np.ndarray) -> np.ndarray:
    """Return the equity of each step with the player's state at the end of its episode, float64 (S,)."""
    last = carry_at(events, events.offsets[1:][steps.episode] - 1)
    found = state.player(events, steps, last)
    return formulas.equity(found["balance"], found["position_qty"], price)
