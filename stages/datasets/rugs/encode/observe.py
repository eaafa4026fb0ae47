"""The 36 numbers of each step, in float64; `formulas` says how derived ones are computed."""

import numpy as np

from stages.datasets.rugs.encode import formulas, state
from stages.datasets.rugs.encode.carry import carry_at
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.encode.matches import Matches
from stages.datasets.rugs.encode.steps import Steps
from stages.datasets.rugs.schema import FEATURE_NAMES, Options


def features(events: Events, steps: Steps, matches: Matches, options: Options) -> dict[str, np.ndarray]:
    """Return the features of all steps by name, and `player_known`, `entry_tick` and `press_tick`; float64 (S,).

    Parameters
    ----------
    events, steps, matches
        Of some episodes.
    options
        Of these `phase_rule` and `risk_numerator`.
    """
    carry = carry_at(events, steps.row)
    game = np.array([formulas.game_hash(game_id) for game_id in events.game_ids])
    found = {"tick": steps.tick, "game_id": game[steps.episode]}
    found |= state.frames(events, steps, carry) | state.player(events, steps, carry)
    found |= state.presses(events, steps, carry) | state.executions(events, matches, carry)
    found["entry_tick"] = state.entry_tick(events, steps, carry)
    found["ticks_since_last_action"] = np.maximum(0.0, steps.tick - found["press_tick"])
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest: `formulas.float32` ends them
        return found | _movement(steps, found["price"]) | formulas.derived(found, options)


def vectors(found: dict[str, np.ndarray]) -> np.ndarray:
    """Return the observation vectors, float32 (S, 36), finite.

    Column by column: all at once, of an episode of 356,000 steps, would take 340 MB beside the 49 MB of the result.
    """
    result = np.empty((len(found["tick"]), len(FEATURE_NAMES)), np.float32)
    for place, name in enumerate(FEATURE_NAMES):
        result[:, place] = formulas.float32(found[name])
    return result


def _movement(steps: Steps, price: np.ndarray) -> dict[str, np.ndarray]:
    """Return velocity and acceleration of the price, 0 until one or two steps lie before."""
    position = np.arange(len(steps.row)) - steps.offsets[steps.episode]
    ticks = _difference(steps.tick)
    velocity = np.where(position > 0, formulas.slope(price, _before(price), ticks), 0.0)
    acceleration = np.where(position > 1, formulas.slope(velocity, _before(velocity), ticks), 0.0)
    return {"price_velocity": velocity, "price_acceleration": acceleration}


def _before(values: np.ndarray) -> np.ndarray:
    """Return the value of the row before, and of the first row its own."""
    return np.concatenate((values[:1], values[:-1]))


def _difference(values: np.ndarray) -> np.ndarray:
    return values - _before(values)
