"""The formulas of single numbers.

Every function is pure and takes float64 arrays of one shape. What is missing is NaN, and every comparison with NaN is
false. Undefined ratios are 0.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from stages.datasets.rugs.schema import Options

COOLDOWN, PRESALE, ACTIVE, RUGGED = range(4)  # phases
DEFAULT_PRICE = 1.0  # the price at tick 0; every other number begins at 0
MIN_BET = 0.001  # SOL, the least that can be bet
SIDEBET_TICKS = 40  # how long a sidebet runs
MAX_LATENCY_MS = 3000  # an own trade answers a press at most so old
FLOAT32_MAX = float(np.finfo(np.float32).max)


def game_hash(game_id: str) -> float:
    """Return the feature `game_id`: the first 24 bits of a SHA-256, in [0, 1) and exact in float32; 0 for no id.

    Examples
    --------
    >>> game_hash("20251228-aaaaaaaaaaaaaaaa") * 2**24
    10045215.0
    """
    return int(hashlib.sha256(game_id.encode()).hexdigest()[:6], 16) / 2**24 if game_id else 0.0


def is_tick(tick: np.ndarray) -> np.ndarray:
    """Tell whether a number is a tick: whole, from 0, below 2**31."""
    return (tick >= 0) & (tick < 2**31) & (tick == np.floor(tick))


def is_waiting(timer: np.ndarray, active: np.ndarray, rugged: np.ndarray) -> np.ndarray:
    """Tell whether a frame waits for the round: a running timer, or explicitly not active and not rugged."""
    return (timer > 0) | ((active == 0) & (rugged != 1))


def is_settling(timer: np.ndarray, presale: np.ndarray) -> np.ndarray:
    """Tell whether a frame is of the cooldown before presale, when the last round's position is no more."""
    return (timer > 0) & (presale == 0)


def phase(flags: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], rule: str) -> np.ndarray:
    """Return the phase 0..3 of the state (timer, presale, active, rugged).

    `evidence`: the booleans, rugged first. `design`: the recorder's own rule, which needs a rug that is not active and
    a presale without timer; neither was seen in real frames.
    """
    timer, presale, active, rugged = flags
    if rule == "design":
        is_active = active == 1
        cases = [timer > 0, (rugged == 1) & ~is_active, (presale == 1) & ~is_active, is_active]
        return np.select(cases, [COOLDOWN, RUGGED, PRESALE, ACTIVE], COOLDOWN).astype(float)
    cases = [rugged == 1, active == 1, presale == 1]
    return np.select(cases, [RUGGED, ACTIVE, PRESALE], COOLDOWN).astype(float)


def slope(value: np.ndarray, value_before: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """Return the change of a value for each of the `ticks` that it took, at least 1: velocity, acceleration."""
    return (value - value_before) / np.maximum(1.0, ticks)


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return a quotient, and 0 where the divisor is not above 0."""
    is_positive = below > 0
    return np.where(is_positive, above / np.where(is_positive, below, 1.0), 0.0)


def unrealized_pnl(price: np.ndarray, quantity: np.ndarray, average: np.ndarray) -> np.ndarray:
    """Return what a position has gained (SOL), 0 without one."""
    return np.where(_is_open(quantity, average), (price - average) * quantity, 0.0)


def position_pnl_pct(price: np.ndarray, quantity: np.ndarray, average: np.ndarray) -> np.ndarray:
    """Return what a position has gained as a fraction of its average price, 0 without one."""
    return np.where(_is_open(quantity, average), ratio(price - average, average), 0.0)


def balance_at_risk_pct(balance: np.ndarray, quantity: np.ndarray, price: np.ndarray, numerator: str) -> np.ndarray:
    """Return the position over the equity: its tokens (`qty`, the recorder's design) or their `value` in SOL."""
    value = quantity * price
    return ratio(value if numerator == "value" else quantity, balance + value)


def time_in_position(tick: np.ndarray, entry_tick: np.ndarray, quantity: np.ndarray) -> np.ndarray:
    """Return the ticks since the position was opened, 0 without one."""
    return np.where(quantity > 0, tick - entry_tick, 0.0)


def equity(balance: np.ndarray, quantity: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Return what the player owns (SOL)."""
    return balance + quantity * price


def derived(features: Mapping[str, np.ndarray], options: Options) -> dict[str, np.ndarray]:
    """Return the features that follow from others of the same step, by name.

    Parameters
    ----------
    features
        float64 (N,), by the names of `schema.FEATURE_NAMES`; `entry_tick` is the tick at which the position
        was opened.
    options
        Of these `phase_rule` and `risk_numerator`.
    """
    price, quantity, average = features["price"], features["position_qty"], features["avg_entry_price"]
    timer, presale = features["cooldown_timer_ms"], features["allow_pre_round_buys"]
    flags = (timer, presale, features["active"], features["rugged"])
    return {
        "game_phase": phase(flags, options.phase_rule),
        "unrealized_pnl": unrealized_pnl(price, quantity, average),
        "position_pnl_pct": position_pnl_pct(price, quantity, average),
        "rugpool_ratio": ratio(features["rugpool_amount"], features["rugpool_threshold"]),
        "balance_at_risk_pct": balance_at_risk_pct(features["balance"], quantity, price, options.risk_numerator),
        "time_in_position": time_in_position(features["tick"], features["entry_tick"], quantity),
    }


def float32(values: np.ndarray) -> np.ndarray:
    """Return numbers as they are stored: float32, what is beyond its range at its ends, no NaN."""
    finite = np.nan_to_num(values, nan=0.0, posinf=FLOAT32_MAX, neginf=-FLOAT32_MAX)
    return np.clip(finite, -FLOAT32_MAX, FLOAT32_MAX).astype(np.float32)


def _is_open(quantity: np.ndarray, average: np.ndarray) -> np.ndarray:
    return (quantity > 0) & (average > 0)
