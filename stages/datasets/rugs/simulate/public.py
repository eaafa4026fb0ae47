"""What else the feed tells during a game: trades of other players, chat, pings."""

from collections.abc import Iterator
from random import Random

from stages.datasets.rugs.simulate.frames import player_id
from stages.datasets.rugs.simulate.game import MS, SECOND, Game
from stages.datasets.rugs.simulate.rows import Row

_TRADES_A_TICK = 0.11
_MAX_LAG = 8  # ticks
_TRACED = 0.1  # of trades are [trace, payload]
_CHATTER = ("newChatMessage",) * 8 + ("goldenHourUpdate",) * 3 + ("newSideBet", "battleEventUpdate")
_TYPES = ("buy",) * 9 + ("sell",) * 9 + ("short_open", "short_close")


def public(game: Game, rng: Random) -> list[Row]:
    """Return the rows of everybody's events of a game, in any order."""
    return [*_trades(game, rng), *_chatter(game, rng), *_pings(game, rng)]


def traced(payload: dict[str, object], rng: Random) -> list[dict[str, object]]:
    """Return a payload as captures made with another client have it: after a dict of its trace."""
    return [{"__trace": True, "traceparent": f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01"}, payload]


def _trades(game: Game, rng: Random) -> Iterator[Row]:
    for tick in range(game.terminal_tick):
        if rng.random() < _TRADES_A_TICK:
            time = game.times[tick] + int(120 * MS * rng.random())
            payload = _trade(game, max(0, tick - int((_MAX_LAG + 1) * rng.random())), rng)
            yield Row(time, "standard/newTrade", traced(payload, rng) if rng.random() < _TRACED else payload)


def _trade(game: Game, tick: int, rng: Random) -> dict[str, object]:
    number, side = int(40 * rng.random()), rng.choice(_TYPES)
    quantity = 0 if side.startswith("short") else round(0.01 + rng.random(), 9)
    amount = round((quantity or 0.1) * game.prices[tick], 9)
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "gameId": game.game_id,
        "playerId": player_id(number),
        "username": f"player{number:02}" if number % 8 else None,
        "price": game.prices[tick],
        "type": side,
        "qty": quantity,
        "amount": amount,
        "tickIndex": tick,
        "coin": "solana",
        "level": 20 + number,
        "bonusPortion": 0,
        "realPortion": amount,
    }


def _chatter(game: Game, rng: Random) -> Iterator[Row]:
    time = game.start + int(3 * SECOND * rng.random())
    while time < game.end:
        payload = {"message": "gl", "timestamp": time // MS, "username": f"player{int(40 * rng.random()):02}"}
        event = rng.choice(_CHATTER)
        yield Row(time, event, [{"__trace": True}, payload] if event in _CHATTER[:9] else payload)
        time += int(5 * SECOND * rng.random())


def _pings(game: Game, rng: Random) -> Iterator[Row]:
    time = game.start + int(SECOND * rng.random())
    while time < game.end:
        yield Row(time, "ping", None if rng.random() < 0.02 else {"lastPing": round(180 + 40 * rng.random(), 1)})
        time += int((1 + 0.2 * rng.random()) * SECOND)
