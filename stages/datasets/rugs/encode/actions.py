"""The human's presses as actions of steps, and which actions were legal.

A press belongs to the step whose observation the human had seen: the one with the tick of its label, or, if that step
is taken or was never recorded, one at most `tolerance_ticks` away, earlier ones first. A press that finds none is
unmatched, with one of `REASONS`. What a press is, is what the human did: the server may have refused it, and so may the
mask of its step, which is made of the state alone.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.rugs.encode import formulas, state
from stages.datasets.rugs.encode.carry import carry_at
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.encode.matches import is_action
from stages.datasets.rugs.encode.steps import Steps
from stages.datasets.rugs.schema import ACTIONS, BUY, HOLD, SELL, SIDEBET

REASONS = ("pre_round", "post_terminal", "no_next_observation", "conflict", "no_step_within_tolerance")


@dataclass(frozen=True)
class Presses:
    """The P presses of BUY, SELL or SIDEBET.

    Attributes
    ----------
    row
        int64 (P,): rows of the table.
    action
        int64 (P,): 1..3.
    step
        int64 (P,): the step each belongs to; -1 for none.
    reason
        P texts: one of `REASONS` where there is no step, else empty.
    """

    row: np.ndarray
    action: np.ndarray
    step: np.ndarray
    reason: tuple[str, ...]


def align(events: Events, steps: Steps, tolerance: int) -> Presses:
    """Assign each press to a step.

    Parameters
    ----------
    events, steps
        Of some episodes.
    tolerance
        How many ticks a press may move.
    """
    row = np.flatnonzero(is_action(events))
    is_presale = carry_at(events, row).value(events.presale, steps.sets_state) == 1
    found = np.full(len(row), -1)
    reasons = [""] * len(row)
    taken: set[int] = set()
    for press in range(len(row)):
        wanted = _wanted(events, steps, int(row[press]), bool(is_presale[press]), tolerance)
        if isinstance(wanted, str):
            reasons[press] = wanted
        elif free := [step for step in wanted if step not in taken]:
            found[press] = free[0]
            taken.add(free[0])
        else:
            reasons[press] = "conflict" if wanted else "no_step_within_tolerance"
    return Presses(row, events.button[row].astype(np.int64) + 1, found, tuple(reasons))


def labels(steps: Steps, presses: Presses) -> np.ndarray:
    """Return the action of each step, int16 (S,): HOLD without a press, -1 at the last step of an episode."""
    action = np.full(len(steps.row), HOLD, np.int16)
    is_matched = presses.step >= 0
    action[presses.step[is_matched]] = presses.action[is_matched]
    action[~has_next(steps)] = -1
    return action


def has_next(steps: Steps) -> np.ndarray:
    """Tell which steps begin a transition, bool (S,): all but the last of each episode."""
    result = np.ones(len(steps.row), bool)
    ends = steps.offsets[1:][steps.offsets[1:] > steps.offsets[:-1]]
    result[ends - 1] = False
    return result


def mask(events: Events, steps: Steps, presses: Presses) -> np.ndarray:
    """Return which actions were legal, uint8 (S, 4), from what was known at each step.

    HOLD always; BUY in an active round with the least bet as balance; SELL with a position; SIDEBET in an active round
    when no SIDEBET was pressed in the last 40 ticks; none but HOLD after the rug.

    What is pressed at a step changes neither its mask nor an earlier one: a mask that allowed each press would tell a
    policy what the human did. So a press that the rules forbid is illegal here, and `refused` marks it.
    """
    carry = carry_at(events, steps.row)
    active, rugged = (carry.value(flag, steps.sets_state) for flag in (events.active, events.rugged))
    is_active = (active == 1) & (rugged != 1)
    player = state.player(events, steps, carry)
    placed = _last_sidebet(events, steps, presses)
    legal = np.zeros((len(steps.row), len(ACTIONS)), np.uint8)
    legal[:, HOLD] = 1
    legal[:, BUY] = is_active & (player["balance"] >= formulas.MIN_BET)
    legal[:, SELL] = is_active & (player["position_qty"] > 0)
    legal[:, SIDEBET] = is_active & (steps.tick - placed >= formulas.SIDEBET_TICKS)
    return legal


def refused(legal: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Tell which steps have a press that their mask forbids, uint8 (S,).

    Parameters
    ----------
    legal
        uint8 (S, 4), of `mask`.
    action
        int16 (S,), of `labels`; the last step of an episode has none, and refuses none.

    Examples
    --------
    >>> refused(np.array([[1, 1, 0, 1]] * 3, np.uint8), np.array([2, 1, -1]))
    array([1, 0, 0], dtype=uint8)
    """
    return ((action > HOLD) & (legal[np.arange(len(action)), action] == 0)).astype(np.uint8)


def _last_sidebet(events: Events, steps: Steps, presses: Presses) -> np.ndarray:
    """Return the tick at which the last SIDEBET before each step was pressed, float64 (S,); -inf for none.

    A press counts from the step after its own on, also when it was recorded before its own step's frame: one of the
    presale is the action of the first step.
    """
    is_bet = presses.action == SIDEBET
    row, step = presses.row[is_bet], presses.step[is_bet]
    known_from = np.where(step >= 0, np.maximum(row, np.append(steps.row, -1)[step] + 1), row)
    seen_at = np.full(len(events.kind), np.nan)
    np.fmax.at(seen_at, known_from, np.nan_to_num(steps.top[row]))
    return carry_at(events, steps.row).value(seen_at, ~np.isnan(seen_at), -np.inf)


def _wanted(events: Events, steps: Steps, row: int, is_presale: bool, tolerance: int) -> list[int] | str:
    """Return the steps that may take a press, best first, or why there can be none."""
    episode = int(events.episode[row])
    first, end = int(steps.offsets[episode]), int(steps.offsets[episode + 1])
    ticks, n_seen = steps.tick[first:end], int(np.searchsorted(steps.row[first:end], row))
    tick = float(events.press_tick[row])
    if not formulas.is_tick(events.press_tick[row]):
        tick = float(ticks[n_seen - 1]) if n_seen else np.inf
    if row > steps.terminal_row[episode]:
        return "post_terminal"
    if not n_seen:
        if not is_presale or not len(ticks) or ticks[0] > tolerance:
            return "pre_round"
        tick = min(tick, float(ticks[0]))
    near = _candidates(ticks, tick, tolerance)
    return "no_next_observation" if near is None else [first + index for index in near]


def _candidates(ticks: np.ndarray, tick: float, tolerance: int) -> list[int] | None:
    """Return the steps of an episode that may take a press, best first; None if its own step begins no transition.

    Parameters
    ----------
    ticks
        float64 (n,), the ticks of the episode's steps.
    tick
        The press's.
    tolerance
        See `align`.

    Examples
    --------
    >>> _candidates(np.array([100.0, 101.0, 103.0, 104.0]), 102.0, 1)
    [1, 2]
    >>> _candidates(np.array([100.0, 101.0, 103.0, 104.0]), 103.0, 1)
    [2]
    """
    index = np.searchsorted(ticks, tick)
    if index < len(ticks) and ticks[index] == tick:
        if index == len(ticks) - 1:
            return None
        near = [tick + delta for delta in range(tolerance + 1)]
    else:
        near = [tick + sign * delta for delta in range(1, tolerance + 1) for sign in (-1, 1)]
    found = [(int(np.searchsorted(ticks, wanted)), wanted) for wanted in near]
    return [index for index, wanted in found if index < len(ticks) - 1 and ticks[index] == wanted]
