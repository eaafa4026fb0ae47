"""gameStateUpdate frames of a game in all their shapes, and the gameStatePlayerUpdate that follows each.

- ``minimal``: cooldown and presale, every 100 ms, without `active`, `price` and `tickCount`;
- ``standard``: each tick, the first rug frame, and once when the presale opens;
- ``start``: tick 0, without statistics and rugpool;
- ``full``: the first frame of a game, the second rug frame and, with the whole path, the one on connect; with
  `gameHistory`, without rugpool.

Rug frames have `active` true. The second one comes 0.5-0.8 s after the first, one or two ticks later.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from stages.datasets.rugs.simulate.game import COOLDOWN_MS, MS, PRESALE_MS, TIMER_STEP_MS, Game
from stages.datasets.rugs.simulate.rows import Row, in_time

N_LEADERS = 3  # 10 in reality; it is half of a frame
CANDLE_TICKS = 5
_EARLY_MINIMAL = 0.3  # of games have the frame of 14,900 ms before the full one of 15,000
_N_SHITCOINS = 5


def frames(game: Game, rng: Random) -> list[Row]:
    """Return the frames of a game, each with its gameStatePlayerUpdate, in time."""
    found = in_time([*_waiting(game, rng), *_playing(game, rng)])
    return in_time([*found, *(_player_update(game, row, rng) for row in found)])


def snapshot(game: Game, time: int, tick: int) -> Row:
    """Return the full frame that the server sends on connect: with the whole path, and late."""
    payload = _full(game, _live(game, tick))
    payload.pop("partialPrices")
    payload["prices"] = list(game.prices[: tick + 1])
    return Row(time, "gameStateUpdate", payload, kind="stale")


def _waiting(game: Game, rng: Random) -> Iterator[Row]:
    late = 102 * MS if rng.random() < _EARLY_MINIMAL else 0
    waiting = {"active": False, "price": 1, "rugged": False, "tickCount": 0, "partialPrices": _candle(game, 0)}
    yield _row(game.start + late, _full(game, {**waiting, **_timer(COOLDOWN_MS)}), "full")
    for timer in range(COOLDOWN_MS - TIMER_STEP_MS, 0, -TIMER_STEP_MS):
        time = game.start + (COOLDOWN_MS - timer) * MS + int(20 * MS * rng.random()) * (timer < COOLDOWN_MS - 100)
        if timer == PRESALE_MS:
            yield _row(time - MS, _standard(game, {**waiting, **_timer(timer)}), "waiting")
        yield _row(time, {"gameId": game.game_id, **_timer(timer), **_crowd(game, 0)}, "minimal")


def _playing(game: Game, rng: Random) -> Iterator[Row]:
    yield _row(game.times[0], _start(game), "start", 0)
    for tick in range(1, game.terminal_tick):
        yield _row(game.times[tick], _standard(game, _live(game, tick)), "standard", tick)
    rug = {**_live(game, game.terminal_tick), "rugged": True}
    yield _row(game.times[-1], _standard(game, rug), "rug", game.terminal_tick)
    late = game.terminal_tick + 1 + (rng.random() < 0.45)
    yield _row(game.end, _full(game, {**rug, "tickCount": late}), "rug", late)


def _row(time: int, payload: dict[str, Any], kind: str, tick: int | None = None) -> Row:
    return Row(time, "gameStateUpdate", payload, kind=kind, tick=tick)


def _timer(timer_ms: int) -> dict[str, Any]:
    return {"cooldownTimer": timer_ms, "cooldownPaused": False, "allowPreRoundBuys": 0 < timer_ms <= PRESALE_MS}


def _live(game: Game, tick: int) -> dict[str, Any]:
    price = game.prices[tick] if tick else 1
    state = {"active": True, "price": price, "rugged": False, "tickCount": tick}
    return {**state, **_timer(0), "partialPrices": _candle(game, tick)}


def _candle(game: Game, tick: int) -> dict[str, Any]:
    """Return the prices of the five ticks that a tick belongs to, as far as they are known."""
    start = tick - tick % CANDLE_TICKS
    values = {str(i): game.prices[i] if i else 1 for i in range(start, tick + 1)}
    return {"startTick": start, "endTick": start + CANDLE_TICKS - 1, "values": values}


def _start(game: Game) -> dict[str, Any]:
    crowd = {**_crowd(game, 0), "leaderboard": []}
    return {**_live(game, 0), "pauseMessage": "", "gameId": game.game_id, **crowd, "gameVersion": "v3"}


def _standard(game: Game, state: dict[str, Any]) -> dict[str, Any]:
    royale: dict[str, Any] = {
        "status": "INACTIVE",
        "activeEventId": None,
        "currentEvent": None,
        "upcomingEvents": [],
        "events": [],
    }
    return {
        **state,
        "tradeCount": 80 + state["tickCount"],
        "pauseMessage": "",
        **{name: game.stats[name] for name in ("averageMultiplier", "count2x", "count10x", "count50x", "count100x")},
        "gameId": game.game_id,
        **_crowd(game, state["tickCount"]),
        "rugpool": game.stats["rugpool"],
        "rugRoyale": royale,
    }


def _full(game: Game, state: dict[str, Any]) -> dict[str, Any]:
    standard = _standard(game, state)
    standard.pop("rugpool")
    highest = game.stats["highestToday"]
    return {
        "gameHistory": list(game.history),
        **standard,
        "highestToday": highest,
        "highestTodayTimestamp": game.start // MS,
        "highestTodayPrices": [],
        "godCandle2x": None,
        "godCandle10x": None,
        "godCandle50x": None,
        "availableShitcoins": [{"address": f"0xSim{i}", "ticker": f"SIM{i}"} for i in range(_N_SHITCOINS)],
        "gameVersion": "v3",
    }


def _crowd(game: Game, tick: int) -> dict[str, Any]:
    """Return who is there: the number of players wanders with the game and its ticks."""
    key = int(game.game_id[-6:], 16)
    price = game.prices[min(tick, game.terminal_tick)]
    leaders = [_leader((key + 7 * i) % 40, i, price) for i in range(N_LEADERS)]
    n_players = 170 + key % 60 + (key + tick) // 16 % 15
    fair = {"serverSeedHash": game.seed_hash, "version": "v3"}
    return {"leaderboard": leaders, "connectedPlayers": n_players, "provablyFair": fair}


def _leader(number: int, position: int, price: float) -> dict[str, Any]:
    quantity = 1.5 + number / 64 - position / 4
    pnl = round(quantity * (price - 1), 9)
    return {
        "id": player_id(number),
        "username": f"player{number:02}",
        "level": 20 + number,
        "pnl": pnl,
        "regularPnl": pnl,
        "sidebetPnl": 0,
        "pnlPercent": round(100 * (price - 1), 6),
        "hasActiveTrades": True,
        "positionQty": quantity,
        "avgCost": 1,
        "totalInvested": quantity,
        "position": position + 1,
    }


def player_id(number: int) -> str:
    """Return the id of another player."""
    return f"did:privy:cm0simulated{number:012}"


def _player_update(game: Game, frame: Row, rng: Random) -> Row:
    payload: dict[str, Any] = {"gameId": game.game_id, "rugpool": game.stats["rugpool"]}
    return Row(frame.time + 3 * MS + int(7 * MS * rng.random()), "gameStatePlayerUpdate", payload, kind=frame.kind)
