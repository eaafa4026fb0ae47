"""The observation of a live game: events in, one after the other, the 36 numbers out at any moment.

The events of the present game are kept, and the encoder is called on them: at 1,000 events that takes some 2 ms of the
250 ms of a tick. So what it shows is what `encode` gives, and can depend on no event that has not come yet.

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
from typing import Any, Final

import numpy as np

from stages.datasets.rugs.encode import Table, formulas
from stages.datasets.rugs.reading.store import NOT_NEEDED
from stages.datasets.rugs.schema import FEATURE_NAMES, GSU, Options
from stages.datasets.rugs.training.live.episodes import Episode
from stages.datasets.rugs.training.live.messages import Message, message, with_owner
from stages.datasets.rugs.training.live.moment import features_now, last_own_trade
from stages.datasets.rugs.training.live.table import table

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


NOTHING_KNOWN: Final = Observation(execution_tick=0.0, execution_price=0.0, client_timestamp=0.0, latency_ms=0.0)


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
    is_terminal
        Whether the rug of the present game was seen.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as for a new session."""
        self.game_id = self.player_id = ""
        self.is_terminal = False
        self._last_cash = self._cash_carried = math.nan  # of the session; up to the present game's first frame
        self._recent: deque[str] = deque(maxlen=N_RECENT)
        self._kept: list[Message] = []  # of the present game and of games to come, as they came
        self._known: Table | None = None  # the present game's events; None where they are to be read anew

    @property
    def player_known(self) -> bool:
        """Whether the player's balance was told."""
        is_told = any("cash" in event.numbers for event in self._own_events())
        return is_told or not math.isnan(self._cash_carried)

    def update(self, event: Mapping[str, Any]) -> bool:
        """Take in one event, of any of the forms of `messages`, and tell whether it is a step.

        A frame of a new game begins that game: only the balance is carried over. Events of another game than the
        present one change nothing now; those that come before their game count when it begins, and any balance is
        carried into the next game. A trade counts once an event of its game told who the own player is.
        """
        return self.take(message(event))

    def take(self, event: Message) -> bool:
        """Take in one event that is read already; see `update`."""
        self.player_id = event.own_id or self.player_id
        self._last_cash = event.numbers.get("cash", self._last_cash)
        is_frame = event.kind == GSU
        if is_frame and event.game_id not in ("", self.game_id, *self._recent):
            self._begin(event.game_id)
        is_late = event.game_id in self._recent or (is_frame and self.is_terminal)
        if is_late or event.kind == NOT_NEEDED:
            return False
        self._keep(with_owner(event, self.player_id))
        return is_frame and self._is_step()

    def build(self) -> Observation:
        """Return what is known now."""
        own = self._own_events()
        if not own:
            return NOTHING_KNOWN
        trade = last_own_trade(self._table())
        trade_id = None if trade is None else own[trade].trade_id
        features: dict[str, Any] = features_now(self._table())
        return Observation(**{**features, "game_id": self.game_id, "trade_id": trade_id})

    def _begin(self, game_id: str) -> None:
        """Begin a game; what came before the first game of a session and names none belongs to it."""
        if self.game_id:
            self._recent.append(self.game_id)
            self._kept = [event for event in self._kept if not self._is_own(event)]
            self.is_terminal = False
        self.game_id = game_id
        self._cash_carried = self._last_cash

    def _keep(self, event: Message) -> None:
        """Keep an event, and of games that have not begun the last ones only."""
        self._kept.append(event)
        if self._is_own(event):
            self._known = None
            return
        early = [place for place, kept in enumerate(self._kept) if not self._is_own(kept)]
        if len(early) > N_EARLY:
            del self._kept[early[0]]

    def _is_step(self) -> bool:
        """Tell whether the last event, a frame, is a step, and note whether it is the rug."""
        steps = self._table().steps
        self.is_terminal = bool(steps.is_terminal[0])
        return len(steps.row) > 0 and int(steps.row[-1]) == len(steps.top) - 1

    def _table(self) -> Table:
        """Return the events of the present game as the encoder reads them."""
        if self._known is None:
            own = tuple(self._own_events())
            game = Episode(self.game_id, own, own, self._cash_carried)
            self._known = Table(table([game]), self._options)
        return self._known

    def _own_events(self) -> list[Message]:
        return [event for event in self._kept if self._is_own(event)]

    def _is_own(self, event: Message) -> bool:
        """Tell whether an event is of the present game."""
        return event.game_id in ("", self.game_id)
