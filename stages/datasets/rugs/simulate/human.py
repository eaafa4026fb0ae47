"""A scripted human at the buttons, and what the server answers: orders, own trades, playerUpdates, sidebets.

A press is recorded at once. An order that the server takes is executed 70 ms later at the price of that moment; one
that it refuses (no cash, no position, a sidebet running, the game over) has no answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from stages.datasets.rugs.simulate.account import PAYOUT, Account
from stages.datasets.rugs.simulate.game import MS, SECOND, Game, moment
from stages.datasets.rugs.simulate.rows import BUTTON, HERO, HERO_NAME, Row, in_time

SIDEBET_TICKS = 40
STAKE = 0.001
_COIN = "So11111111111111111111111111111111111111112"
_STEPS = {"INC_001": 0.001, "INC_01": 0.01, "INC_10": 0.1, "INC_1": 1.0}
_ACTIONS = ("BUY", "SELL", "SIDEBET")
_REPEATED = 0.3  # of playerUpdates come twice


@dataclass
class Human:
    """What the screen remembers from game to game."""

    account: Account
    bet: float = 0.002
    share: int = 100  # percentage of the position that SELL sells
    sequence_id: str = ""
    position: int = 0
    n_ticks: int = 0  # of earlier games
    last_press: int = 0
    entry_tick: int = 0


def play(game: Game, human: Human, rng: Random, style: str) -> list[Row]:
    """Return what the human does in a game and what comes of it, in time.

    Parameters
    ----------
    game, human, rng
        The game, the human before it (changed), the source of chance.
    style
        ``hold`` buys and does not sell, ``quiet`` does nothing, ``any`` does as chance will.
    """
    human.account.start_game()
    desk = _Desk(game, human, rng)
    for time, button in sorted(_plan(game, rng, style)):
        desk.press(time, button)
    desk.settle()
    human.n_ticks += game.terminal_tick
    return in_time(desk.rows)


def press_row(game: Game, human: Human, time: int, button: str) -> Row:
    """Return the record of a press, as the recorder's interface writes it."""
    tick, account = game.tick_at(time), human.account
    price, is_open = game.prices[tick], time >= game.times[0]
    category = "action" if button in _ACTIONS else "percentage" if button.startswith("SELL_") else "bet_adjust"
    payload = {
        "ts": moment(time).isoformat(timespec="microseconds"),
        "server_ts": None,
        "button_id": button,
        "button_category": category,
        "tick": tick,
        "price": price,
        "game_phase": 2 if is_open else 1,
        "game_id": game.game_id,
        "balance": account.cash,
        "position_qty": account.quantity,
        "bet_amount": human.bet,
        "ticks_since_last_action": max(0, human.n_ticks + tick - human.last_press),
        "sequence_id": human.sequence_id,
        "sequence_position": human.position,
        **dict.fromkeys(("execution_tick", "execution_price", "trade_id")),
        "client_timestamp": time // MS,
        "latency_ms": None,
        "time_in_position": tick - human.entry_tick if account.quantity else 0,
    }
    return Row(time, BUTTON, payload, BUTTON, "press", tick)


def player_update(account: Account, time: int, price: float, kind: str = "") -> Row:
    """Return the private event that tells a player's state."""
    extras: dict[str, Any] = {"hasInteracted": True, "authenticated": True, "sideBet": None, "leveragedPositions": []}
    return Row(time, "playerUpdate", {"id": HERO, "role": None, **account.state(price), **extras}, kind=kind)


def _plan(game: Game, rng: Random, style: str) -> Iterator[tuple[int, str]]:
    """Yield when which button is pressed: a purchase and its sale, a sidebet, and the adjusting in between."""
    if style == "quiet":
        return
    start, luck = game.times[0], rng.random()
    if style == "hold" or luck < 0.75:
        is_early = style == "any" and luck < 0.3
        bought = start - 6 * SECOND if is_early else start + int((2 + 3 * rng.random()) * SECOND)
        yield from _purchase(bought, rng.random() < 0.6 or style == "hold")
        yield from _sales(max(bought, start), rng) if style == "any" else ()
    if rng.random() < 0.6:
        yield start + int((1 + 25 * rng.random()) * SECOND), "SIDEBET"
    for button in ("HALF", "DOUBLE", "SELL_10", "INC_01", "MAX", "INC_1", "INC_10"):
        if rng.random() < 0.08:
            yield start + int(40 * SECOND * rng.random()), button


def _purchase(time: int, is_set: bool) -> Iterator[tuple[int, str]]:
    """Yield a purchase, of a fresh amount if `is_set`."""
    for i, button in enumerate(("CLEAR", "INC_001", "INC_001") if is_set else ()):
        yield time - (900 - 200 * i) * MS, button
    yield time, "BUY"


def _sales(time: int, rng: Random) -> Iterator[tuple[int, str]]:
    """Yield sales of shares of the position after its purchase."""
    time += int((2 + 10 * rng.random()) * SECOND)
    while rng.random() < 0.85:
        yield time - 140 * MS, rng.choice(("SELL_25", "SELL_50", "SELL_100", "SELL_100"))
        yield time, "SELL"
        time += int((1 + 4 * rng.random()) * SECOND)


