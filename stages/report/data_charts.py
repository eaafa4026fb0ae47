"""Draw what is in the processed arrays: split, classes, legal actions, feature ranges."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.part_files import LEFT_OUT
from stages.report.columns import ColumnRange
from stages.report.figure import Figure, kind, quantity, readable

TOP_CLASSES = 20
MAX_COLUMNS = 3000
KINDS = ["varies", "near-constant", "constant", "not finite"]


def split_sizes(stats: Mapping[str, Any]) -> Figure:
    """Draw rows and groups of each part as shares."""
    rows = [
        {"part": part, "place": i, "of": unit, "count": count, "share": count / max(1, sum(stats[unit].values()))}
        for unit in ("rows", "groups")
        for i, (part, count) in enumerate(stats[unit].items())
    ]
    encoding = {
        "y": kind("of"),
        "x": quantity("share", "share", axis={"format": "%"}, scale={"domain": [0, 1]}),
        "color": kind("part", scale={"domain": list(stats["rows"])}),
        "order": {"field": "place", "type": "quantitative"},
        "tooltip": [{"field": "part"}, {"field": "of"}, quantity("count", "count", format=",")],
    }
    spec = {"data": {"values": rows}, "height": 80, "mark": "bar", "encoding": encoding}
    total = sum(stats["rows"].values())
    words = ", ".join(f"{part} {100 * count / max(1, total):.1f}%" for part, count in stats["rows"].items())
    rule = "Whole groups are assigned, so shares of rows differ a little."
    if stats["split"].get("by") == "time":
        rule = "Rows are assigned by time."
        if any(count for reason in LEFT_OUT for count in stats["split"][reason].values()):
            rule = "Rows are assigned by time; those near a boundary are in no part."
    return Figure("Share of each part", rule, spec, f"Rows: {words}.")


def shares(head: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return per class its share in each part, of the rows to which the head applies."""
    totals = {part: max(1, sum(counts["classes"].values())) for part, counts in head.items()}
    names = list(dict.fromkeys(name for counts in head.values() for name in counts["classes"]))
    return {
        name: {part: counts["classes"].get(name, 0) / totals[part] for part, counts in head.items()} for name in names
    }


def class_balance(name: str, head: Mapping[str, Any]) -> Figure:
    """Draw the shares of a head's classes: a bar for the first part, marks for the others; the rare ones not.

    What the rare ones hold together may be many times what any of the others holds, which it would squash.
    """
    by_class, parts = shares(head), list(head)
    first = parts[0]
    order = sorted(by_class, key=lambda label: -by_class[label][first])
    is_long = len(order) > TOP_CLASSES + 1
    top, rest = (order[:TOP_CLASSES], order[TOP_CLASSES:]) if is_long else (order, [])
    table = {label: by_class[label] for label in top}
    of_rest = ", ".join(f"{100 * sum(by_class[label][part] for label in rest):.1f}% of {part}" for part in parts)
    rows = [
        {"class": label, "part": part, "share": round(share, 6)}
        for label, of_part in table.items()
        for part, share in of_part.items()
    ]
    biggest, n_unseen = order[0], sum(1 for label in order if not by_class[label][first])
    seen = f"{n_unseen} of {len(order)} classes do not occur there" if n_unseen else f"all {len(order)} classes occur"
    return Figure(
        name,
        f"Share of each class, of the rows to which the head applies: bars {first}, marks {' and '.join(parts[1:])}."
        + (f" The {TOP_CLASSES} most frequent of {len(order)} classes; all are in the table." if rest else ""),
        {"data": {"values": rows}, "height": 20 * len(table), **_bars_and_marks(parts)},
        f"The largest class in {first} is {biggest} with {100 * by_class[biggest][first]:.1f}%; {seen}."
        + (f" The {len(rest)} that are not drawn hold {of_rest}." if rest else ""),
    )


def _bars_and_marks(parts: list[str]) -> dict[str, Any]:
    colour = kind("part", scale={"domain": parts})
    shape = kind("part", scale={"domain": parts, "range": ["square", "circle", "diamond"]})
    x = quantity("share", "share", axis={"format": ".2~%"})
    encoding = {"y": kind("class"), "x": x, "color": colour}
    marks = {"type": "point", "filled": True, "size": 65, "opacity": 1, "style": "edged"}
    is_first = f"datum.part === {parts[0]!r}"
    tip = [{"field": "class"}, {"field": "part"}, quantity("share", "share", format=".2%")]
    return {
        "encoding": {**encoding, "tooltip": tip},
        "layer": [
            {"transform": [{"filter": is_first}], "mark": {"type": "bar", "height": {"band": 0.7}}},
            {"transform": [{"filter": f"!({is_first})"}], "mark": marks, "encoding": {"shape": shape}},
        ],
    }


