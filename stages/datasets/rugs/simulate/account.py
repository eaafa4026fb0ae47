"""The server's books of one player: cash, position and profit, in the arithmetic of its playerUpdate events.

All amounts are SOL with nine decimals, quantities are SOL over price. `cumulativePnL` is the profit of the present game
with what the open position would bring at the present price; `totalInvested` counts stakes of sidebets and never falls.
"""

from dataclasses import dataclass

PAYOUT = 5  # a sidebet that wins pays this many stakes
_DECIMALS = 9


@dataclass
class Account:
    """A player's state; the position, the profits and what is invested are those of the present game.

    Examples
    --------
    >>> account = Account(1.0)
    >>> account.buy(0.002, 1.0), account.buy(0.002, 1.4444769765)
    (0.002, 0.001384584)
    >>> {key: account.state(1.4444769765)[key] for key in ("positionQty", "avgCost", "cumulativePnL")}
    {'positionQty': 0.003384584, 'avgCost': 1.181829141, 'cumulativePnL': 0.000888954}
    """

    cash: float
    quantity: float = 0.0
    cost: float = 0.0  # of what is held
    realised: float = 0.0
    sidebets: float = 0.0
    invested: float = 0.0

    def start_game(self) -> None:
        """Forget the last game; only cash is carried over."""
        self.quantity = self.cost = self.realised = self.sidebets = self.invested = 0.0

    def buy(self, amount: float, price: float) -> float:
        """Buy for `amount` and return the quantity."""
        quantity = round(amount / price, _DECIMALS)
        self.cash = round(self.cash - amount, _DECIMALS)
        self.quantity = round(self.quantity + quantity, _DECIMALS)
        self.cost += amount
        self.invested += amount
        return quantity

    def sell(self, share: float, price: float) -> tuple[float, float]:
        """Sell a share of the position and return quantity and proceeds."""
        quantity = round(self.quantity * share, _DECIMALS)
        proceeds = round(quantity * price, _DECIMALS)
        cost = self.cost * quantity / self.quantity
        self.cash = round(self.cash + proceeds, _DECIMALS)
        self.quantity = round(self.quantity - quantity, _DECIMALS)
        self.realised += proceeds - cost
        self.cost = self.cost - cost if self.quantity else 0.0
        return quantity, proceeds

    def stake(self, amount: float) -> None:
        """Place a sidebet."""
        self.cash = round(self.cash - amount, _DECIMALS)
        self.sidebets -= amount
        self.invested += amount

    def win(self, amount: float) -> float:
        """Take the payout of a sidebet of `amount` and return it."""
        payout = round(PAYOUT * amount, _DECIMALS)
        self.cash = round(self.cash + payout, _DECIMALS)
        self.sidebets += payout
        return payout

    def state(self, price: float) -> dict[str, float]:
        """Return the numbers of a playerUpdate when the price is `price`."""
        profit = self.realised + self.sidebets + self.quantity * price - self.cost
        return {
            "cash": self.cash,
            "positionQty": self.quantity,
            "avgCost": round(self.cost / self.quantity, _DECIMALS) if self.quantity else 0.0,
            "cumulativePnL": round(profit, _DECIMALS) + 0.0,
            "sidebetPnl": round(self.sidebets, _DECIMALS) + 0.0,
            "totalInvested": round(self.invested, _DECIMALS),
        }