class _Desk:
    """The human and the server in one game; `rows` grows with what happens."""

    def __init__(self, game: Game, human: Human, rng: Random) -> None:
        self.rows: list[Row] = []
        self._game, self._human, self._account, self._rng = game, human, human.account, rng
        self._sidebet: int | None = None  # tick of the running one

    def press(self, time: int, button: str) -> None:
        """Record a press and have the server answer it."""
        human = self._human
        self._expire(time)
        if button in _ACTIONS:
            human.sequence_id, human.position = _uuid(self._rng), 0
        if time < self._game.end:
            self.rows.append(press_row(self._game, human, time, button))
        human.position += 1
        human.last_press = human.n_ticks + self._game.tick_at(time)
        self._adjust(button)
        if button in _ACTIONS and time + 110 * MS < self._game.settled:
            {"BUY": self._buy, "SELL": self._sell, "SIDEBET": self._bet}[button](time)

    def settle(self) -> None:
        """Pay and close what is open when the game ends."""
        game, account, time = self._game, self._account, self._game.settled
        self._expire(time)
        if self._sidebet is not None:
            payout = account.win(STAKE)
            self._result(time - 20 * MS, payout, "settlement")
            self._update(time - 12 * MS, game.prices[-2], "settlement")
        if account.quantity:
            quantity, proceeds = account.sell(1.0, game.prices[-1])
            self._trade(time, "sell", quantity, proceeds, "settlement")
            self._update(time + 2 * MS, game.prices[-1], "settlement")
        if account.invested:
            self._update(game.times[-1] + 420 * MS, game.prices[-1], "settlement")

    def _adjust(self, button: str) -> None:
        """Change what the screen shows."""
        human = self._human
        if button in _STEPS:
            human.bet = round(human.bet + _STEPS[button], 9)
        elif button.startswith("SELL_"):
            human.share = int(button[5:])
        changed = {"CLEAR": 0.0, "HALF": human.bet / 2, "DOUBLE": 2 * human.bet, "MAX": human.account.cash}
        human.bet = round(changed.get(button, human.bet), 9)

    def _buy(self, time: int) -> None:
        amount = self._human.bet
        if not STAKE <= amount <= self._account.cash:
            return
        self._say(time + 8 * MS, "buyOrder", {"amount": amount})
        done = max(time + 70 * MS, self._game.times[0] - 60 * MS)  # of a presale: just before tick 0
        tick = self._game.tick_at(done)
        if not self._account.quantity:
            self._human.entry_tick = tick
        quantity = self._account.buy(amount, self._game.prices[tick])
        is_presale = done < self._game.times[0]
        self._trade(done + (90 if is_presale else 2) * MS, "buy", quantity, amount)
        self._update(done + (5 if is_presale else 35) * MS, self._game.prices[tick])

    def _sell(self, time: int) -> None:
        share = self._human.share
        done = time + 70 * MS
        if not self._account.quantity or done < self._game.times[0]:
            return
        self._say(time + 8 * MS, "sellOrder", {"percentage": share})
        price = self._game.prices[self._game.tick_at(done)]
        quantity, proceeds = self._account.sell(share / 100, price)
        self._trade(done + 2 * MS, "sell", quantity, proceeds)
        self._update(done + 35 * MS, price)

    def _bet(self, time: int) -> None:
        tick = self._game.tick_at(time + 70 * MS)
        if self._sidebet is not None or self._account.cash < STAKE or time < self._game.times[0]:
            return
        self._sidebet = tick
        self._say(time + 8 * MS, "requestSidebet", {"amount": STAKE, "coinAddress": _COIN, "xPayout": PAYOUT})
        self._account.stake(STAKE)
        self._update(time + 72 * MS, self._game.prices[tick])
        self._say(time + 78 * MS, "currentSidebet", {**self._bet_terms(tick), "type": "placed", "tickIndex": tick})

    def _expire(self, time: int) -> None:
        """Close a sidebet whose ticks are over by a time without the rug."""
        if self._sidebet is None or (end := self._sidebet + SIDEBET_TICKS) >= self._game.terminal_tick:
            return
        over = self._game.times[end] + 20 * MS
        if over <= time:
            self._result(over, 0.0, "")
            self._update(over + 8 * MS, self._game.prices[end])

    def _result(self, time: int, payout: float, kind: str) -> None:
        tick = self._sidebet or 0
        result = {"type": "payout", "payout": payout, "profit": round(payout - STAKE, 9)}
        self._say(time, "currentSidebetResult", {**self._bet_terms(tick), **result}, kind)
        self._sidebet = None

    def _bet_terms(self, tick: int) -> dict[str, Any]:
        terms = {"playerId": HERO, "gameId": self._game.game_id, "betAmount": STAKE, "xPayout": PAYOUT}
        return {**terms, "startTick": tick, "endTick": tick + SIDEBET_TICKS, "price": self._game.prices[tick]}

    def _trade(self, time: int, side: str, quantity: float, amount: float, kind: str = "") -> None:
        tick = self._game.terminal_tick if kind else self._game.tick_at(time)
        payload = {
            "id": _uuid(self._rng),
            "gameId": self._game.game_id,
            "playerId": HERO,
            "username": HERO_NAME,
            "price": self._game.prices[tick],
            "type": side,
            "qty": quantity,
            "amount": amount,
            "tickIndex": tick,
            "coin": "solana",
            "level": 14,
            "bonusPortion": 0,
            "realPortion": amount,
        }
        self._say(time, "standard/newTrade", payload, kind)

    def _update(self, time: int, price: float, kind: str = "") -> None:
        row = player_update(self._account, time, price, kind)
        self.rows.append(row)
        if self._rng.random() < _REPEATED:
            self.rows.append(Row(time + 3 * MS, row.event, row.payload, kind=kind))

    def _say(self, time: int, event: str, payload: dict[str, Any], kind: str = "") -> None:
        self.rows.append(Row(time, event, payload, kind=kind))


def _uuid(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
