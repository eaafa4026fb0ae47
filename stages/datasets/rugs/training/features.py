"""Groups of the 36 features, and those that a policy should see.

A policy that learns from a human's presses must not see traces of the last press. With them it learns to repeat or to
follow up what the human just did, scores well on recorded games, and fails when it plays itself: its inputs are then
traces of its own actions. `MODEL_FEATURES` leaves out

- `identity`: the hash of the game id, by which a network can learn games by heart;
- `trace`: when the last press was, the amount typed in for it, the last own trade and how long it took.

What remains (`market`, `statistics`, `rugpool`, `player`, `derived`) is the state of the game and of the account, which
also a policy's own actions lead to. ::

    observations = select(batch["observations"])          # (B, 29)

Features of `CONSTANT` never vary, since only frames in play are steps; they vary where a policy also acts in cooldown
and presale. They stay in the default mask: standardised they are 0 and harmless. `constant` measures them.

References
----------
P. de Haan, D. Jayaraman, S. Levine: Causal Confusion in Imitation Learning, NeurIPS 2019, arXiv:1905.11979.
C. Wen et al.: Fighting Copycat Agents in Behavioral Cloning from Observation Histories, NeurIPS 2020, arXiv:2010.14876.
"""

from typing import Final

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.rugs.schema import FEATURE_COUNT, FEATURE_NAMES

GROUPS: Final = {
    "market": (
        "tick", "price", "game_phase", "cooldown_timer_ms", "allow_pre_round_buys", "active", "rugged",
        "connected_players",
    ),
    "statistics": ("average_multiplier", "count_2x", "count_10x", "count_50x", "count_100x", "highest_today"),
    "rugpool": ("rugpool_amount", "rugpool_threshold", "instarug_count"),
    "player": ("balance", "position_qty", "avg_entry_price", "cumulative_pnl", "total_invested"),
    "derived": (
        "price_velocity", "price_acceleration", "unrealized_pnl", "position_pnl_pct", "rugpool_ratio",
        "balance_at_risk_pct", "time_in_position",
    ),
    "identity": ("game_id",),
    "trace": (
        "ticks_since_last_action", "bet_amount", "execution_tick", "execution_price", "client_timestamp", "latency_ms",
    ),
}  # fmt: skip
SHORTCUTS: Final = ("identity", "trace")
CONSTANT: Final = ("cooldown_timer_ms", "allow_pre_round_buys", "active")


def mask(*groups: str) -> np.ndarray:
    """Return which features some groups hold, bool (36,).

    Raises
    ------
    ExpectedError
        When there is no such group.
    """
    for group in groups:
        if group not in GROUPS:
            raise ExpectedError(f"features: no group {group!r}, expected some of {', '.join(GROUPS)}; correct it")
    chosen = {name for group in groups for name in GROUPS[group]}
    return np.array([name in chosen for name in FEATURE_NAMES])


MODEL_FEATURES: Final = ~mask(*SHORTCUTS)
MODEL_FEATURES.flags.writeable = False


def names(chosen: np.ndarray = MODEL_FEATURES) -> tuple[str, ...]:
    """Return the names of the features in a mask, in order."""
    return tuple(name for name, is_in in zip(FEATURE_NAMES, chosen, strict=True) if is_in)


def select(observations: np.ndarray, chosen: np.ndarray = MODEL_FEATURES) -> np.ndarray:
    """Return the columns of a mask.

    Parameters
    ----------
    observations
        (..., 36).
    chosen
        bool (36,).

    Returns
    -------
    ndarray
        (..., number of features in the mask), of the same dtype.
    """
    if observations.shape[-1] != FEATURE_COUNT:
        raise ExpectedError(f"features: {observations.shape[-1]} columns, expected {FEATURE_COUNT}; select only once")
    return observations[..., chosen]


def constant(observations: np.ndarray) -> tuple[str, ...]:
    """Return the names of the features that are the same in all rows of observations (S, 36)."""
    return names((observations == observations[:1]).all(axis=0))
