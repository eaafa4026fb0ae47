"""The observation of a live game: events in, one after the other, the 36 numbers out at any moment.

    builder = ObservationBuilder()
    for event in events:
        if builder.update(event):                  # the event is the first frame of a tick: a step
            vector = builder.build().to_numpy()    # (36,) float32, the row that `encode` has for this step

`build` may be called in any phase, also before the first event. See `messages` for the forms of an event.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.datasets.rugs.encode import formulas
from stages.datasets.rugs.encode.events import GSU, OTHER, PLAYER, PRESS, TRADE
from stages.datasets.rugs.schema import FEATURE_NAMES, Options
from stages.datasets.rugs.training.live.messages import Message, message
from stages.datasets.rugs.training.live.state import GameState

N_RECENT = 64  # games whose late frames are known as such
N_EARLY = 256  # events kept of games that have not begun


@dataclass(frozen=True)
class Observation:
    """What is known at a moment: the 36 features, by their names, and the id of the last own trade.

    `game_id` is the id itself, a text; in the vector stands its hash, `game_id_hash`.
    """

    tick: float = 0.0
    price: float = formulas.DEFAULT_PRICE
    game_phase: float = 0.0
    cooldown_timer_ms: float = 0.0
    allow_pre_round_buys: float = 0.0
    active: float = 0.0
    rugged: float = 0.0
    connected_players: float = 0.0
    game_id: str = ""
    balance: float = 0.0
    position_qty: float = 0.0
    avg_entry_price: float = 0.0
    cumulative_pnl: float = 0.0
    total_invested: float = 0.0
    rugpool_amount: float = 0.0
    rugpool_threshold: float = 0.0
    instarug_count: float = 0.0
    average_multiplier: float = 0.0
    count_2x: float = 0.0
    count_10x: float = 0.0
    count_50x: float = 0.0
    count_100x: float = 0.0
    highest_today: float = 0.0
    price_velocity: float = 0.0
    price_acceleration: float = 0.0
    unrealized_pnl: float = 0.0
    position_pnl_pct: float = 0.0
    rugpool_ratio: float = 0.0
    balance_at_risk_pct: float = 0.0
    time_in_position: float = 0.0
    ticks_since_last_action: float = 0.0
    bet_amount: float = 0.0
    execution_tick: float | None = None
    execution_price: float | None = None
    trade_id: str | None = None
    client_timestamp: float | None = None
    latency_ms: float | None = None

    @property
    def game_id_hash(self) -> float:
        """What stands for the game in the vector, in [0, 1)."""
        return formulas.game_hash(self.game_id)

    def to_numpy(self) -> np.ndarray:
        """Return the vector, float32 (36,), finite, in the order of `schema.FEATURE_NAMES`; None is 0."""
        found = {**vars(self), "game_id": self.game_id_hash}
        numbers = [found[name] for name in FEATURE_NAMES]
        return formulas.float32(np.array([0.0 if number is None else number for number in numbers], float))


class ObservationBuilder:
    """Follows one session of the recorder.

    Parameters
    ----------
    options
        Of these `phase_rule` and `risk_numerator`.

    Attributes
    ----------
    game_id
        The present game, the newest seen in a frame; empty before the first frame.
    player_id
        The own player as the events told; empty while unknown.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as for a new session."""
        self.game_id = self.player_id = ""
        self._trade_id: str | None = None
        self._state = GameState()
        self._cash = math.nan
        self._recent: deque[str] = deque(maxlen=N_RECENT)
        self._early: deque[Message] = deque(maxlen=N_EARLY)

    @property
    def is_terminal(self) -> bool:
        """Whether the rug of the present game was seen."""
        return self._state.is_over

    @property
    def player_known(self) -> bool:
        """Whether the player's balance was told."""
        return not math.isnan(self._state.cash)

    def update(self, event: Mapping[str, Any]) -> bool:
        """Take in one event, of any of the forms of `messages`, and tell whether it is a step.

        A frame of a new game begins that game: only the balance is carried over. Events of another game than the
        present one change nothing now; those that come before their game count when it begins, and any balance is
        carried into the next game. A trade
        counts once an event of its game told who the own player is.
        """
        return self.take(message(event))

    def take(self, event: Message) -> bool:
        """Take in one event that is read already; see `update`."""
        self.player_id = event.own_id or self.player_id
        self._cash = event.numbers.get("cash", self._cash)
        if event.kind == GSU and event.game_id not in ("", self.game_id, *self._recent):
            self._begin(event.game_id)
        if event.game_id in ("", self.game_id):
            return self._apply(event)
        if event.game_id not in self._recent:
            self._early.append(event)
        return False

    def build(self) -> Observation:
        """Return what is known now."""
        found: dict[str, Any] = self._state.current(self._options)
        return Observation(**{**found, "game_id": self.game_id, "trade_id": self._trade_id})

    def _begin(self, game_id: str) -> None:
        """Begin a game; what came before the first game of a session belongs to it."""
        if self.game_id:
            self._recent.append(self.game_id)
            self._state, self._trade_id = GameState(self._cash), None
        self.game_id = game_id
        early = [event for event in self._early if event.game_id == game_id]
        self._early = deque((event for event in self._early if event.game_id != game_id), maxlen=N_EARLY)
        for event in early:
            self._apply(event)

    def _apply(self, event: Message) -> bool:
        state, numbers = self._state, event.numbers
        if event.kind == GSU:
            return state.frame(numbers, event.ts_ms)
        if event.kind == PRESS:
            state.press(numbers)
        elif event.kind == TRADE:
            is_own = state.is_named and event.player_id == self.player_id != ""
            self._trade_id = event.trade_id if is_own and state.trade(numbers, event.ts_ms) else self._trade_id
        elif event.kind in (PLAYER, OTHER):
            state.is_named = True
            state.player(numbers)
        return False
