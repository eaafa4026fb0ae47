"""A recording session: its games one after another, and the rows that the recorder makes of them.

A session of flavour ``service`` is a recorder beside a human's browser; one of flavour ``converter`` was made of a
capture without a human: its times have an offset, its rows count from 0 and its frames fill the columns of price and
tick.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from stages.datasets.rugs.simulate import defects
from stages.datasets.rugs.simulate.account import Account
from stages.datasets.rugs.simulate.frames import frames
from stages.datasets.rugs.simulate.game import MS, SECOND, Game, draw_id, draw_prices, draw_times, seed_hash
from stages.datasets.rugs.simulate.game import history_entry as entry
from stages.datasets.rugs.simulate.human import Human, play, player_update
from stages.datasets.rugs.simulate.public import public
from stages.datasets.rugs.simulate.rows import HERO, HERO_NAME, Row, in_time

_N_STATS, N_HISTORY = 100, 10
_THRESHOLDS = (2, 10, 50, 100)
_PAUSE = 70 * MS  # from the second rug frame to the next game


@dataclass(frozen=True)
class SessionTask:
    """A session to simulate; `start` in µs since the epoch, `n_services` the number of sessions with a human."""

    index: int
    session_id: str
    is_service: bool
    start: int
    n_games: int
    n_services: int
    seed: int
    has_defects: bool


@dataclass
class Session:
    """What came of it: rows in time, what is true of each game, and how often each defect was planted."""

    rows: list[Row] = field(default_factory=list)
    games: list[dict[str, Any]] = field(default_factory=list)
    defects: Counter[str] = field(default_factory=Counter)


class _Past:
    """The games before: what frames tell of them."""

    def __init__(self, rng: Random, start: int) -> None:
        paths = [draw_prices(rng) for _ in range(_N_STATS)]
        self._peaks = [max(prices) for prices in paths]
        self._highest, self._pool = max(self._peaks), 1.0 + 2 * rng.random()
        times = [start - (50 * (i + 1)) * SECOND for i in range(N_HISTORY)]
        games = zip(times, paths, strict=False)
        self._history = [entry(draw_id(rng, time), time // MS, prices) for time, prices in games]

    def add(self, game: Game) -> None:
        """Make a game one of the past."""
        peak = max(game.prices)
        self._peaks = [*self._peaks[1:], peak]
        self._highest = max(self._highest, peak)
        self._pool += game.terminal_tick / 1024
        self._history = [game.as_history(), *self._history[: N_HISTORY - 1]]

    def told(self) -> dict[str, Any]:
        """Return the statistics and the history of a `Game`."""
        counts = {f"count{n}x": sum(peak >= n for peak in self._peaks) for n in _THRESHOLDS}
        instant = sum(len(game["prices"]) <= 6 for game in self._history)
        pool = {"instarugCount": instant, "threshold": 10, "rugpoolAmount": round(self._pool, 10)}
        mean = float(np.cumsum(self._peaks)[-1]) / _N_STATS  # one by one: `sum` of floats compensates since Python 3.12
        stats = {"averageMultiplier": mean, **counts, "highestToday": self._highest, "rugpool": pool}
        return {"stats": stats, "history": tuple(self._history)}


def simulate(task: SessionTask) -> Session:
    """Return the rows of a session in time, before they are numbered."""
    session, rng = Session(), Random(f"rugs {task.seed} session {task.index}")
    human = Human(Account(round(0.08 + 0.04 * rng.random(), 9)), n_ticks=1)
    hello = human.account.cash
    cuts, presses = _defects_of(task)
    for number, game in enumerate(_games(task, rng)):
        cut = _next_cut(cuts, game, number, task.n_games)
        rows = [*frames(game, rng), *public(game, rng)]
        if task.is_service:
            rows += play(game, human, rng, cut.style if cut else "any")
        if task.is_service and number == 0:
            rows += _rarities(game, human)
        if cut:
            rows = cut.apply(rows, game, human)
        names = [cut.name] if cut else []
        if presses and (cut is None or cut.place is None):
            names.append(presses.pop(0))
            rows += defects.odd_presses(names[-1], game, human)
        session.rows += rows
        session.defects.update(names)
        session.games.append(_true_of(task, game, names))
    session.rows = in_time(session.rows)
    if task.is_service:
        session.rows = [*_hello(hello, session.rows[0].time), *session.rows]
    if task.has_defects:
        _spoil(session, rng)
    return session


def _defects_of(task: SessionTask) -> tuple[list[defects.Cut], list[str]]:
    """Return the cuts and the odd presses of a session: services deal all of them out among themselves."""
    if not (task.is_service and task.has_defects):
        return [], []
    cuts = defects.CUTS[task.index :: task.n_services]
    presses = list(defects.PRESSES)[task.index :: task.n_services]
    return list(cuts), presses


def _games(task: SessionTask, rng: Random) -> Iterator[Game]:
    """Yield the games of a session."""
    start, past = task.start, _Past(rng, task.start)
    for _ in range(task.n_games):
        prices, game_id = draw_prices(rng), draw_id(rng, start)
        times = draw_times(rng, start, len(prices))
        end = times[-1] + int((500 + 300 * rng.random()) * MS)
        told = past.told()
        game = Game(game_id, seed_hash(game_id), start, prices, times, end, told["stats"], told["history"])
        yield game
        past.add(game)
        start = game.end + _PAUSE


def _next_cut(cuts: list[defects.Cut], game: Game, number: int, n_games: int) -> defects.Cut | None:
    """Take the first of `cuts` that suits the game."""
    places = {None, 0 if number == 0 else None, -1 if number == n_games - 1 else None}
    fitting = [cut for cut in cuts if cut.min_ticks <= game.terminal_tick and cut.place in places]
    chosen = next((cut for cut in fitting if cut.place is not None), fitting[0] if fitting else None)
    if chosen:
        cuts.remove(chosen)
    return chosen


def _true_of(task: SessionTask, game: Game, names: list[str]) -> dict[str, Any]:
    return {
        "game_id": game.game_id,
        "session_id": task.session_id,
        "terminal_tick": game.terminal_tick,
        "rug_price": game.prices[-1],
        "defects": names,
    }


def _hello(cash: float, time: int) -> list[Row]:
    """Return what the server tells a player who connects, just before the first other row."""
    name = {"id": HERO, "hasUsername": True, "username": HERO_NAME}
    rank = {"success": True, "period": "7d", "playerFound": True, "rank": 1164, "total": 2595}
    return [
        Row(time - 300 * MS, "usernameStatus", name),
        Row(time - 297 * MS, "playerLeaderboardPosition", rank),
        player_update(Account(cash), time - 260 * MS, 1.0),
    ]


def _rarities(game: Game, human: Human) -> list[Row]:
    """Return a row of each kind of document that the recorder hardly ever writes."""
    tick = game.terminal_tick // 2
    time, price = game.times[tick] + 20 * MS, game.prices[tick]
    state = {name: human.account.state(price)[name] for name in ("cash", "positionQty", "avgCost")}
    action = {"gameId": game.game_id, "playerId": HERO, "amount": human.bet}
    return [
        Row(time, "state", state, "server_state"),
        Row(time, "tick", {"tick": tick, "price": price, "gameId": game.game_id}, "game_tick"),
        Row(time, "buy", action, "player_action"),
    ]


def _spoil(session: Session, rng: Random) -> None:
    """Plant the defects of payloads and broadcasts."""
    rows, counts = defects.odd_payloads(session.rows, rng)
    rows, n_repeated = defects.repeated(rows, rng)
    session.rows = in_time(rows)
    session.defects.update({**counts, "repeated_broadcast": n_repeated})
