"""The books of the players that are replayed, and what a policy sees of its own; see `replay` for the arithmetic."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.schema import ACTIONS, BUY, HOLD, SELL, SIDEBET

PAYOUT: Final = 5.0  # stakes that a sidebet pays


@dataclass
class ReplayAccount:
    """Books of E players, float64 (E,) each; amounts in SOL. `cost` is of what is held, `entry` the tick it was opened.

    `bet` is the stake of the running sidebet, `bet_tick` when the last one was placed; `shown` is the profit as the
    server told it last.
    """

    cash: np.ndarray
    quantity: np.ndarray
    cost: np.ndarray
    profit: np.ndarray
    invested: np.ndarray
    entry: np.ndarray
    bet: np.ndarray
    bet_tick: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, cash: np.ndarray, quantity: np.ndarray, average: np.ndarray) -> "ReplayAccount":
        """Return accounts with this cash and these tokens, bought at an average price."""
        zero = np.zeros(len(cash))
        cost = quantity * average
        return cls(
            cash.copy(), quantity.copy(), cost, zero.copy(), cost.copy(), zero.copy(), zero.copy(),
            zero - np.inf, zero.copy(),
        )  # fmt: skip

    def equity(self, price: np.ndarray) -> np.ndarray:
        """Return what the players own."""
        return formulas.equity(self.cash, self.quantity, price)

    def order(self, orders: "Orders", price: np.ndarray, tick: np.ndarray) -> None:
        """Carry out the orders of a step, in the order sell, buy, sidebet."""
        is_over = (self.bet > 0) & (tick - self.bet_tick >= formulas.SIDEBET_TICKS)
        self.bet = np.where(is_over, 0.0, self.bet)
        sold = self.quantity * orders.share
        self._close(sold, sold * orders.fill)
        opens = (orders.buy > 0) & ~(self.quantity > 0)
        self.entry = np.where(opens, tick, self.entry)
        self.cash = self.cash - orders.buy - orders.sidebet
        self.quantity = self.quantity + formulas.ratio(orders.buy, orders.fill)
        self.cost = self.cost + orders.buy
        self.invested = self.invested + orders.buy + orders.sidebet
        self.profit = self.profit - orders.sidebet
        is_bet = orders.sidebet > 0
        self.bet, self.bet_tick = np.where(is_bet, orders.sidebet, self.bet), np.where(is_bet, tick, self.bet_tick)

        # The server tells the profit after an order, and when a sidebet is lost.
        is_told = is_over | is_bet | (orders.buy > 0) | (orders.share > 0)
        self.shown = np.where(is_told, self.profit + self.quantity * price - self.cost, self.shown)

    def rug(self, is_rug: np.ndarray, tick: np.ndarray) -> None:
        """Pay the sidebets of those for whom the rug came in time."""
        wins = is_rug & (self.bet > 0) & (tick - self.bet_tick <= formulas.SIDEBET_TICKS)
        self.cash = self.cash + np.where(wins, PAYOUT * self.bet, 0.0)

    def _close(self, sold: np.ndarray, proceeds: np.ndarray) -> None:
        cost = self.cost * formulas.ratio(sold, self.quantity)
        self.cash, self.quantity = self.cash + proceeds, self.quantity - sold
        self.profit, self.cost = self.profit + proceeds - cost, self.cost - cost


@dataclass(frozen=True)
class Orders:
    """Orders of E players in a step, float64 (E,): SOL to buy for, share to sell, SOL to bet, and at what price."""

    buy: np.ndarray
    share: np.ndarray
    sidebet: np.ndarray
    fill: np.ndarray


def own_features(features: dict[str, np.ndarray], account: ReplayAccount) -> dict[str, np.ndarray]:
    """Return the features that follow from the account, by name."""
    price, quantity = features["price"], account.quantity
    average = formulas.ratio(account.cost, quantity)
    return {
        "balance": account.cash,
        "position_qty": quantity,
        "avg_entry_price": average,
        "cumulative_pnl": account.shown,
        "total_invested": account.invested,
        "unrealized_pnl": formulas.unrealized_pnl(price, quantity, average),
        "position_pnl_pct": formulas.position_pnl_pct(price, quantity, average),
        "balance_at_risk_pct": formulas.balance_at_risk_pct(account.cash, quantity, price, "qty"),
        "time_in_position": formulas.time_in_position(features["tick"], account.entry, quantity),
    }


def legal_actions(features: dict[str, np.ndarray], account: ReplayAccount) -> np.ndarray:
    """Return which actions are legal, bool (E, 4): the rules of `encode.actions.mask` on the policy's own account."""
    is_active = (features["active"] == 1) & (features["rugged"] != 1)
    can_bet = account.cash >= formulas.MIN_BET
    legal = np.zeros((len(is_active), len(ACTIONS)), bool)
    legal[:, HOLD] = True
    legal[:, BUY] = is_active & can_bet
    legal[:, SELL] = is_active & (account.quantity > 0)
    legal[:, SIDEBET] = is_active & can_bet & (features["tick"] - account.bet_tick >= formulas.SIDEBET_TICKS)
    return legal
