"""What a policy earns: recorded prices are played again, with the account's arithmetic.

Prices do not react to the player, so what a policy would have met is known, whatever it does: the recorded frames with
the account that its own actions lead to. That is better than any estimate from the human's rewards alone, and still no
promise: a real order may come late or be refused, and a price that was recorded once says little of the next.

The account at step i with the price p(i); an order of step i shows in step i+1:

- BUY of an amount A: cash - A, tokens + A / p(i). Nearly all that the human bought and sold in the simulated store and
  in the reference was filled at p(i), the rest at p(i-1), where the answer came a frame later.
- SELL of a share: tokens - q, cash + q p(i).
- SIDEBET of an amount A: cash - A; 5 A are paid at the rug if it comes at most 40 ticks later.
- Equity is cash + tokens x price. At the rug it has the rug's price, at which tokens are liquidated.

An episode is played if the player's balance was known at its first step. A policy begins with that balance and without
tokens, so that holding earns exactly 0; the human begins with the tokens of that step.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol

import numpy as np

from stages.core.params import AtLeast, Must
from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.schema import BUY, FEATURE_NAMES, SELL, SIDEBET
from stages.datasets.rugs.training.accounts import PAYOUT, Orders, ReplayAccount, legal_actions, own_features
from stages.datasets.rugs.training.features import select
from stages.datasets.rugs.training.transitions import Transitions
from stages.processed import Processed

DUST: Final = 1e-7  # SOL or tokens; less is the rounding of float32
DRAWS: Final = 1000  # of the bootstrap
SHARES: Final = (0.025, 0.975)
COLUMN: Final = {name: number for number, name in enumerate(FEATURE_NAMES)}

Logits = Callable[[np.ndarray], np.ndarray]
Amount = Annotated[float, Must(lambda value: value >= formulas.MIN_BET, f"at least {formulas.MIN_BET}, the least bet")]


@dataclass(frozen=True)
class ReplayOptions:
    """The key ``replay``.

    Attributes
    ----------
    buy, sidebet
        What a BUY and a SIDEBET are of, in SOL: an action says no amount. Less where the cash is less. A SELL is of all
        tokens.
    act
        Whether the likeliest action is taken (``greedy``), which of an imitator is nearly always HOLD, or one is drawn.
    seed
        Of what is drawn.
    """

    buy: Amount = 0.002
    sidebet: Amount = 0.001
    act: Annotated[str, Must(lambda value: value in ("sample", "greedy"), "sample or greedy")] = "sample"
    seed: Annotated[int, AtLeast(0)] = 0


class Decider(Protocol):
    """Who plays.

    Attributes
    ----------
    keeps_tokens
        Whether it begins with the tokens of the first step.
    """

    keeps_tokens: bool

    def __call__(self, rows: np.ndarray, account: ReplayAccount) -> Orders:
        """Return the orders of E players at the steps `rows`, int64 (E,)."""


@dataclass(frozen=True)
class Recording:
    """The episodes that are played.

    Attributes
    ----------
    observation
        (S, 36), raw; float32 as merged, or float64 that standardising was undone for.
    steps
        Other fields of the steps by name, as in `Transitions`.
    starts, stops
        int64 (E,): first step of each episode that is played, and the one after its last.
    n_unknown
        Episodes that are not played.
    mean, scale
        float64 (36,): what standardises an observation.
    """

    observation: np.ndarray
    steps: dict[str, np.ndarray]
    starts: np.ndarray
    stops: np.ndarray
    n_unknown: int
    mean: np.ndarray = field(default_factory=lambda: np.zeros(len(FEATURE_NAMES)))
    scale: np.ndarray = field(default_factory=lambda: np.ones(len(FEATURE_NAMES)))

    def column(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return a number of some steps, float64."""
        return np.asarray(self.observation[rows, COLUMN[name]], np.float64)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of numbers of the steps (S,) over each episode, float64 (E,)."""
        total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return total[self.stops] - total[self.starts]

    def recorded(self) -> np.ndarray:
        """Return the return of each episode as the rewards tell it, float64 (E,)."""
        return self.sums(self.steps["reward"])

    def play(self, decider: Decider) -> np.ndarray:
        """Play all episodes, a step of each at a time; return what each earns in SOL, float64 (E,)."""
        first, last = self.starts, self.stops - 1
        held = self.column("position_qty", first) * decider.keeps_tokens
        account = ReplayAccount.of(self.column("balance", first), held, self.column("avg_entry_price", first))
        begin = account.equity(self.column("price", first))
        for step in range(int((self.stops - self.starts).max(initial=1)) - 1):
            rows = first + step
            is_on = rows < last
            rows, following = np.minimum(rows, last), np.minimum(rows + 1, last)
            orders = decider(rows, account)
            only = Orders(orders.buy * is_on, orders.share * is_on, orders.sidebet * is_on, orders.fill)
            account.order(only, self.column("price", rows), self.steps["tick"][rows].astype(np.float64))
            account.rug(is_on & (self.steps["terminated"][rows] != 0), self.steps["tick"][following].astype(np.float64))
        return account.equity(self.column("price", last)) - begin


def of_transitions(dataset: Transitions, mean: np.ndarray | None = None, scale: np.ndarray | None = None) -> Recording:
    """Return the recording of some episodes; mean and scale, float64 (36,), are given if they are standardised."""
    steps = {name: np.asarray(dataset.steps[name]) for name in ("label_action", "reward", "terminated", "tick")}
    observation = dataset.steps["observation"][:]
    is_known = dataset.steps["player_known"][dataset.starts] != 0
    starts, stops, n_unknown = dataset.starts[is_known], dataset.stops[is_known], int(np.count_nonzero(~is_known))
    if mean is None or scale is None:
        return Recording(observation, steps, starts, stops, n_unknown)
    raw = observation.astype(np.float64) * scale + mean
    return Recording(raw, steps, starts, stops, n_unknown, mean, scale)


def of_processed(data: Processed, dataset: Transitions) -> Recording:
    """Return the recording of a part of data/processed/rugs."""
    fit = data.fit("observation")
    return of_transitions(dataset, *(fit if fit is not None else ()))


class Holder:
    """Never does anything."""

    keeps_tokens = False

    def __call__(self, rows: np.ndarray, account: ReplayAccount) -> Orders:
        """Return no orders."""
        del account
        zero = np.zeros(len(rows))
        return Orders(zero, zero, zero, zero + 1.0)


class RecordedHuman:
    """What the server carried out for the human, read off the recorded account.

    Attributes
    ----------
    unexplained
        float64 (E,): cash of each episode that came or went without an order or a payout, such as a deposit, in SOL.
    unpaid
        float64 (E,): payouts of won sidebets that were not recorded, so that the rewards lack them, in SOL.
    fill, is_trade
        (S,): what a trade between a step and the next one was filled at, and whether there was one.
    """

    keeps_tokens = True

    def __init__(self, recording: Recording) -> None:
        rows = np.arange(len(recording.observation))
        tokens, balance, price = (recording.column(name, rows) for name in ("position_qty", "balance", "price"))
        is_in = _has_next(recording, len(rows))
        gained, cash = (np.where(is_in, np.append(np.diff(of), 0.0), 0.0) for of in (tokens, balance))
        self.is_trade = np.abs(gained) > DUST

        # Cash that went without tokens is a bet; so is what went although tokens were sold, which were so at the price.
        is_bet = ~self.is_trade & (cash < -DUST)
        is_both = (gained < -DUST) & (cash < -DUST)
        self._sidebet = np.where(is_bet, -cash, np.where(is_both, -cash - gained * price, 0.0))
        cash = cash + self._sidebet
        paid, self.unpaid = self._payouts(recording, cash, gained, price)
        cash = cash - paid

        # The rest is what the tokens cost or brought.
        self.fill = np.where(self.is_trade, -cash / np.where(self.is_trade, gained, 1.0), 1.0)
        is_sound = self.is_trade & (self.fill > 0)
        self._buy = np.where(is_sound & (gained > 0), -cash, 0.0)
        self._share = np.where(is_sound & (gained < 0), formulas.ratio(-gained, tokens), 0.0)
        self.unexplained = recording.sums(np.where(is_sound | (np.abs(cash) <= DUST), 0.0, cash))

    def __call__(self, rows: np.ndarray, account: ReplayAccount) -> Orders:
        """Return the orders that were carried out between these steps and the next ones."""
        del account
        return Orders(self._buy[rows], self._share[rows], self._sidebet[rows], self.fill[rows])

    def _payouts(
        self, recording: Recording, cash: np.ndarray, gained: np.ndarray, price: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what of the change of cash (S,) is a payout, and what of each episode's was not recorded, (E,)."""
        paid, unpaid = np.zeros(len(cash)), np.zeros(len(recording.starts))
        for episode, (start, stop) in enumerate(zip(recording.starts.tolist(), recording.stops.tolist(), strict=True)):
            bets, last = start + np.flatnonzero(self._sidebet[start : stop - 1]), stop - 2
            if not len(bets) or not recording.steps["terminated"][last]:
                continue
            tick, payout = recording.steps["tick"], PAYOUT * self._sidebet[bets[-1]]
            if tick[last + 1] - tick[bets[-1]] > formulas.SIDEBET_TICKS:
                continue

            # With the rug frame, or after it: then only the reward tells.
            change = cash[last] + gained[last] * price[last + 1]
            held = recording.column("position_qty", np.array([last]))[0] * (price[last + 1] - price[last])
            late = recording.steps["reward"][last] - change - held + self._sidebet[last]
            paid[last] = payout if change > payout / 2 else 0.0
            unpaid[episode] = payout if max(change, late) <= payout / 2 else 0.0
        return paid, unpaid


