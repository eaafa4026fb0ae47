"""The numbers of a step that are carried forward: frames, the player's state, presses and own trades.

Each number is the last one seen in the episode up to the step's frame, never interpolated, and never from a later row:
an execution, a press, a player update shows in the first step after it, whatever tick it names.
"""

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.encode.carry import Carry
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.encode.matches import Matches
from stages.datasets.rugs.encode.steps import Steps
from stages.datasets.rugs.schema import GSU, PLAYER, PRESS

STATE = {
    "cooldown_timer_ms": "timer",
    "allow_pre_round_buys": "presale",
    "active": "active",
    "rugged": "rugged",
}
STATISTICS = {
    "connected_players": "connected",
    "rugpool_amount": "pool",
    "rugpool_threshold": "pool_threshold",
    "instarug_count": "instarug",
    "average_multiplier": "avg_mult",
    "count_2x": "c2",
    "count_10x": "c10",
    "count_50x": "c50",
    "count_100x": "c100",
    "highest_today": "highest",
}
POSITION = {"position_qty": "qty", "avg_entry_price": "avg", "cumulative_pnl": "pnl", "total_invested": "invested"}


def frames(events: Events, steps: Steps, carry: Carry) -> dict[str, np.ndarray]:
    """Return what frames say, by feature name, each float64 (N,)."""
    price = np.where(np.isnan(events.price), events.price_partial, events.price)
    found = {"price": carry.value(price, steps.sets_price, formulas.DEFAULT_PRICE)}
    for kinds, is_seen in ((STATE, steps.sets_state), (STATISTICS, steps.sets_statistics)):
        found |= {name: carry.value(getattr(events, column), is_seen) for name, column in kinds.items()}
    return found


def player(events: Events, steps: Steps, carry: Carry) -> dict[str, np.ndarray]:
    """Return the player's state by feature name, and `player_known`; each float64 (N,).

    A frame of the cooldown sets the position to 0; the balance stays.
    """
    is_update = events.kind == PLAYER
    carried = events.cash_carried[events.episode[carry.at]]
    balance = carry.value(events.cash, is_update, carried)
    found = {"balance": np.nan_to_num(balance), "player_known": (~np.isnan(balance)).astype(float)}
    for name, column in POSITION.items():
        values = np.where(steps.settles, 0.0, getattr(events, column))
        found[name] = carry.value(values, is_update | steps.settles)
    return found


def entry_tick(events: Events, steps: Steps, carry: Carry) -> np.ndarray:
    """Return the tick at which the position was opened, float64 (N,), of no meaning without one.

    A position that was open before the first step was opened at tick 0 if the episode was seen from tick 0 or 1 on, and
    otherwise counts from the first step.
    """
    # The rows that tell the position, and what the one before told.
    quantity = np.where(steps.settles, 0.0, events.qty)
    is_told = ((events.kind == PLAYER) | steps.settles) & ~np.isnan(quantity)
    told = np.flatnonzero(is_told)
    is_same_episode = events.episode[told[1:]] == events.episode[told[:-1]]
    before = np.zeros(len(told))
    before[1:] = np.where(is_same_episode, quantity[told[:-1]], 0.0)

    # Those that open it.
    opens = np.zeros(len(quantity), bool)
    opens[told] = (quantity[told] > 0) & ~(before > 0)

    # The tick of the row; before the first step, when the episode is taken to have begun.
    first = np.append(steps.tick, 0.0)[steps.offsets[:-1]][events.episode]
    start = np.where(first <= 1, 0.0, first)
    opened = np.where(np.isnan(steps.top), start, steps.top)
    return carry.value(opened, opens)


def presses(events: Events, steps: Steps, carry: Carry) -> dict[str, np.ndarray]:
    """Return `bet_amount` of the last press, and `press_tick`, the tick at which it was seen; each float64 (N,)."""
    is_press = events.kind == PRESS
    seen_at = np.nan_to_num(steps.top)
    return {"bet_amount": carry.value(events.bet, is_press), "press_tick": carry.value(seen_at, is_press)}


def executions(events: Events, matches: Matches, carry: Carry) -> dict[str, np.ndarray]:
    """Return the last own trade and the press it answers, by feature name, each float64 (N,)."""
    # When the first frame of each episode was recorded; NaN where there is none yet.
    is_frame = events.kind == GSU
    begin_ms = np.full(len(events.game_ids), np.nan)
    episodes, index = np.unique(events.episode[is_frame], return_index=True)
    begin_ms[episodes] = events.ts_ms[is_frame][index]

    pressed_ms = carry.value(matches.client_ms, matches.is_trade)
    since_ms = pressed_ms - begin_ms[events.episode[carry.at]]
    return {
        "execution_tick": carry.value(events.trade_tick, matches.is_trade),
        "execution_price": carry.value(events.trade_price, matches.is_trade),
        "client_timestamp": np.where((pressed_ms > 0) & ~np.isnan(since_ms), since_ms, 0.0),
        "latency_ms": carry.value(matches.latency_ms, matches.is_trade),
    }
