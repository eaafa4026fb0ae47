"""Draw what a training left: how it went, and what its task has to show of the test part."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stages.report.figure import Figure, kind, quantity, readable
from stages.report.model import MODEL, TrainedModel

FEW_POINTS = 60
SAMPLES_TITLE = "samples trained on"
CELL = 26  # pixels of a row of a heat map


def loss(model: TrainedModel) -> Figure:
    """Draw the loss of train and val, with the step whose weights are kept."""
    rows = [
        {"samples": row["samples"], "part": part, "loss": row[f"{part}_loss"]}
        for row in model.curve
        for part in ("train", "val")
        if row.get(f"{part}_loss") is not None
    ]
    best = {"samples": model.about["samples"], "label": f"step {model.about['step']:,} is kept"}
    x = quantity("samples", SAMPLES_TITLE, scale={"nice": False})
    y = quantity("loss", "loss", scale={"zero": False})
    tip = [{"field": name} for name in ("part", "samples", "loss")]
    line = {
        "mark": _line(len(model.curve)),
        "encoding": {"x": x, "y": y, "color": kind("part", scale={"domain": ["train", "val"]}), "tooltip": tip},
    }
    kept = {
        "data": {"values": [best]},
        "mark": {"type": "rule", "strokeDash": [4, 4]},
        "encoding": {"x": x, "tooltip": [{"field": "label"}]},
    }
    of_val = [row["val_loss"] for row in model.curve if row.get("val_loss") is not None]
    return Figure(
        "Loss",
        "Of train the mean since the row before, with what training draws, such as dropout; of val the whole part. The "
        "dashed line is the evaluation whose weights are kept.",
        {"data": {"values": rows}, "height": 220, "layer": [line, kept]},
        f"On val from {_number(of_val[0])} to {_number(of_val[-1])}; the weights of step {model.about['step']:,} of "
        f"{model.about['n_steps']:,} are kept."
        if of_val
        else "Val was never evaluated.",
    )


def metrics(model: TrainedModel) -> list[Figure]:
    """Draw each headline metric of val over the samples, with its baselines as lines."""
    names = [one["name"] for one in model.headlines]
    return [_metric(model, name) for name in names if any(row.get(f"val_{name}") is not None for row in model.curve)]


def _metric(model: TrainedModel, name: str) -> Figure:
    points = [(row["samples"], row.get(f"val_{name}")) for row in model.curve]
    rows = [{"of": MODEL, "samples": samples, name: value} for samples, value in points if value is not None]
    of_val = model.of_part("val")
    levels = [{"of": of, name: of_val[of].get(name)} for of in model.baselines if of_val[of].get(name) is not None]
    colour = kind("of", scale={"domain": [MODEL, *(level["of"] for level in levels)]})
    y = quantity(name, name, scale={"zero": False})
    tip = [{"field": "of"}, {"field": name}]
    x = quantity("samples", SAMPLES_TITLE, scale={"nice": False})
    layers = [{"data": {"values": rows}, "mark": _line(len(rows)), "encoding": {"x": x, "tooltip": tip}}]
    if levels:
        layers.append(
            {"data": {"values": levels}, "mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": {"tooltip": tip}}
        )
    beside = ", ".join(f"{level['of']} {_number(level[name])}" for level in levels)
    return Figure(
        f"{name} of val",
        "At each evaluation; the flat lines are the baselines.",
        {"height": 180, "encoding": {"y": y, "color": colour}, "layer": layers},
        f"From {_number(rows[0][name])} to {_number(rows[-1][name])}" + (f"; {beside}." if beside else "."),
    )


def _line(n_points: int) -> dict[str, Any]:
    return {"type": "line", "point": {"size": 25} if n_points <= FEW_POINTS else False}


def _number(value: Any) -> str:
    return readable(float(f"{value:.3g}"))


def confusion(content: Mapping[str, Any]) -> Figure:
    """Draw of each true class which ones were named, see `Confusion` of stages/training/figures.py."""
    classes, counts = content["classes"], content["counts"]
    totals = [sum(row) for row in counts]
    rows = [
        {"true": true, "named": named, "samples": count, "share": round(count / total, 4)}
        for true, total, row in zip(classes, totals, counts, strict=True)
        for named, count in zip(classes, row, strict=True)
        if total
    ]
    encoding = {
        "y": kind("true", "true class"),
        "x": kind("named", "named class", scale={"domain": list(classes)}, axis={"labelAngle": -40}),
        "color": quantity("share", "share of the true class", scale={"domain": [0, 1]}, legend={"format": "%"}),
        "tooltip": [{"field": name} for name in ("true", "named", "samples", "share")],
    }
    right, total = sum(row[i] for i, row in enumerate(counts)), sum(totals)
    n_seen = sum(total > 0 for total in totals)
    spec = {"data": {"values": rows}, "height": CELL * n_seen, "mark": "rect", "encoding": encoding}
    words = f"{100 * right / total:.1f}% of {readable(total)} samples are right." if total else "There are no samples."
    return Figure(content["title"], f"{content['doc']} Each row is shares of one true class.", spec, words)


def agreement(content: Mapping[str, Any]) -> Figure:
    """Draw what was foretold beside what happened, see `Agreement` of stages/training/figures.py."""
    rows = [
        {"samples": n, "forecast": float(f"{told:.5g}"), "happened": float(f"{happened:.5g}")}
        for n, told, happened in content["bins"]
    ]
    low, high = _ends([row["forecast"] for row in rows])
    x = quantity("forecast", f"forecast: {content['quantity']}", scale={"domain": [low, high], "nice": True})
    of_both = _ends([low, high, *(row["happened"] for row in rows)])
    y = quantity("happened", "what happened, mean", scale={"domain": of_both, "nice": True})
    size = quantity("samples", "samples", legend=None, scale={"range": [20, 350]})
    tip = [quantity(name, name) for name in ("samples", "forecast", "happened")]
    point = {"type": "point", "filled": True, "opacity": 0.8, "style": "edged"}
    ideal = {
        "data": {"values": [{"low": low, "high": high}]},
        "mark": {"type": "rule", "strokeDash": [6, 4]},
        "encoding": {
            "x": {**x, "field": "low"},
            "y": {**y, "field": "low"},
            "x2": {"field": "high"},
            "y2": {"field": "high"},
        },
    }
    points = {"mark": point, "encoding": {"x": x, "y": y, "size": size, "tooltip": tip}}
    words = "There are no samples."
    if rows:
        first, last = ([_number(row["forecast"]), _number(row["happened"])] for row in (rows[0], rows[-1]))
        words = f"Lowest forecast {first[0]}, there {first[1]} happened; highest {last[0]}, there {last[1]} happened."
    doc = f"{content['doc']} The larger a point, the more samples."
    return Figure(content["title"], doc, {"data": {"values": rows}, "height": 260, "layer": [ideal, points]}, words)


def _ends(values: Sequence[float]) -> list[float]:
    return [min(values), max(values)] if values else [0.0, 1.0]


KINDS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {"confusion": confusion, "agreement": agreement}


def of_task(model: TrainedModel) -> Sequence[Figure]:
    """Return the figures that the task of the model has written."""
    return [KINDS[content["kind"]](content) for content in model.figures]