def _has_next(recording: Recording, n_steps: int) -> np.ndarray:
    """Return which steps of the episodes that are played begin a transition, bool (S,)."""
    edges = np.zeros(n_steps + 1, np.int64)
    edges[recording.starts] += 1
    np.subtract.at(edges, recording.stops - 1, 1)
    return np.cumsum(edges)[:-1] > 0


class ModelPlayer:
    """A policy, which sees its own account in the recorded frames.

    Parameters
    ----------
    recording
        What is played.
    logits
        The policy: standardised observations float32 (E, 29) -> logits (E, 4).
    options
        See `ReplayOptions`.
    """

    keeps_tokens = False

    def __init__(self, recording: Recording, logits: Logits, options: ReplayOptions) -> None:
        self._recording, self._logits, self._options = recording, logits, options
        self._rng = np.random.default_rng(options.seed)

    def __call__(self, rows: np.ndarray, account: ReplayAccount) -> Orders:
        """Return the orders of what the policy does."""
        recording, options = self._recording, self._options
        features = {name: recording.column(name, rows) for name in FEATURE_NAMES}
        features |= own_features(features, account)
        x = (np.stack([features[name] for name in FEATURE_NAMES], axis=1) - recording.mean) / recording.scale
        legal = legal_actions(features, account)
        action = self._decide(self._logits(select(x.astype(np.float32))).astype(np.float64), legal)
        buy = np.where(action == BUY, np.minimum(options.buy, account.cash), 0.0)
        sidebet = np.where(action == SIDEBET, np.minimum(options.sidebet, account.cash), 0.0)
        return Orders(buy, (action == SELL).astype(float), sidebet, features["price"])

    def _decide(self, logits: np.ndarray, legal: np.ndarray) -> np.ndarray:
        logits = np.where(legal, logits, -np.inf)
        if self._options.act == "greedy":
            return np.asarray(logits.argmax(1))
        weights = np.exp(logits - logits.max(1, keepdims=True))
        reached = np.cumsum(weights, axis=1)
        return np.asarray((reached <= self._rng.random((len(logits), 1)) * reached[:, -1:]).sum(1))


def summary(returns: np.ndarray) -> dict[str, float]:
    """Return the mean return of an episode in SOL with its 95 % interval, of a bootstrap over episodes."""
    if not len(returns):
        return dict.fromkeys(("return", "return_low", "return_high", "episodes"), float("nan"))
    drawn = np.random.default_rng(0).integers(0, len(returns), (DRAWS, len(returns)))
    low, high = np.quantile(returns[drawn].mean(1), SHARES)
    return {
        "return": float(returns.mean()),
        "return_low": float(low),
        "return_high": float(high),
        "episodes": float(len(returns)),
    }
