"""The course of a simulated game: when its ticks come and at what price.

A price is drawn from the one before by the game's published rule: one tick in eight is a big move of 15-25 % up or
down, every other one drifts by -2 to +3 % with a noise that grows with the root of the price, and one in 100,000
multiplies it by ten. At each tick the game ends with a chance of 1 in 200: half of all games last 138 ticks or more.

Only `random.Random.random` and exact arithmetic are used, so that a seed gives the same numbers everywhere.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

MS, SECOND = 1_000, 1_000_000  # in µs
COOLDOWN_MS, PRESALE_MS, TIMER_STEP_MS = 15_000, 10_000, 100
_RUG_CHANCE = 0.005
_GOD_CHANCE, _GOD_FACTOR, _GOD_MAX_PRICE = 0.00001, 10.0, 100.0
_BIG_CHANCE, _BIG_LOW, _BIG_HIGH = 0.125, 0.15, 0.25
_DRIFT_LOW, _DRIFT_HIGH = -0.02, 0.03
_NOISE, _MAX_NOISE_ROOT = 0.005, 10.0
_RUG_PRICE_LOW, _RUG_PRICE_HIGH = 0.00033, 0.02  # the latter times the root of a share: its median is 0.0141
_INTERVALS_MS = ((0.0, 90), (0.05, 147), (0.5, 250), (0.95, 334), (0.99, 531), (1.0, 1_200))  # share, quantile
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Game:
    """A game before anybody plays it.

    Attributes
    ----------
    start
        When the cooldown begins, in µs since the epoch.
    prices
        Of the ticks 0 to `terminal_tick`; the last one is the price at the rug.
    times
        When the first frame of each tick is received, in µs since the epoch; the last one is the rug.
    end
        When the second rug frame is received.
    stats
        What frames tell of earlier games.
    history
        Earlier games as in `gameHistory`, the newest first.
    """

    game_id: str
    seed_hash: str
    start: int
    prices: tuple[float, ...]
    times: tuple[int, ...]
    end: int
    stats: dict[str, Any]
    history: tuple[dict[str, Any], ...] = ()

    @property
    def terminal_tick(self) -> int:
        """Tick of the rug."""
        return len(self.prices) - 1

    @property
    def settled(self) -> int:
        """When positions are closed: just before the rug is told."""
        return self.times[-1] - 170 * MS

    def tick_at(self, time: int) -> int:
        """Return the tick that a player sees at a time; 0 before the start."""
        return max(0, bisect_right(self.times, time) - 1)

    def as_history(self) -> dict[str, Any]:
        """Return the game as an entry of `gameHistory`."""
        return history_entry(self.game_id, self.times[-1] // MS, self.prices)


def draw_prices(rng: Random) -> tuple[float, ...]:
    """Return the prices of the ticks 0, 1, ... of a game; the last one is the price at the rug."""
    prices = [1.0]
    while rng.random() >= _RUG_CHANCE:
        prices.append(next_price(prices[-1], rng))
    prices.append(max(_RUG_PRICE_LOW, _RUG_PRICE_HIGH * math.sqrt(rng.random())))
    return tuple(prices)


def next_price(price: float, rng: Random) -> float:
    """Return the price one tick later."""
    if price <= _GOD_MAX_PRICE and rng.random() < _GOD_CHANCE:
        return price * _GOD_FACTOR
    if rng.random() < _BIG_CHANCE:
        size = _uniform(rng, _BIG_LOW, _BIG_HIGH)
        return price * (1 + size if rng.random() > 0.5 else 1 - size)
    noise = _NOISE * min(_MAX_NOISE_ROOT, math.sqrt(price))
    return price * (1 + _uniform(rng, _DRIFT_LOW, _DRIFT_HIGH) + noise * _uniform(rng, -1, 1))


def draw_times(rng: Random, start: int, n_ticks: int) -> tuple[int, ...]:
    """Return when the ticks of a game come whose cooldown begins at `start`, the last one being the rug."""
    times = [start + COOLDOWN_MS * MS + int(80 * MS * rng.random())]
    for _ in range(n_ticks - 2):
        times.append(times[-1] + _interval(rng))
    return (*times, times[-1] + int(_uniform(rng, 380, 480) * MS))


def draw_id(rng: Random, start: int) -> str:
    """Return the id of a game: its date and 16 hexadecimal digits."""
    return f"{moment(start):%Y%m%d}-{rng.getrandbits(64):016x}"


def history_entry(game_id: str, time_ms: int, prices: tuple[float, ...]) -> dict[str, Any]:
    """Return an entry of `gameHistory`."""
    seeds = {"serverSeed": f"{Random(game_id).getrandbits(256):064x}", "serverSeedHash": seed_hash(game_id)}
    return {
        "id": game_id,
        "timestamp": time_ms,
        "prices": list(prices),
        "peakMultiplier": max(prices),
        "rugged": True,
        "globalTrades": [],
        "globalSidebets": [],
        "provablyFair": seeds,
        "gameVersion": "v3",
    }


def seed_hash(game_id: str) -> str:
    """Return what stands for the hash of a game's secret seed: 64 hexadecimal digits."""
    return f"{Random(f'hash {game_id}').getrandbits(256):064x}"


def moment(time: int) -> datetime:
    """Return a time in µs since the epoch as UTC."""
    return _EPOCH + timedelta(microseconds=time)


def _interval(rng: Random) -> int:
    """Return the time between two ticks in µs."""
    share = rng.random()
    low, high = next(pair for pair in pairwise(_INTERVALS_MS) if share <= pair[1][0])
    return int(MS * (low[1] + (high[1] - low[1]) * (share - low[0]) / (high[0] - low[0])))


def _uniform(rng: Random, low: float, high: float) -> float:
    return low + (high - low) * rng.random()
