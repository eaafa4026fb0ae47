"""Figures of Rugs: how episodes end, prices with the human's presses, rewards, actions, and what was left out.

In: the processed arrays, and merge's report for what was left out; without it this is not drawn.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.part_files import PARTS
from stages.datasets.rugs.report.prices import price_path
from stages.datasets.rugs.report.tally import EDGES, SMALLEST, Tally, count, paths_of
from stages.datasets.rugs.schema import ACTIONS, HOLD
from stages.report.figure import Figure, findings, kind, merge_report, quantity

MAX_BARS = 40
MAX_TICKS = 300  # episodes of a part that are drawn one by one
COLOUR = kind("part", scale={"domain": list(PARTS)})
ENDS = ("rug", "recording cut")
DECADES = [-10, -1, -0.1, -0.01, -0.001, -0.0001, 0, 0.0001, 0.001, 0.01, 0.1, 1, 10]
SOL_AXIS = {"values": DECADES, "format": "~g"}
COUNT_AXIS = {"values": [0, 1, 10, 100, 1000, 10_000, 100_000, 1_000_000], "labelExpr": "format(datum.value, '~s')"}
WHOLE = {"labelExpr": "datum.value % 1 ? '' : format(datum.value, ',')"}
SMALL_RETURN = 1e-4  # SOL: below this the scale of returns is linear

Tallies = Mapping[str, Tally]


def figures(processed_dir: Path) -> list[Figure]:
    """Return the figures for which there is something to draw."""
    tallies = {part: count(processed_dir, part) for part in PARTS}
    if not any(tally.n_steps for tally in tallies.values()):
        return []
    drawn = [lengths(tallies), *(price_path(path) for path in paths_of(processed_dir, PARTS[0], tallies[PARTS[0]]))]
    if any(tally.rewards.any() for tally in tallies.values()):
        drawn.append(rewards(tallies))
    drawn += [returns(tallies), actions(tallies), known(tallies)]
    by_reason = merge_report(processed_dir.name).get("findings", {}).get("by_reason")
    if by_reason:
        drawn.append(left_out(by_reason, tallies))
    return drawn


def lengths(tallies: Tallies) -> Figure:
    """Draw how many steps episodes have, by how they end."""
    length = np.concatenate([tally.length for tally in tallies.values()])
    is_rugged = np.concatenate([tally.is_rugged for tally in tallies.values()])
    step = _round_step(int(length.max()) / MAX_BARS)
    rows = [
        {"from": slot * step, "to": (slot + 1) * step, "end": name, "episodes": n}
        for name, chosen in zip(ENDS, (is_rugged, ~is_rugged), strict=True)
        for slot, n in enumerate(np.bincount(length[chosen] // step).tolist())
        if n
    ]
    encoding = {
        "x": quantity("from", "steps of an episode", bin={"binned": True, "step": step}, axis={"tickCount": 6}),
        "x2": {"field": "to"},
        "y": quantity("episodes", "episodes", axis=WHOLE),
        "color": kind("end", scale={"domain": list(ENDS)}),
        "tooltip": [{"field": name} for name in ("end", "from", "to", "episodes")],
    }
    cut = int((~is_rugged).sum())
    return Figure(
        "Length of episodes",
        f"Episodes by their number of steps, {step} numbers in a bar (the first one included, the last one not), and "
        "by their end, one above the other; all parts together. A cut episode has no terminal step: its last value is "
        "unknown, not 0.",
        {"data": {"values": rows}, "height": 200, "mark": "bar", "encoding": encoding},
        f"{len(length):,} episodes of {length.min():,} to {length.max():,} steps, {length.mean():.1f} on average, "
        f"median {np.median(length):g}. {len(length) - cut:,} were seen to their rug, {cut:,} were cut.",
    )


def _round_step(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, ... that is not below a number.

    Examples
    --------
    >>> [_round_step(x) for x in (0.4, 3, 18.0, 21)]
    [1, 5, 20, 50]
    """
    steps = (factor * 10**power for power in range(19) for factor in (1, 2, 5))
    return next(step for step in steps if step >= least)


def _both_sides(smallest: float) -> dict[str, Any]:
    """Return a scale that is logarithmic on both sides of 0, but for what is smaller than a number."""
    return {"scale": {"type": "symlog", "constant": smallest}, "axis": SOL_AXIS}


