"""The market's own figures: prices with the parts of the split, gaps and jumps; and how features are distributed.

Arrays are read a chunk at a time, so memory does not grow with the number of bars, apart from two times for each gap.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays
from stages.core.part_files import PARTS
from stages.processed import Processed
from stages.report.figure import Figure, kind, quantity

PRICE_KEYS = ("time", "segment", "instrument", "open", "high", "low", "close")
CHUNK_ROWS = 1 << 16
MAX_BINS = 2400  # points of all price charts together
NS_PER_DAY = 86_400 * 10**9
MAX_GAPS = 150  # gaps drawn in a chart: the longest
MAX_INSTRUMENTS = 6
JUMP = 0.04  # the default of roll_jump
N_SLOTS, REACH = 32, 4.0  # of a histogram: slots, and the value in its last one and beyond
ROW_HEIGHT = 34  # pixels of a histogram
HIDDEN = {"axis": None}
COLOUR = kind("part", scale={"domain": list(PARTS)})


@dataclass(frozen=True)
class Series:
    """What is drawn of one instrument.

    `bins` are some bars together: ``from``, ``to`` (int64 ns), ``low``, ``high``, ``close``, ``part`` (index). `gaps`
    are int64 (n, 2), the last time before and the first after; `jumps` are float64 (n, 3): time, price and size.
    """

    bins: Mapping[str, np.ndarray]
    gaps: np.ndarray
    jumps: np.ndarray


def figures(processed_dir: Path) -> list[Figure]:
    """Return a price chart for each of the first instruments, and the histograms of each feature."""
    found = read_series(processed_dir)
    charts = [price_chart(name, series) for name, series in list(found.items())[:MAX_INSTRUMENTS]]
    data = Processed(processed_dir)
    fields = sorted(data.features(PARTS[0]))
    return [
        *charts,
        *(histogram_chart(field, data.column_names(field), count(processed_dir, field)) for field in fields),
    ]


def read_series(folder: Path) -> dict[str, Series]:
    """Return what is drawn of each instrument, by name in the order of the rows."""
    data = Processed(folder)
    n_rows = sum(arrays.npz_headers(data.members_path("key", part))["time"].shape[0] for part in PARTS)
    step = max(1, math.ceil(n_rows / MAX_BINS))
    pieces: dict[str, dict[str, list[np.ndarray]]] = {}
    for i, part in enumerate(PARTS):
        for name, rows in _runs(data.chunks(part, CHUNK_ROWS, PRICE_KEYS)):
            own = pieces.setdefault(name, {"gaps": [], "jumps": []})
            for key, values in {**_bin(rows, step, i), **_breaks(rows)}.items():
                own.setdefault(key, []).append(values)
    joined = {name: {key: np.concatenate(values) for key, values in own.items()} for name, own in pieces.items()}
    return {name: Series(own, own.pop("gaps"), own.pop("jumps")) for name, own in joined.items()}


def _runs(chunks: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield stretches of rows of one instrument, each beginning with the last row of the stretch before.

    The first row of a stretch is there for comparison only; where there is none before, it is the first row itself.
    """
    last: dict[str, np.ndarray] = {}
    for chunk in chunks:
        borders = np.flatnonzero(chunk["instrument"][1:] != chunk["instrument"][:-1]) + 1
        for start, stop in zip([0, *borders], [*borders, len(chunk["time"])], strict=True):
            rows = {key: chunk[key][start:stop] for key in PRICE_KEYS}
            is_same = bool(last) and last["instrument"][0] == rows["instrument"][0]
            first = last if is_same else {key: rows[key][:1] for key in PRICE_KEYS}
            yield rows["instrument"][0].decode(), {key: np.concatenate([first[key], rows[key]]) for key in PRICE_KEYS}
            last = {key: rows[key][-1:].copy() for key in PRICE_KEYS}


def _bin(rows: Mapping[str, np.ndarray], step: int, part: int) -> dict[str, np.ndarray]:
    """Return the bars but the first, `step` of them together."""
    first = np.arange(1, len(rows["time"]), step)
    final = np.append(first[1:] - 1, len(rows["time"]) - 1)
    return {
        "from": rows["time"][first],
        "to": rows["time"][final],
        "low": np.minimum.reduceat(rows["low"], first),
        "high": np.maximum.reduceat(rows["high"], first),
        "close": rows["close"][final],
        "part": np.full(len(first), part),
    }


