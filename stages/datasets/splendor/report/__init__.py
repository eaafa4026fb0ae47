"""Splendor's own figures: how long games are, and what players do in each round."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.core.part_files import PARTS
from stages.datasets.splendor.schema import ACTION_TYPES, PLAYER_COUNTS
from stages.processed import Processed
from stages.report.figure import Figure, quantity

MIN_MOVES = 30


def figures(processed_dir: Path) -> list[Figure]:
    """Return the figures; they need the keys and one label, no feature array."""
    data = Processed(processed_dir)
    keys = [data.keys(part, ("group_id", "unit", "turn_number")) for part in PARTS]
    joined = {name: np.concatenate([part[name] for part in keys]) for name in keys[0]}
    actions = [data.labels(part, ["action_type"])["action_type"] for part in PARTS]
    return [game_lengths(joined, data.units()), moves_by_round(joined["turn_number"], np.concatenate(actions))]


def game_lengths(keys: dict[str, np.ndarray], units: Sequence[str]) -> Figure:
    """Draw how many rounds games of two, three and four players last."""
    _, first, group = np.unique(keys["group_id"], return_index=True, return_inverse=True)
    rounds = np.zeros(len(first), np.int64)
    np.maximum.at(rounds, group, keys["turn_number"])
    players = np.array([int(name[0]) for name in units])[keys["unit"][first]]
    rows, means = [], []
    for count in PLAYER_COUNTS:
        own = rounds[players == count]
        if len(own):
            means.append(f"{own.mean():.1f} rounds with {count} players")
            seen, games = np.unique(own, return_counts=True)
            cells = zip(seen.tolist(), (games / len(own)).tolist(), games.tolist(), strict=True)
            rows += [
                {"rounds": r, "share": round(s, 4), "games": n, "players": f"{count} players"} for r, s, n in cells
            ]
    encoding = {
        "x": quantity("rounds", "rounds of a game", scale={"zero": False}),
        "y": quantity("share", "share of games", axis={"format": "%"}),
        "color": {"field": "players", "type": "nominal"},
        "tooltip": [{"field": name} for name in ("players", "rounds", "games")],
    }
    mark = {"type": "line", "point": {"size": 25}}
    spec = {"data": {"values": rows}, "height": 220, "mark": mark, "encoding": encoding}
    return Figure(
        "Length of games",
        "Share of the games of each number of players that end in a round; all parts together.",
        spec,
        f"On average {', '.join(means)}.",
    )


def moves_by_round(turn_number: np.ndarray, action: np.ndarray) -> Figure:
    """Draw the share of each kind of move by round, up to the last round with enough moves."""
    table = np.zeros((int(turn_number.max()) + 1, len(ACTION_TYPES)), np.int64)
    np.add.at(table, (turn_number[action >= 0], action[action >= 0]), 1)
    totals = table.sum(axis=1)
    rows = [
        {"round": round_, "move": name, "share": round(table[round_, i] / totals[round_], 4)}
        for round_ in np.flatnonzero(totals >= min(MIN_MOVES, totals.max())).tolist()
        for i, name in enumerate(ACTION_TYPES)
    ]
    encoding = {
        "x": quantity("round", "round", scale={"nice": False, "zero": False}),
        "y": quantity("share", "share of moves", axis={"format": "%"}, scale={"domain": [0, 1]}),
        "color": {"field": "move", "type": "nominal"},
        "tooltip": [{"field": name} for name in ("round", "move", "share")],
    }
    overall = ", ".join(f"{n} {100 * s:.1f}%" for n, s in zip(ACTION_TYPES, table.sum(0) / totals.sum(), strict=True))
    return Figure(
        "Moves by round",
        f"Share of each kind of move in a round; rounds with fewer than {MIN_MOVES} moves are left out.",
        {"data": {"values": rows}, "height": 220, "mark": "area", "encoding": encoding},
        f"Over all rounds: {overall}.",
    )
