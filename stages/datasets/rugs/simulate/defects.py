"""What goes wrong in a capture: games cut short, odd presses, odd payloads.

Each defect has a name under which it is counted. A cut takes a game, at most one of each in a session:

- ``joined_late``: the recorder starts in mid-game and gets a snapshot of the tick before the newest;
- ``lost_ticks``, ``no_tick_0``, ``no_rug_frames``: these frames are missing, with presses on lost ticks;
- ``hole``: nothing is recorded for a while but a press in the middle of it;
- ``late_liquidation``: what is paid at the rug comes after the rug frame; ``late_settlement``: in the next cooldown;
- ``lost_settlement``: it never comes; ``stopped``: the recorder stops in mid-game.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from stages.datasets.rugs.simulate.frames import snapshot
from stages.datasets.rugs.simulate.game import MS, SECOND, Game
from stages.datasets.rugs.simulate.human import Human, press_row
from stages.datasets.rugs.simulate.rows import Row

Rows = list[Row]


@dataclass(frozen=True)
class Cut:
    """What happens to a game of at least `min_ticks` ticks that the human plays in this style."""

    name: str
    apply: Callable[[Rows, Game, Human], Rows]
    min_ticks: int = 20
    style: str = "any"
    place: int | None = None  # 0 is for the first game of a session only, -1 for the last one


def _join(rows: Rows, game: Game, human: Human) -> Rows:
    del human
    tick = game.terminal_tick // 3
    return [*(row for row in rows if row.time >= game.times[tick]), snapshot(game, game.times[tick] + 5 * MS, tick - 1)]


def _lose_ticks(rows: Rows, game: Game, human: Human) -> Rows:
    first, second = game.terminal_tick // 4, game.terminal_tick // 2
    lost = {first, first + 1, second, second + 1, second + 2}
    presses = [
        _press(game, human, t, b) for t, b in ((first, "SIDEBET"), (second + 1, "SIDEBET"), (second + 2, "SELL"))
    ]
    return [*_without(rows, lost), *presses]


def _lose_start(rows: Rows, game: Game, human: Human) -> Rows:
    del game, human
    return [row for row in rows if row.kind != "start"]


def _lose_rug(rows: Rows, game: Game, human: Human) -> Rows:
    del game, human
    return [row for row in rows if row.kind != "rug"]


def _pause(rows: Rows, game: Game, human: Human) -> Rows:
    first, end = game.terminal_tick // 2, game.terminal_tick * 3 // 4
    kept = [row for row in rows if not game.times[first] <= row.time < game.times[end]]
    return [*kept, _press(game, human, (first + end) // 2, "BUY")]


def _late(delay: int) -> Callable[[Rows, Game, Human], Rows]:
    def apply(rows: Rows, game: Game, human: Human) -> Rows:
        del human
        since = game.times[-1] - game.settled + delay
        kept = [row for row in rows if row.kind == "settlement" or not _is_after(row, game)]
        return [replace(row, time=row.time + since) if row.kind == "settlement" else row for row in kept]

    return apply


def _lose_settlement(rows: Rows, game: Game, human: Human) -> Rows:
    del human
    return [row for row in rows if row.kind != "settlement" and not _is_after(row, game)]


def _stop(rows: Rows, game: Game, human: Human) -> Rows:
    del human
    return [row for row in rows if row.time <= game.times[game.terminal_tick * 2 // 3]]


# In this order they are dealt to the sessions in turn, so that two sessions of 6 and 4 games have room for all.
CUTS = (
    Cut("joined_late", _join, style="quiet", place=0),
    Cut("no_rug_frames", _lose_rug, 5),
    Cut("lost_ticks", _lose_ticks, 30),
    Cut("no_tick_0", _lose_start, 5),
    Cut("hole", _pause, 40),
    Cut("late_settlement", _late(900 * MS), 30, style="hold"),
    Cut("late_liquidation", _late(60 * MS), 30, style="hold"),
    Cut("stopped", _stop, place=-1),
    Cut("lost_settlement", _lose_settlement, 30, style="hold"),
)

# Presses of no consequence: where in the game, which button, and what is odd about its record.
PRESSES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "press_in_cooldown": ("cooldown", "BUY", {"tick": 87}),
    "press_without_tick": ("play", "SELL", {"tick": None}),
    "press_unknown_game": ("play", "SIDEBET", {"game_id": "unknown"}),
    "press_null_game": ("play", "SIDEBET", {"game_id": None}),
    "press_after_rug": ("rug", "SELL", {}),
    "press_same_tick": ("play", "BUY", {}),  # and a SIDEBET
}


def odd_presses(name: str, game: Game, human: Human) -> Rows:
    """Return the presses of a defect of `PRESSES`."""
    where, button, changes = PRESSES[name]
    middle = game.times[max(0, game.terminal_tick // 2 - 1)] + 60 * MS
    time = {"cooldown": game.start + 3 * SECOND, "play": middle, "rug": game.times[-1] + 200 * MS}[where]
    row = press_row(game, human, time, button)
    rows = [replace(row, payload={**row.payload, **changes})]
    return [*rows, press_row(game, human, time + 15 * MS, "SIDEBET")] if name == "press_same_tick" else rows


# How a payload is odd, and in which share of the standard frames.
_STATS = ("averageMultiplier", "count2x", "count10x", "count50x", "count100x")
PAYLOADS: dict[str, tuple[float, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "rugpool_missing": (0.005, lambda p: {k: v for k, v in p.items() if k != "rugpool"}),
    "stats_null": (0.0025, lambda p: {**p, **dict.fromkeys(_STATS)}),
    "nan_token": (0.001, lambda p: {**p, "averageMultiplier": float("nan")}),
    "price_missing": (0.0015, lambda p: {k: v for k, v in p.items() if k != "price"}),
    "number_as_text": (
        0.001,
        lambda p: {**p, "price": str(p["price"]), "connectedPlayers": str(p["connectedPlayers"])},
    ),
}
_NO_PNL, _REPEATED = 0.05, 0.015


def odd_payloads(rows: Rows, rng: Random) -> tuple[Rows, dict[str, int]]:
    """Return rows with odd payloads of frames and playerUpdates, and how many of each."""
    frames = [i for i, row in enumerate(rows) if row.kind == "standard" and row.event == "gameStateUpdate"]
    updates = [i for i, row in enumerate(rows) if row.event == "playerUpdate"][1:]  # the first one carries cash in
    result, counts, left = list(rows), {}, _shuffled(frames, rng)
    for name, (share, change) in PAYLOADS.items():
        chosen, left = _take(left, max(1, round(share * len(frames))))
        counts[name] = len(chosen)
        for i in chosen:
            result[i] = replace(rows[i], payload=change(rows[i].payload))
    chosen, _ = _take(_shuffled(updates, rng), round(_NO_PNL * len(updates)))
    for i in chosen:
        result[i] = replace(rows[i], payload={k: v for k, v in rows[i].payload.items() if k != "cumulativePnL"})
    return result, {**counts, "no_cumulative_pnl": len(chosen)}


def repeated(rows: Rows, rng: Random) -> tuple[Rows, int]:
    """Return rows of which some frames are broadcast twice, a few ms apart, and how many."""
    again = [
        replace(row, time=row.time + MS + int(5 * MS * rng.random()))
        for row in rows
        if row.event == "gameStateUpdate" and row.kind != "full" and rng.random() < _REPEATED
    ]
    return [*rows, *again], len(again)


def _is_after(row: Row, game: Game) -> bool:
    """Return whether a row is the playerUpdate that repeats the settled state after the rug."""
    return row.event == "playerUpdate" and row.time > game.times[-1]


def _press(game: Game, human: Human, tick: int, button: str) -> Row:
    return press_row(game, human, game.times[tick] + 40 * MS, button)


def _without(rows: Rows, ticks: set[int]) -> Rows:
    return [row for row in rows if row.event != "gameStateUpdate" or row.tick not in ticks]


def _shuffled(items: Sequence[int], rng: Random) -> list[int]:
    return rng.sample(items, len(items))


def _take(items: list[int], n: int) -> tuple[list[int], list[int]]:
    return items[:n], items[n:]