def _breaks(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the gaps between segments, and the bars that open far from the close before."""
    new = np.flatnonzero(rows["segment"][1:] != rows["segment"][:-1]) + 1
    moves = rows["open"][1:] / rows["close"][:-1] - 1
    is_first = rows["time"][1:] == rows["time"][:-1]
    far = np.flatnonzero((np.abs(moves) > JUMP) & ~is_first) + 1
    return {
        "gaps": np.stack([rows["time"][new - 1], rows["time"][new]], axis=1),
        "jumps": np.stack([rows["time"][far].astype(np.float64), rows["open"][far], moves[far - 1]], axis=1),
    }


def price_chart(name: str, series: Series) -> Figure:
    """Draw the price of an instrument over the parts of the split, with its gaps and jumps."""
    bins, order = series.bins, np.argsort(series.gaps[:, 0] - series.gaps[:, 1], kind="stable")
    gaps = np.sort(series.gaps[order[:MAX_GAPS]], axis=0)
    columns = {
        "time": _texts(bins["from"]),
        "close": bins["close"].tolist(),
        "low": bins["low"].tolist(),
        "high": bins["high"].tolist(),
        "part": [PARTS[i] for i in bins["part"].tolist()],
        # A line is broken at a gap and, since rows are left out there, between two parts.
        "run": (np.searchsorted(gaps[:, 1], bins["to"], side="right") * len(PARTS) + bins["part"]).tolist(),
    }
    span_days = float(bins["to"].max() - bins["from"].min()) / NS_PER_DAY
    shown = f"the {MAX_GAPS} longest of {len(series.gaps):,} gaps" if len(series.gaps) > MAX_GAPS else "gaps"
    return Figure(
        f"Price of {name}",
        f"Close as a line, lowest to highest price as a band. Behind them the parts of the split; below, {shown} "
        f"between segments; triangles mark opens more than {JUMP:.0%} from the close before. Times in UTC.",
        {
            "data": {"values": _records(columns)},
            "height": 260,
            "encoding": {"x": _time("time", axis=_axis(span_days))},
            "layer": [*_price_layers(), *_mark_layers(bins, gaps, series.jumps)],
        },
        _price_words(name, series),
    )


def _price_layers() -> list[dict[str, Any]]:
    tooltip = [{"field": key} for key in ("time", "part", "low", "high", "close")]
    run = {"field": "run", "type": "nominal"}
    close = quantity("close", "price", scale={"zero": False})
    low = quantity("low", "price", scale={"zero": False})
    shared = {"color": COLOUR, "detail": run}
    return [
        {"mark": {"type": "area", "opacity": 0.35}, "encoding": {"y": low, "y2": {"field": "high"}, **shared}},
        {"mark": {"type": "line", "strokeWidth": 1}, "encoding": {"y": close, "tooltip": tooltip, **shared}},
    ]


def _mark_layers(bins: Mapping[str, np.ndarray], gaps: np.ndarray, jumps: np.ndarray) -> list[dict[str, Any]]:
    """Draw the span of each part, the gaps on the lower edge, and the jumps."""
    spans = [
        {"part": name, "from": _text(bins["from"][is_part].min()), "to": _text(bins["to"][is_part].max())}
        for name, is_part in ((name, bins["part"] == i) for i, name in enumerate(PARTS))
        if is_part.any()
    ]
    closed = _records({"from": _texts(gaps[:, 0]), "to": _texts(gaps[:, 1])})
    jumped = {"time": _texts(jumps[:, 0]), "price": jumps[:, 1].tolist(), "jump": np.round(jumps[:, 2], 4).tolist()}
    reach = {"x": _time("from"), "x2": {"field": "to"}}
    ends: list[dict[str, Any]] = [{"field": "from"}, {"field": "to"}]
    price = quantity("price", "price", scale={"zero": False})
    jump: list[dict[str, Any]] = [{"field": "time"}, {"field": "price"}, quantity("jump", "jump", format="+.2%")]
    band, gap = {**reach, "color": COLOUR, "tooltip": ends}, {**reach, "y": {"value": 257}, "tooltip": ends}
    return [
        {"data": {"values": spans}, "mark": {"type": "rect", "opacity": 0.1}, "encoding": band},
        {"data": {"values": closed}, "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.6}, "encoding": gap},
        {
            "data": {"values": _records(jumped)},
            "mark": {"type": "point", "shape": "triangle-up", "size": 60},
            "encoding": {"y": price, "tooltip": jump},
        },
    ]


def _price_words(name: str, series: Series) -> str:
    low, high = series.bins["low"].min(), series.bins["high"].max()
    longest = np.max(series.gaps[:, 1] - series.gaps[:, 0], initial=0) / 3.6e12
    gaps = f"{len(series.gaps):,} gaps, the longest of {longest:,.1f} hours" if len(series.gaps) else "no gaps"
    jumps = "".join(f"; {size:+.1%} at {_text(time)}" for time, _, size in series.jumps[:3].tolist())
    n_jumps = f"{len(series.jumps):,} jumps beyond {JUMP:.0%}{jumps}"
    return f"{name} lies between {low:g} and {high:g}, with {gaps} within the parts, and {n_jumps}."


def _time(field: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "temporal", "title": None, "scale": {"type": "utc"}, **more}


def _axis(span_days: float) -> dict[str, Any]:
    """Return the axis of a time that long: every label has its year."""
    formats = ((4 * 365, "%Y"), (120, "%b %Y"), (4, "%d %b %Y"), (0, "%d %b %Y %H:%M"))
    chosen = next(text for least, text in formats if span_days >= least)
    return {"format": chosen, "tickCount": "year" if chosen == "%Y" else 6}


def _text(ns: float) -> str:
    return datetime.fromtimestamp(int(ns) // 10**9, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _texts(ns: np.ndarray) -> list[str]:
    return [_text(value) for value in ns.tolist()]


def _records(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def count(folder: Path, field: str) -> np.ndarray:
    """Count the values of each column of a feature, where it is valid.

    Returns
    -------
    ndarray
        int64 (parts, columns, slots); slots are equal steps from -`REACH` to `REACH`, and what lies beyond is in the
        first and last one.
    """
    return np.stack([_count_part(Processed(folder), field, part) for part in PARTS])


def _count_part(data: Processed, field: str, part: str) -> np.ndarray:
    width = math.prod(data.feature_header(field, part).shape[1:])
    flags = data.chunks(part, CHUNK_ROWS, [f"valid_{field}"])
    total = np.zeros(width * N_SLOTS, np.int64)
    for rows, keys in zip(data.feature(field, part).chunks(CHUNK_ROWS), flags, strict=True):
        values = rows[keys[f"valid_{field}"].astype(bool)].reshape(-1, width).astype(np.float64)
        slot = np.clip((values + REACH) * (N_SLOTS / (2 * REACH)), 0, N_SLOTS - 1).astype(np.int64)
        total += np.bincount((slot + N_SLOTS * np.arange(width)).ravel(), minlength=len(total))
    return total.reshape(width, N_SLOTS)


def histogram_chart(field: str, names: Sequence[str], counts: np.ndarray) -> Figure:
    """Draw the histograms of a feature's columns below each other, a line for each part."""
    shares = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    overlap = np.minimum(shares[0], shares[-1]).sum(axis=1)
    least = int(overlap.argmin())
    return Figure(
        f"Distribution of {field}",
        f"Histograms of each column as a trainer reads it, valid rows only: {PARTS[0]} filled, all parts as lines, "
        f"each column in its own height. Values beyond {REACH:g} are in the outermost slot.",
        {
            "data": {"values": _slots(names, shares)},
            "height": ROW_HEIGHT * len(names) + 10,
            "layer": _histogram_layers(names),
        },
        f"{PARTS[0]} and {PARTS[-1]} differ most in {names[least]}: {overlap[least]:.0%} of its histograms overlap; in "
        f"the median column {np.median(overlap):.0%}.",
    )


def _histogram_layers(names: Sequence[str]) -> list[dict[str, Any]]:
    """Draw the columns below each other: train as an area, all parts as lines, the column's name above its base."""
    titles = [{"column": name, "label": -i + 0.55} for i, name in enumerate(names)]
    column = {"field": "column", "type": "nominal"}
    shared = {
        "x": quantity("value", "value as read"),
        "y": quantity("top", None, scale={"nice": False, "zero": False}, **HIDDEN),
        "color": COLOUR,
        "detail": column,
    }
    tooltip = [{"field": key} for key in ("column", "part", "value", "share")]
    label = {"x": {"value": 2}, "y": quantity("label", None, **HIDDEN), "text": column}
    return [
        {
            "transform": [{"filter": f"datum.part === {PARTS[0]!r}"}],
            "mark": {"type": "area", "interpolate": "step", "opacity": 0.3},
            "encoding": {**shared, "y2": {"field": "base"}},
        },
        {
            "mark": {"type": "line", "interpolate": "step", "strokeWidth": 1},
            "encoding": {**shared, "tooltip": tooltip},
        },
        {"data": {"values": titles}, "mark": {"type": "text", "align": "left"}, "encoding": label},
    ]


def _slots(names: Sequence[str], shares: np.ndarray) -> list[dict[str, Any]]:
    """Return a row for each column, part and slot; a column's highest slot is 0.9 of its row."""
    middle = np.round((np.arange(N_SLOTS) + 0.5) * (2 * REACH / N_SLOTS) - REACH, 4).tolist()
    highest = np.maximum(shares.max(axis=(0, 2)), 1e-12)
    return [
        {
            "column": name,
            "part": part,
            "value": value,
            "share": round(share, 5),
            "base": -i,
            "top": round(-i + 0.9 * share / highest[i], 4),
        }
        for i, name in enumerate(names)
        for p, part in enumerate(PARTS)
        for value, share in zip(middle, shares[p, i].tolist(), strict=True)
    ]