def rewards(tallies: Tallies) -> Figure:
    """Draw how large rewards are."""
    rows, base = [], np.zeros(len(EDGES) - 1, np.int64)
    for part, tally in tallies.items():
        for i in np.flatnonzero(tally.rewards).tolist():
            ends = {"from": float(f"{EDGES[i]:.3g}"), "to": float(f"{EDGES[i + 1]:.3g}")}
            n = int(tally.rewards[i])
            rows.append({**ends, "part": part, "steps": n, "base": int(base[i]), "top": int(base[i]) + n})
        base += tally.rewards
    encoding = {
        "x": quantity("from", "reward, SOL", **_both_sides(SMALLEST)),
        "x2": {"field": "to"},
        "y": quantity("base", "steps"),
        "y2": {"field": "top"},
        "color": COLOUR,
        "tooltip": [{"field": name} for name in ("part", "from", "to", "steps")],
    }
    n_steps, n_moved = sum(tally.n_steps for tally in tallies.values()), int(base.sum())
    middle = len(EDGES) // 2 - 1
    loss, gain = int(base[:middle].sum()), int(base[middle + 1 :].sum())
    return Figure(
        "Rewards that are not 0",
        f"Steps by their reward, half a decade in a bar, on a scale that is logarithmic on both sides of 0; the bar in "
        f"the middle is all below {SMALLEST:f} SOL. Parts stand one above the other. Rewards of 0 are not drawn.",
        {"data": {"values": rows}, "height": 200, "mark": "rect", "encoding": encoding},
        f"{n_moved:,} of {n_steps:,} steps ({n_moved / n_steps:.1%}) have a reward that is not 0: {gain:,} gains and "
        f"{loss:,} losses of at least {SMALLEST:f} SOL.",
    )


