"""The state of one game, number by number, as its events come in; the same rules as `encode`, one event at a time.

Each event costs the same whatever came before it, and nothing but the last values is kept. So what is built from a
state can only depend on events that were seen: the arrays of `encode` must be equal to it, step by step.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.encode.events import BUY_SIDE, SELL_SIDE
from stages.datasets.rugs.encode.matches import ACTION
from stages.datasets.rugs.encode.state import POSITION, STATE, STATISTICS
from stages.datasets.rugs.schema import FEATURE_NAMES, Options

# Presses of one kind that wait for their trade: one older than 3 s is given up at the next trade, and nobody presses
# this often within 3 s.
MAX_WAITING = 256
Numbers = Mapping[str, float]


def defaults() -> dict[str, float]:
    """Return the features of a game of which nothing is known."""
    return {**dict.fromkeys(FEATURE_NAMES, 0.0), "price": formulas.DEFAULT_PRICE}


@dataclass
class GameState:
    """What is known of a game.

    Events are mappings from column names of `schema.events.Events` to numbers; NaN, or no such key, is missing.

    Attributes
    ----------
    cash
        The player's balance (SOL): the one carried in, then that of the last update; NaN while it is not known.
    features
        By the names of `schema.FEATURE_NAMES`; those that follow from others are not kept up.
    top
        Largest tick of the steps so far; NaN before the first.
    step_price
        Price at the last step.
    n_steps
        Steps so far.
    is_over
        Whether the rug was seen: frames that follow are ignored.
    is_named
        Whether an event of the game told who the own player is: before, no trade counts as an own one.
    begin_ms
        When the first frame was recorded (ms since 1970); None before it.
    entry_tick
        When the position was opened; NaN if that was before the first step.
    pressed_ms
        When the press was made that the last own trade answers (ms since 1970); 0 for none.
    press_tick
        `top`, 0 for none, when the last press was seen.
    waiting
        For buys and sells, (client_ms, server_ms) of presses that no trade took yet.
    """

    cash: float = math.nan
    features: dict[str, float] = field(default_factory=defaults)
    top: float = math.nan
    step_price: float = math.nan
    n_steps: int = 0
    is_over: bool = False
    is_named: bool = False
    begin_ms: int | None = None
    entry_tick: float = 0.0
    pressed_ms: float = 0.0
    press_tick: float = 0.0
    waiting: tuple[deque[tuple[float, float]], ...] = field(
        default_factory=lambda: (deque(maxlen=MAX_WAITING), deque(maxlen=MAX_WAITING))
    )

    def frame(self, numbers: Numbers, ts_ms: int) -> bool:
        """Take in a frame and tell whether it is a step."""
        self.begin_ms = ts_ms if self.begin_ms is None else self.begin_ms
        if self.is_over:
            return False
        tick, timer, rugged = (numbers.get(name, math.nan) for name in ("tick", "timer", "rugged"))
        is_waiting = bool(formulas.is_waiting(timer, numbers.get("active", math.nan), rugged))
        is_timed = not is_waiting and bool(formulas.is_tick(tick))
        self._absorb(STATISTICS, numbers)
        if is_timed and tick < self.top:
            return False
        self.is_over = is_timed and rugged == 1
        is_step = is_timed and (self.is_over or not tick <= self.top)
        self._absorb(STATE, numbers)
        if is_step or not is_timed:
            self.features["price"] = _first(numbers, "price", "price_partial", default=self.features["price"])
        if is_waiting and formulas.is_tick(tick):
            self.features["tick"] = tick
        if formulas.is_settling(timer, numbers.get("presale", math.nan)):
            self.features |= dict.fromkeys(POSITION, 0.0)
        if is_step:
            self._step(tick)
        return is_step

    def player(self, numbers: Numbers) -> None:
        """Take in a player update."""
        self.cash = _first(numbers, "cash", default=self.cash)
        if _first(numbers, "qty", default=0.0) > 0 and not self.features["position_qty"] > 0:
            self.entry_tick = self.top
        self._absorb(POSITION, numbers)

    def press(self, numbers: Numbers) -> None:
        """Take in a press."""
        self.press_tick = 0.0 if math.isnan(self.top) else self.top
        self._absorb({"bet_amount": "bet"}, numbers)
        button = numbers.get("button", math.nan)
        if numbers.get("category") == ACTION and button in (BUY_SIDE, SELL_SIDE):
            pressed = numbers.get("client_ms", math.nan), numbers.get("server_ms", math.nan)
            self.waiting[int(button)].append(pressed)

    def trade(self, numbers: Numbers, ts_ms: int) -> bool:
        """Take in an own trade and tell whether it is one that counts, a buy or a sell."""
        side = numbers.get("side", math.nan)
        if side not in (BUY_SIDE, SELL_SIDE):
            return False
        self._absorb({"execution_tick": "trade_tick", "execution_price": "trade_price"}, numbers)
        self.pressed_ms = self.features["latency_ms"] = 0.0
        presses = self.waiting[int(side)]
        while presses:
            client_ms, server_ms = presses.popleft()
            if 0 <= (delay := ts_ms - client_ms) <= formulas.MAX_LATENCY_MS:
                self.pressed_ms = client_ms
                self.features["latency_ms"] = delay if math.isnan(server_ms) else server_ms - client_ms
                break
        return True

    def current(self, options: Options) -> dict[str, float]:
        """Return all features but `game_id` as they are now, float64.

        Velocity and acceleration are those of the last step.
        """
        found = dict(self.features)
        found["balance"] = 0.0 if math.isnan(self.cash) else self.cash
        found["ticks_since_last_action"] = max(0.0, found["tick"] - self.press_tick)
        if self.pressed_ms > 0 and self.begin_ms is not None:
            found["client_timestamp"] = self.pressed_ms - self.begin_ms
        entry_tick = found["tick"] if math.isnan(self.entry_tick) else self.entry_tick
        given = {name: np.asarray(value) for name, value in {**found, "entry_tick": entry_tick}.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            derived = formulas.derived(given, options)
        return found | {name: float(value) for name, value in derived.items()}

    def _absorb(self, names: Mapping[str, str], numbers: Numbers) -> None:
        """Set features, given with their columns, that the numbers tell."""
        for name, column in names.items():
            self.features[name] = _first(numbers, column, default=self.features[name])

    def _step(self, tick: float) -> None:
        """Move on to a step, when its frame is taken in."""
        features, ticks = self.features, tick - self.top
        with np.errstate(over="ignore", invalid="ignore"):
            velocity = formulas.slope(features["price"], self.step_price, ticks) if self.n_steps > 0 else 0.0
            bend = formulas.slope(velocity, features["price_velocity"], ticks) if self.n_steps > 1 else 0.0
        features |= {"tick": tick, "price_velocity": float(velocity), "price_acceleration": float(bend)}
        if math.isnan(self.entry_tick):
            self.entry_tick = 0.0 if tick <= 1 else tick
        self.top, self.step_price, self.n_steps = tick, features["price"], self.n_steps + 1


def _first(numbers: Numbers, *columns: str, default: float = math.nan) -> float:
    """Return the first of some columns that is there."""
    return next((numbers[column] for column in columns if not math.isnan(numbers.get(column, math.nan))), default)
