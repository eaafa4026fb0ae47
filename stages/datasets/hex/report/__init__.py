"""Figures of Hex: how games end and begin, which cells are played, some positions, and what was left out.

In: the processed arrays, and merge's report for duplicates and refused lines; without it these two are not drawn.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.hex.report import board
from stages.datasets.hex.report.tally import Position, Tally, count, positions_of_a_game
from stages.datasets.hex.schema import CELL_NAMES, PLAYERS
from stages.report.figure import Figure, findings, kind, merge_report, quantity, short_names

STEP = (
    4  # moves in a bar of the histogram; even, since blue wins after an odd number of moves and red after an even one
)
MIN_GAMES = 10  # with an opening, for its share of wins to be drawn on the board
MAX_BARS = 20
ROOM = {"padding": 12}  # for a legend's first number, which is wider than its end of the bar
WINNER = kind("winner", scale=board.VERSUS)


def figures(processed_dir: Path) -> list[Figure]:
    """Return the figures for which there is something to draw."""
    tally = count(processed_dir)
    drawn = [lengths(tally)]
    if tally.openings.any():
        drawn += [openings(tally), opening_intervals(tally)]
    drawn += [moves(tally, player) for player in (0, 1) if tally.moves[player].any()]
    drawn += [position(found) for found in positions_of_a_game(processed_dir)]
    report = merge_report(processed_dir.name)
    if report.get("duplicates", {}).get("by_unit"):
        drawn.append(duplicates(tally, report["duplicates"]["by_unit"]))
    if report.get("findings", {}).get("by_reason"):
        drawn.append(refused(report["findings"]["by_reason"]))
    return drawn


def lengths(tally: Tally) -> Figure:
    """Draw how many moves games have, by winner."""
    n_moves = np.arange(len(tally.lengths))
    rows = [
        {"from": start, "to": start + STEP, "winner": name, "games": games}
        for start in range(0, len(n_moves), STEP)
        for name, games in zip(PLAYERS, tally.lengths[start : start + STEP].sum(axis=0).tolist(), strict=True)
        if games
    ]
    games, by_winner = int(tally.lengths.sum()), tally.lengths.sum(axis=0)
    seen = np.repeat(n_moves, tally.lengths.sum(axis=1))
    encoding = {
        "x": quantity("from", "moves of a game", bin={"binned": True, "step": STEP}),
        "x2": {"field": "to"},
        "y": quantity("games", "games"),
        "color": WINNER,
        "tooltip": [{"field": name} for name in ("winner", "from", "to", "games")],
    }
    low, high = _interval(int(by_winner[0]), games)
    return Figure(
        "Length of games",
        f"Games by their number of moves, {STEP} numbers in a bar (the first one included, the last one not), and by "
        "winner, one above the other; all parts together, duplicates left out.",
        {"data": {"values": rows}, "height": 220, "mark": "bar", "encoding": encoding},
        f"{games:,} games of {seen.min()} to {seen.max()} moves, {seen.mean():.1f} on average. Blue wins "
        f"{by_winner[0]:,}, or {by_winner[0] / games:.1%} (95% interval {low:.1%} to {high:.1%}).",
    )


def _opening_rows(tally: Tally) -> list[dict[str, Any]]:
    """Return a row for each first move that was played, the most frequent first."""
    totals = tally.openings.sum(axis=1)
    rows = []
    for cell in np.argsort(-totals, kind="stable").tolist():
        games, wins = int(totals[cell]), int(tally.openings[cell, 0])
        if games:
            low, high = (round(bound, 4) for bound in _interval(wins, games))
            share = round(wins / games, 4)
            rows.append({"cell": CELL_NAMES[cell], "games": games, "blue": share, "low": low, "high": high})
    return rows


def openings(tally: Tally) -> Figure:
    """Draw blue's share of wins on the cell of the first move."""
    rows = _opening_rows(tally)
    least = min(MIN_GAMES, rows[0]["games"])
    shown = [row for row in rows if row["games"] >= least]
    reach = max(0.1, *(abs(row["blue"] - 0.5) for row in shown))
    scale = {"domain": [0.5 - reach, 0.5, 0.5 + reach], "range": "balance"}
    colour = quantity("blue", "blue wins", scale=scale, legend={"format": ".0%", **ROOM})
    tooltip = [{"field": "cell"}, {"field": "games"}, *(quantity(n, n, format=".1%") for n in ("blue", "low", "high"))]
    layer = {"mark": {"type": "geoshape", "style": "edged"}, "encoding": {"color": colour, "tooltip": tooltip}}
    few = f" {len(rows) - len(shown)} cells with fewer are left empty." if len(shown) < len(rows) else ""
    best, worst = (choose(shown, key=lambda row: row["blue"]) for choose in (max, min))
    return Figure(
        "Blue's wins by opening",
        f"Share of games that blue wins, on the cell of its first move, with at least {least} games.{few}",
        board.spec(shown, [layer]),
        f"Of {len(shown)} openings, blue wins most often with {best['cell']} ({best['blue']:.1%} of "
        f"{best['games']:,} games) and least often with {worst['cell']} ({worst['blue']:.1%} of "
        f"{worst['games']:,}).",
    )


