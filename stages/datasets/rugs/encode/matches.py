"""Which press each own trade answers: first in, first out, over the few presses and own trades of an episode."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.encode.carry import carry_at
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.schema import BUY_SIDE, CATEGORIES, OTHER, PLAYER, PRESS, SELL_SIDE, TRADE

ACTION = CATEGORIES.index("action")


@dataclass(frozen=True)
class Matches:
    """Own trades and their presses, of R rows.

    Attributes
    ----------
    is_trade
        bool (R,): the trades that were to be matched.
    client_ms, latency_ms
        float64 (R,): in rows of own trades, when the press was made (ms since 1970) and how long it took to be answered
        (ms); 0 where no press is found.
    is_executed
        bool (R,): presses that a trade answers.
    """

    is_trade: np.ndarray
    client_ms: np.ndarray
    latency_ms: np.ndarray
    is_executed: np.ndarray


def is_action(events: Events) -> np.ndarray:
    """Tell which rows are presses of BUY, SELL or SIDEBET, bool (R,)."""
    return (events.kind == PRESS) & (events.category == ACTION) & (events.button >= 0) & (events.button < 3)


def own_trades(events: Events) -> np.ndarray:
    """Tell which rows are the player's buys and sells, bool (R,)."""
    is_side = (events.side == BUY_SIDE) | (events.side == SELL_SIDE)
    return (events.kind == TRADE) & (events.is_own == 1) & is_side


def recognised(events: Events) -> np.ndarray:
    """Tell which rows are buys and sells that could be told to be the player's when they came, bool (R,).

    Those after a row of their episode that names the player. Others stay out of the observations: an episode would
    otherwise depend on rows of others, or on later ones.
    """
    names_player = (events.kind == PLAYER) | (events.kind == OTHER)
    rows = np.arange(len(events.kind))
    return own_trades(events) & (carry_at(events, rows).last(names_player) >= 0)


def match(events: Events, is_trade: np.ndarray) -> Matches:
    """Find the press that each of some trades answers.

    Of the presses of its kind (BUY for a buy, SELL for a sell) before it that no trade took yet, the first that is 0 to
    3000 ms older than the trade; those before that one are given up.

    Parameters
    ----------
    events
        Of some episodes.
    is_trade
        bool (R,), buys and sells.
    """
    n_rows = len(is_trade)
    client_ms, latency_ms, is_executed = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows, bool)
    waiting: dict[tuple[int, int], deque[int]] = {}
    for row in np.flatnonzero(is_trade | is_action(events)).tolist():
        code = events.side[row] if is_trade[row] else events.button[row]  # the same: 0 is BUY, 1 is SELL
        presses = waiting.setdefault((int(events.episode[row]), int(code)), deque())
        if not is_trade[row]:
            presses.append(row)
            continue
        while presses:
            press = presses.popleft()
            delay = events.ts_ms[row] - events.client_ms[press]
            if not 0 <= delay <= formulas.MAX_LATENCY_MS:
                continue
            served = events.server_ms[press] - events.client_ms[press]
            latency_ms[row] = delay if np.isnan(served) else served
            client_ms[row] = events.client_ms[press]
            is_executed[press] = True
            break
    return Matches(is_trade, client_ms, latency_ms, is_executed)