def returns(tallies: Tallies) -> Figure:
    """Draw the return of each episode, by part."""
    drawn, means, words = [], [], []
    for part, tally in tallies.items():
        if not len(tally.total):
            continue
        order = np.sort(tally.total)
        picked = np.unique(np.linspace(0, len(order) - 1, min(MAX_TICKS, len(order))).round().astype(int))
        drawn += [{"part": part, "sum": float(f"{value:.4g}")} for value in order[picked].tolist()]
        means.append({"part": part, "sum": float(f"{order.mean():.4g}")})
        won, lost = int((order > 0).sum()), int((order < 0).sum())
        words.append(f"{part} {order.mean():+.2g} SOL on average, {won:,} up and {lost:,} down of {len(order):,}")
    x, y = quantity("sum", "return, SOL", **_both_sides(SMALL_RETURN)), kind("part")
    tooltip = [{"field": "part"}, {"field": "sum", "title": "SOL"}]
    return Figure(
        "Return of episodes",
        "Each episode's sum of rewards (tick), and the mean of each part (dot), on a scale that is logarithmic on both "
        f"sides of 0; of a part with more than {MAX_TICKS}, evenly spaced ones.",
        {
            "height": 40 * len(means),
            "encoding": {"x": x, "y": y, "color": COLOUR, "tooltip": tooltip},
            "layer": [
                {"data": {"values": drawn}, "mark": {"type": "tick", "thickness": 1.5, "size": 22, "opacity": 0.7}},
                {"data": {"values": means}, "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1}},
            ],
        },
        "; ".join(words) + ".",
    )


def actions(tallies: Tallies) -> Figure:
    """Draw how often each action occurs, by part, with the weight that makes all actions count the same."""
    rows = [
        {"action": name, "part": part, "transitions": int(n), "weight": float(f"{weight:.4g}"), "label": _times(weight)}
        for part, tally in tallies.items()
        if tally.actions.any()
        for name, n, weight in zip(ACTIONS, tally.actions.tolist(), tally.weights.tolist(), strict=True)
    ]
    shared = {
        "y": kind("action"),
        "yOffset": kind("part", scale={"domain": list(PARTS)}),
        "x": quantity("transitions", "transitions", scale={"type": "symlog"}, axis=COUNT_AXIS),
    }
    tooltip = [{"field": name} for name in ("part", "action", "transitions", "weight")]
    label = {"type": "text", "align": "left", "dx": 4}
    total = np.sum([tally.actions for tally in tallies.values()], axis=0)
    words = ", ".join(f"{name} {n:,}" for name, n in zip(ACTIONS, total.tolist(), strict=True))
    weights = ", ".join(
        f"{name} {_times(weight)}" for name, weight in zip(ACTIONS, tallies[PARTS[0]].weights, strict=True)
    )
    return Figure(
        "Actions and their weights",
        "Transitions by action and part, on a logarithmic scale. Beside each bar the weight that makes all actions of "
        "the part count the same: the mean over its transitions is 1.",
        {
            "data": {"values": rows},
            "height": 200,
            "layer": [
                {"mark": "bar", "encoding": {**shared, "color": COLOUR, "tooltip": tooltip}},
                {"mark": label, "encoding": {**shared, "text": {"field": "label"}}},
            ],
        },
        f"{words}; HOLD is {total[HOLD] / max(1, total.sum()):.1%}. Weights in train: {weights}.",
    )


def _times(weight: float) -> str:
    """Return a weight in few digits.

    Examples
    --------
    >>> _times(0.25338), _times(51.619), _times(0)
    ('x0.25', 'x52', '-')
    """
    return f"x{weight:.{0 if weight >= 10 else 2}f}" if weight else "-"


def known(tallies: Tallies) -> Figure:
    """Draw how much is known of the player, by part."""
    rows = []
    for part, tally in tallies.items():
        (n_buy, n_bought), (n_sell, n_sold) = tally.answered.tolist()
        found = (
            ("player known", tally.n_known, tally.n_steps),
            ("BUY answered", n_bought, n_buy),
            ("SELL answered", n_sold, n_sell),
        )
        rows += [{"what": w, "part": part, "share": round(k / n, 4), "of": n} for w, k, n in found if n]
    encoding = {
        "y": kind("what"),
        "yOffset": kind("part", scale={"domain": list(PARTS)}),
        "x": quantity("share", "share", axis={"format": ".0%"}, scale={"domain": [0, 1]}),
        "color": COLOUR,
        "tooltip": [{"field": "what"}, {"field": "part"}, quantity("share", "share", format=".1%"), {"field": "of"}],
    }
    words = [f"{part} {t.n_known / t.n_steps:.1%}" for part, t in tallies.items() if t.n_steps]
    pressed, done = sum(tally.answered.sum(axis=0) for tally in tallies.values())
    return Figure(
        "What is known of the player",
        "Share of steps at which the player's balance was known (elsewhere rewards are 0 and mean nothing), and of BUY "
        "and SELL presses that a trade of the player answered within 3 s.",
        {"data": {"values": rows}, "height": 170, "mark": "bar", "encoding": encoding},
        f"The player is known in {', '.join(words)} of the steps; trades answered {done:,} of {pressed:,} presses.",
    )


def left_out(by_reason: Mapping[str, int], tallies: Tallies) -> Figure:
    """Draw presses that belong to no step or that a mask forbids, and what was left out, by reason."""
    spec, most_often = findings(by_reason, "count", _named)
    unmatched = sum(n for reason, n in by_reason.items() if reason.startswith("unmatched:"))
    refused = sum(n for reason, n in by_reason.items() if reason.startswith("refused:"))
    matched = int(sum(tally.presses.sum() for tally in tallies.values()))
    return Figure(
        "Presses without a step, refused presses, and what else was left out",
        "Presses of BUY, SELL and SIDEBET that belong to no step, those that the mask of their step forbids (they stay "
        "in the arrays, with `refused` 1), rows that could not be read and episodes that options drop, by reason; "
        "where each first occurs is listed below Bad units.",
        spec,
        f"{unmatched:,} of {matched + unmatched:,} presses belong to no step, {refused:,} are refused; in all, "
        f"{most_often}.",
    )


def _named(reason: str) -> dict[str, str]:
    """Return a reason's words and what it counts."""
    kinds = {"unmatched": "press", "refused": "press", "dropped": "episode"}
    words = reason.removeprefix("unmatched:").replace("_", " ")
    return {"reason": words, "what": kinds.get(reason.partition(":")[0], "row")}