def opening_intervals(tally: Tally) -> Figure:
    """Draw blue's share of wins with each of the most frequent openings, and how sure that is."""
    rows = _opening_rows(tally)
    shown = sorted(rows[:MAX_BARS], key=lambda row: -row["blue"])
    tooltip = [{"field": "cell"}, {"field": "games"}, *(quantity(n, n, format=".1%") for n in ("blue", "low", "high"))]
    x = {"axis": {"format": ".0%"}, "scale": {"domain": [0, 1]}}
    reach = {"x": quantity("low", "games that blue wins", **x), "x2": {"field": "high"}}
    dot = {"x": quantity("blue", "games that blue wins", **x)}
    unsure = sum(row["low"] <= 0.5 <= row["high"] for row in shown)
    return Figure(
        "How sure that is",
        f"Blue's share of wins (dot) with each of the {len(shown)} most frequent of {len(rows)} openings, with the 95% "
        "interval after Wilson (line): it counts games as independent, which self-play of one model is not.",
        {
            "data": {"values": shown},
            "height": 20 * len(shown),
            "encoding": {"y": kind("cell"), "tooltip": tooltip},
            "layer": [
                {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": reach},
                {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": dot},
            ],
        },
        f"The interval includes one half for {unsure} of {len(shown)} openings.",
    )


def moves(tally: Tally, player: int) -> Figure:
    """Draw how often a player moves to each cell."""
    counts, name = tally.moves[player], PLAYERS[player]
    total, order = int(counts.sum()), np.argsort(-counts, kind="stable")
    rows = [
        {"cell": CELL_NAMES[cell], "moves": int(counts[cell]), "share": round(int(counts[cell]) / total, 5)}
        for cell in order.tolist()
        if counts[cell]
    ]
    tooltip = [{"field": "cell"}, {"field": "moves"}, quantity("share", "share", format=".2%")]
    colour = quantity("moves", "moves", scale={"range": "heatmap", "zero": True}, legend=ROOM)
    layer = {"mark": {"type": "geoshape", "style": "edged"}, "encoding": {"color": colour, "tooltip": tooltip}}
    top = ", ".join(f"{row['cell']} {row['share']:.1%}" for row in rows[:3])
    n_unused = len(CELL_NAMES) - len(rows)
    unused = f"{n_unused} cells are never played." if n_unused else "Every cell is played."
    return Figure(
        f"Where {name} moves",
        f"The next moves of {name} in the rows, by cell; all parts together.",
        board.spec(rows, [layer]),
        f"{total:,} moves; the most to {top}. {unused}",
    )


def position(found: Position) -> Figure:
    """Draw one position: stones, the next move, and who wins the game."""
    stones = [
        {"cell": CELL_NAMES[cell], "color": PLAYERS[player], "what": "stone"}
        for player in (0, 1)
        for cell in np.flatnonzero(found.stones[player]).tolist()
    ]
    mover, winner = PLAYERS[found.ply % 2], PLAYERS[found.value]
    is_last = found.policy < 0
    following = [] if is_last else [{"cell": CELL_NAMES[found.policy], "color": mover, "what": "next move"}]
    colour = kind("color", scale=board.VERSUS, legend=None)  # the edges and the title name the sides
    encoding = {"color": colour, "tooltip": [{"field": name} for name in ("cell", "color", "what")]}
    looks: dict[str, dict[str, Any]] = {
        "stone": {"type": "geoshape", "style": "edged"},
        "next move": {"type": "geoshape", "filled": False, "strokeWidth": 3},
    }
    layers: list[dict[str, Any]] = [
        {"transform": [{"filter": f"datum.what === {what!r}"}], "mark": look, "encoding": encoding}
        for what, look in looks.items()
    ]
    step = "the game is over" if is_last else f"{mover} moves to {CELL_NAMES[found.policy]}, the hollow cell"
    n_blue, n_red = (int(plane.sum()) for plane in found.stones)
    return Figure(
        f"Ply {found.ply} of {found.n_plies}, value {found.value} ({winner} wins)",
        f"A position of one game of train; {step}. Blue joins top and bottom, red joins left and right.",
        board.spec([*stones, *following], layers),
        f"{n_blue} blue and {n_red} red stones; {step}; {winner} wins the game.",
    )


def duplicates(tally: Tally, by_unit: Mapping[str, int]) -> Figure:
    """Draw how many games of each file were kept, and how many were dropped since they were there already."""
    files = _games_by_file(dict(zip(tally.names, tally.units.tolist(), strict=True)), by_unit)
    order = sorted(files, key=lambda name: (-files[name][1], name))
    shown = {name: files[name] for name in order[:MAX_BARS]}
    if rest := [files[name] for name in order[MAX_BARS:]]:
        shown[f"{len(rest)} others"] = [sum(games) for games in zip(*rest, strict=True)]
    short = short_names(list(shown))
    rows = [
        {"name": short[name], "file": name, "games": games, "what": what}
        for name, counts in shown.items()
        for what, games in zip(("kept", "dropped"), counts, strict=True)
    ]
    encoding = {
        "y": kind("name", axis={"labelLimit": 170}),
        "x": quantity("games", "games"),
        "color": kind("what", scale={"domain": ["kept", "dropped"]}),
        "tooltip": [{"field": name} for name in ("file", "what", "games")],
    }
    dropped, total = sum(by_unit.values()), sum(map(sum, files.values()))
    return Figure(
        "Duplicates by file",
        "Games of each file that were kept, and that were dropped because an earlier one is the same; those with most "
        "duplicates first.",
        {"data": {"values": rows}, "height": 22 * len(shown), "mark": "bar", "encoding": encoding},
        f"{dropped:,} of {total:,} games ({dropped / max(1, total):.1%}) are duplicates; the file with most is "
        f"{order[0]}, {files[order[0]][1]:,} of {sum(files[order[0]]):,}.",
    )


def _games_by_file(kept: Mapping[str, int], dropped: Mapping[str, int]) -> dict[str, list[int]]:
    """Return of each file the games that were kept and those that were dropped, from those of its units."""
    files: dict[str, list[int]] = {}
    for place, counted in enumerate((kept, dropped)):
        for unit, games in counted.items():
            files.setdefault(unit.rpartition(":")[0], [0, 0])[place] += games
    return files


def refused(by_reason: Mapping[str, int]) -> Figure:
    """Draw the lines that were refused or changed, by reason."""
    spec, most_often = findings(by_reason, "lines")
    return Figure(
        "Lines refused or changed, by reason",
        "Lines of games that were not taken as they are; where each reason first occurs is listed below Bad units.",
        spec,
        f"{sum(by_reason.values()):,} lines; {most_often}.",
    )


def _interval(hits: int, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share after Wilson.

    Examples
    --------
    >>> [round(bound, 3) for bound in _interval(1, 4)]
    [0.046, 0.699]
    """
    z = 1.96
    share, scale = hits / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(0.0, middle - reach), min(1.0, middle + reach)