def legal_actions(heads: Mapping[str, Any]) -> Figure:
    """Draw the least, mean and greatest number of legal actions of each head and part."""
    rows = [
        {"head": head, "part": part, **{key: counts[key] for key in ("min", "mean", "max")}}
        for head, parts in heads.items()
        for part, counts in parts.items()
    ]
    parts = list(dict.fromkeys(row["part"] for row in rows))
    encoding = {
        "y": kind("head"),
        "yOffset": kind("part", scale={"domain": parts}),
        "color": kind("part", scale={"domain": parts}),
        "tooltip": [{"field": name} for name in ("head", "part", "min", "mean", "max")],
    }
    reach = {"x": quantity("min", "legal actions"), "x2": {"field": "max"}}
    layers = [
        {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6}, "encoding": reach},
        {
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 1},
            "encoding": {"x": quantity("mean", "legal actions")},
        },
    ]
    first = [row for row in rows if row["part"] == parts[0]]
    return Figure(
        "Legal actions per head",
        "A line from the least to the greatest number of a row, a dot at the mean.",
        {"data": {"values": rows}, "height": 12 * len(rows) + 8 * len(heads), "encoding": encoding, "layer": layers},
        f"Mean in {parts[0]}: " + ", ".join(f"{row['head']} {readable(row['mean'])}" for row in first) + ".",
    )


def by_kind(columns: Sequence[ColumnRange]) -> dict[str, list[ColumnRange]]:
    """Return the columns of each kind."""
    return {name: [column for column in columns if column.kind == name] for name in KINDS}


def widest(columns: Sequence[ColumnRange], n: int) -> list[ColumnRange]:
    """Return the columns with values farthest from 0 as a trainer reads them, of those that are finite."""
    finite = [column for column in columns if column.kind != "not finite"]
    return sorted(finite, key=lambda column: -max(-column.stored_low, column.stored_high))[:n]


def column_ranges(columns: Sequence[ColumnRange]) -> Figure:
    """Draw the range of each column as a trainer reads it."""
    finite = [column for column in columns if column.kind != "not finite"]
    step = max(1, -(-len(finite) // MAX_COLUMNS))
    rows = [_range_row(place, finite[place]) for place in range(0, len(finite), step)]
    kinds = [name for name in KINDS if any(row["kind"] == name for row in rows)]
    ends = [end for column in finite for end in (column.stored_low, column.stored_high)]
    ticks = {"values": _symlog_ticks(ends)}
    y = quantity("low", "value as read", scale={"type": "symlog"}, axis=ticks)
    encoding = {
        "x": quantity("place", "column", scale={"nice": False}),
        "y": y,
        "color": kind("kind", scale={"domain": kinds}),
        "tooltip": [{"field": name} for name in ("column", "kind", "low", "high")],
    }
    highest = widest(columns, 1)[0]
    return Figure(
        "Range of each feature column",
        "From the least to the greatest value of the train rows as a trainer reads them, on a symmetric log scale."
        + (f" One column in {step} is drawn." if step > 1 else ""),
        {"data": {"values": rows}, "height": 260, "encoding": encoding, "layer": _range_layers(rows)},
        f"The value farthest from 0 is in {highest.name}: {readable(float(f'{highest.stored_low:.4g}'))} to "
        f"{readable(float(f'{highest.stored_high:.4g}'))}.",
    )


def _range_row(place: int, column: ColumnRange) -> dict[str, Any]:
    """Return a column as Vega-Lite reads it, with what fits on a screen of its numbers."""
    low, high = (float(f"{end:.5g}") for end in (column.stored_low, column.stored_high))
    return {"place": place, "column": column.name, "low": low, "high": high, "kind": column.kind}


def _range_layers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a line from the least to the greatest value of each column, and a dot where they are one."""
    width = 2 if len(rows) < 200 else 1
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rule", "strokeWidth": width}, "encoding": {"y2": {"field": "high"}}}
    ]
    if any(row["low"] == row["high"] for row in rows):  # of a layer without rows the browser's console warns
        dot = {"type": "point", "filled": True, "size": 14, "opacity": 1}
        layers.append({"transform": [{"filter": "datum.low === datum.high"}], "mark": dot})
    return layers


def _symlog_ticks(values: Sequence[float]) -> list[float]:
    """Return 0 and the 1s and 3s of each power of ten within the values."""
    low, high = min(values), max(values)
    size = max(1.0, abs(low), abs(high))
    steps = [float(f"{digit}e{power}") for power in range(int(math.log10(size)) + 1) for digit in (1, 3)]
    return [0.0, *(tick for step in steps for tick in (-step, step) if low <= tick <= high)]
