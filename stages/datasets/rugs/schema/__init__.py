"""What all of this dataset's steps agree on: names and codes, and the options in params.yaml.

The names of features, actions and buttons are in the order of their numbers in the arrays. How the store is read stands
in `reading`, the table of events in `encode.events`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from stages.core.params import AtLeast, Between, build

FEATURE_NAMES: Final = (
    "tick", "price", "game_phase", "cooldown_timer_ms", "allow_pre_round_buys", "active", "rugged",
    "connected_players", "game_id",
    "balance", "position_qty", "avg_entry_price", "cumulative_pnl", "total_invested",
    "rugpool_amount", "rugpool_threshold", "instarug_count",
    "average_multiplier", "count_2x", "count_10x", "count_50x", "count_100x", "highest_today",
    "price_velocity", "price_acceleration", "unrealized_pnl", "position_pnl_pct", "rugpool_ratio",
    "balance_at_risk_pct",
    "time_in_position", "ticks_since_last_action", "bet_amount",
    "execution_tick", "execution_price", "client_timestamp", "latency_ms",
)  # fmt: skip
FEATURE_COUNT: Final = 36

ACTIONS: Final = ("HOLD", "BUY", "SELL", "SIDEBET")
HOLD, BUY, SELL, SIDEBET = range(4)

# Kinds of events, the values of `encode.events.Events.kind`.
GSU: Final = 0  # gameStateUpdate: the broadcast frame
PLAYER: Final = 1  # playerUpdate: the private state, after own trades and settlements
TRADE: Final = 2  # standard/newTrade: a trade of any player
PRESS: Final = 3  # button_event: a press of the human
OTHER: Final = 4  # usernameStatus, which says who the own player is

# What a trade does, the values of `Events.side`: indices in SIDES.
SIDES: Final = ("buy", "sell", "short_open", "short_close")
BUY_SIDE: Final = 0
SELL_SIDE: Final = 1

# What a press is of: `Events.category` is the index here, `Events.button` that in BUTTONS. The first three buttons are
# the actions without HOLD, so that button + 1 is the action.
CATEGORIES: Final = ("action", "bet_adjust", "percentage")
BUTTONS: Final = (
    "BUY", "SELL", "SIDEBET",
    "CLEAR", "INC_001", "INC_01", "INC_10", "INC_1", "HALF", "DOUBLE", "MAX",
    "SELL_10", "SELL_25", "SELL_50", "SELL_100",
)  # fmt: skip

FOLDER = "events_parquet"
GAME_BYTES = 25  # longest game id, in ASCII
WHERE = "params.yaml: datasets.rugs.options"


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml.

    Attributes
    ----------
    phase_rule
        How a frame's phase is told: `evidence` trusts the booleans, rugged first; `design` is the rule of the
        recorder's design, which finds no presale and no rug in real frames.
    risk_numerator
        What balance_at_risk_pct puts above the fraction line: `qty` tokens, or their `value` in SOL.
    tolerance_ticks
        How far from its tick label a press may be assigned to a step.
    min_ticks
        Fewest distinct ticks of an episode.
    drop_incomplete
        Whether episodes without their rug are left out.
    hold_keep
        Share of the HOLD transitions that is kept.
    max_bad_rows
        Largest share of an episode's rows that may be bad.
    player_key_file
        File whose bytes key the pseudonyms of players; None gives none.
    """

    phase_rule: Literal["evidence", "design"] = "evidence"
    risk_numerator: Literal["qty", "value"] = "qty"
    tolerance_ticks: Annotated[int, AtLeast(0)] = 1
    min_ticks: Annotated[int, AtLeast(1)] = 1
    drop_incomplete: bool = False
    hold_keep: Annotated[float, Between(0, 1)] = 1.0
    max_bad_rows: Annotated[float, Between(0, 1)] = 0.01
    player_key_file: str | None = None


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ParamsError
        With every wrong key, what was found and what is expected.
    """
    return build(Options, dict(entry), WHERE)
