"""What is known after the last event of a game: the encoder's numbers of one more step, asked for at that event.

A moment between two steps sees what a step there would see. Only what compares steps with each other, velocity and
acceleration, stays that of the last step; and before the first step no time is spent in a position.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from stages.datasets.rugs.encode import Table, formulas, observe
from stages.datasets.rugs.encode.carry import carry_at
from stages.datasets.rugs.encode.matches import Matches, match, recognised
from stages.datasets.rugs.encode.steps import Steps
from stages.datasets.rugs.schema import FEATURE_NAMES

OF_STEPS: Final = ("price_velocity", "price_acceleration")


def features_now(table: Table) -> dict[str, float]:
    """Return the features after the last event, by name.

    Parameters
    ----------
    table
        Of one episode, one event at least.
    """
    found = observe.features(table.events, _with_moment(table), _matches(table), table.settings)
    now = {name: float(found[name][-1]) for name in FEATURE_NAMES}
    if len(table.steps.row):
        return now | {name: float(found[name][-2]) for name in OF_STEPS}
    return now | dict.fromkeys((*OF_STEPS, "time_in_position"), 0.0)


def last_own_trade(table: Table) -> int | None:
    """Return the row of the last own trade that counts; None for none."""
    rows = np.flatnonzero(_matches(table).is_trade)
    return int(rows[-1]) if len(rows) else None


def _matches(table: Table) -> Matches:
    return match(table.events, recognised(table.events))


def _with_moment(table: Table) -> Steps:
    """Return the steps and one more, in the row of the last event, with the last tick that a frame told."""
    events, steps = table.events, table.steps
    now = np.array([len(events.kind) - 1])
    tells_tick = steps.sets_state & formulas.is_tick(events.tick)
    return replace(
        steps,
        row=np.append(steps.row, now),
        episode=np.append(steps.episode, events.episode[now]),
        offsets=steps.offsets + np.array([0, 1]),
        tick=np.append(steps.tick, carry_at(events, now).value(events.tick, tells_tick)),
    )
