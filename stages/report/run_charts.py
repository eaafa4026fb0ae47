"""Draw what the logs and the report say of a run: memory, workers, speed, batches.

Each function takes values and returns a `Figure`. Runs are laid end to end, without the time between them: a batch
that was built last week stands beside one of today.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.pipeline import verbs
from stages.report.figure import Figure, kind, quantity, readable
from stages.report.logs import Run

MAX_POINTS = 2000
FEW_BARS = 300
MAX_BARS = 3000
FEW_POINTS = 150
BEYOND = 3
LEVEL_LABELS = 8
TIME_TITLE = "seconds, runs end to end"


def batch_axis(n_batches: int) -> dict[str, Any]:
    """Return the encoding of batch ids on the x axis, slanted where there are many."""
    return kind("batch", "batch", axis={"labelAngle": 0 if n_batches <= LEVEL_LABELS else -45})


def starts(runs: Sequence[Run]) -> list[float]:
    """Return where each run begins when all are laid end to end, in seconds."""
    result, clock = [], 0.0
    for run in runs:
        result.append(clock)
        clock += run.seconds
    return result


def memory(runs: Sequence[Run]) -> Figure:
    """Draw the memory of the process tree over time, with the budget."""
    rows = [
        {"time": round(clock + time - run.started, 3), "mb": mb, "stage": run.stage, "run": f"{run.stage} {run.name}"}
        for run, clock in zip(runs, starts(runs), strict=True)
        for time, mb in _thinned(run.samples, max(2, MAX_POINTS // len(runs)))
    ]
    peak = max((run.peak_mb for run in runs), default=0.0)
    budget = min((run.budget_mb for run in runs if run.budget_mb), default=None)
    used = [stage for stage in verbs.VERBS if any(run.stage == stage for run in runs)]
    top = 1.1 * max(peak, _budget_height(peak, budget) if budget else 0.0)
    x, y = quantity("time", TIME_TITLE), quantity("mb", "MB", stack=None, scale={"domain": [0, top], "nice": False})
    colour = kind("stage", scale={"domain": used})
    tip = [{"field": "run"}, quantity("time", "second"), quantity("mb", "MB")]
    area = {
        "mark": {
            "type": "area",
            "line": {"strokeWidth": 1.5},
            "point": {"size": 8} if len(rows) < FEW_POINTS else False,
            "opacity": 0.35,
        },
        "encoding": {"x": x, "y": y, "color": colour, "detail": {"field": "run"}, "tooltip": tip},
    }
    limit = _budget_layers(peak, budget) if budget else []
    worst = max(runs, key=lambda run: run.peak_mb)
    return Figure(
        "Memory over time",
        "Proportional set size of the process tree in each stage's last run; the dashed line is the budget.",
        {"data": {"values": rows}, "height": 240, "layer": [area, *limit]},
        f"The highest peak is {readable(round(peak, 1))} MB, in {worst.stage} {worst.name}"
        + (f"; the budget is {readable(round(budget))} MB." if budget else "; the logs name no budget."),
    )


def _budget_height(peak: float, budget: float) -> float:
    """Return where the budget is drawn: far above the peak it would flatten the curve, so just above that."""
    return budget if budget <= BEYOND * peak else 1.25 * peak


def _budget_layers(peak: float, budget: float) -> list[dict[str, Any]]:
    """Return the line of the budget with its label."""
    y = _budget_height(peak, budget)
    label = f"budget {budget:,.0f} MB" + ("" if y == budget else " (off scale)")
    data = {"values": [{"budget": y, "label": label}]}
    height = quantity("budget", "MB")
    above = {"type": "text", "align": "left", "baseline": "bottom", "dx": 4, "dy": -3, "style": "budget-label"}
    return [
        {"data": data, "mark": {"type": "rule", "style": "budget"}, "encoding": {"y": height}},
        {"data": data, "mark": above, "encoding": {"y": height, "x": {"value": 0}, "text": {"field": "label"}}},
    ]


def _thinned(samples: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most `most` samples, of neighbours the higher."""
    step = -(-len(samples) // most) if samples else 1
    return [max(samples[i : i + step], key=lambda sample: sample[1]) for i in range(0, len(samples), step)]


def workers(runs: Sequence[Run]) -> Figure:
    """Draw which worker encoded which chunk when; `runs` are those of process."""
    bars = [bar for run, clock in zip(runs, starts(runs), strict=True) for bar in _bars(run, clock - run.started)]
    names_of = {str(bar["worker"]) for bar in bars}
    shown = _joined(bars, sum(run.seconds for run in runs) * len(names_of) / MAX_BARS) if len(bars) > FEW_BARS else bars
    joined = " Where they are too many, chunks without a gap that could be seen are one bar." if shown != bars else ""
    names = [*_in_order(names_of - {"main"}), "main"]
    tip = [{"field": name} for name in ("worker", "does", "batch", "unit", "units", "rows", "from", "to")]
    encoding = {
        "y": kind("worker", scale={"domain": names}),
        "x": quantity("from", TIME_TITLE),
        "x2": {"field": "to"},
        "color": kind("does", scale={"domain": ["encodes", "saves"]}),
        "tooltip": tip,
    }
    mark = {"type": "bar", "height": {"band": 0.75}, **({"style": "chunk"} if len(bars) <= FEW_BARS else {})}
    return Figure(
        "What each worker did when",
        f"A bar is a chunk of units that one worker encoded; gaps are idle time.{joined}",
        {"data": {"values": shown}, "height": 30 * len(names), "mark": mark, "encoding": encoding},
        "; ".join(f"{row['worker']} idle {100 * row['idle_share']:.0f}%" for row in idle(runs)) + ".",
    )


def _bars(run: Run, shift: float) -> list[dict[str, Any]]:
    """Return the chunks of a run, and its saving, as bars on the common clock."""
    bars = [
        {
            "worker": chunk.worker,
            "does": "encodes",
            "batch": run.batch,
            "unit": chunk.unit,
            "units": chunk.n_units,
            "rows": chunk.n_rows,
            "from": round(chunk.started + shift, 3),
            "to": round(chunk.started + shift + chunk.seconds, 3),
        }
        for chunk in run.chunks
    ]
    if run.saving:
        times = {"from": round(run.saving[0] + shift, 3), "to": round(run.saving[1] + shift, 3)}
        bars.append({"worker": "main", "does": "saves", "batch": run.batch, "unit": "", "units": 0, "rows": 0, **times})
    return bars


def _joined(bars: Sequence[dict[str, Any]], gap: float) -> list[dict[str, Any]]:
    """Join the bars of one worker and batch that are less than `gap` seconds apart."""
    result: list[dict[str, Any]] = []
    last: dict[tuple[str, str, str], dict[str, Any]] = {}
    for bar in sorted(bars, key=lambda bar: bar["from"]):
        key = (bar["worker"], bar["does"], bar["batch"])
        if key in last and bar["from"] - last[key]["to"] < gap:
            last[key].update({name: last[key][name] + bar[name] for name in ("units", "rows")}, to=bar["to"])
        else:
            last[key] = dict(bar)
            result.append(last[key])
    return result


def _in_order(workers: set[str]) -> list[str]:
    """Return the workers' names, worker 2 before worker 10."""
    return sorted(workers, key=lambda name: (len(name), name))


def idle(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return per worker its chunks, rows, busy and idle seconds, and the idle share, over the whole of the runs."""
    total = sum(run.seconds for run in runs)
    chunks = [chunk for run in runs for chunk in run.chunks]
    result = []
    for worker in _in_order({chunk.worker for chunk in chunks}):
        own = [chunk for chunk in chunks if chunk.worker == worker]
        busy = sum(chunk.seconds for chunk in own)
        free = max(0.0, total - busy)
        counts = {"worker": worker, "chunks": len(own), "rows": sum(chunk.n_rows for chunk in own)}
        result.append({**counts, "busy": busy, "idle": free, "idle_share": free / total if total else 0.0})
    return result


def speeds(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return units and rows per second of each finished run of process, by batch; instant ones have none."""
    return [
        {
            "batch": run.batch,
            "seconds": run.seconds,
            "units/s": (run.n_units or 0) / run.seconds,
            "rows/s": (run.n_rows or 0) / run.seconds,
        }
        for run in sorted(runs, key=lambda run: run.batch)
        if run.is_finished and run.seconds
    ]


def throughput(runs: Sequence[Run]) -> Figure:
    """Draw rows per second of each batch, with units per second in the tooltip."""
    rows = [{**row, "units/s": round(row["units/s"], 1), "rows/s": round(row["rows/s"])} for row in speeds(runs)]
    tip = [{"field": "batch"}, {"field": "rows/s"}, {"field": "units/s"}]
    low, high = min(row["rows/s"] for row in rows), max(row["rows/s"] for row in rows)
    encoding = {"x": batch_axis(len(rows)), "y": quantity("rows/s", "rows per second"), "tooltip": tip}
    return Figure(
        "Speed per batch",
        "Rows per second from a batch's start to its end, reading, encoding and saving together.",
        {"data": {"values": rows}, "height": 180, "mark": "bar", "encoding": encoding},
        f"From {readable(low)} to {readable(high)} rows per second over {len(rows)} batches.",
    )


def batches(by_batch: Mapping[str, Mapping[str, int]]) -> list[Figure]:
    """Draw units and rows of each batch."""
    rows, result = [{"batch": batch, **counts} for batch, counts in by_batch.items()], []
    for unit in ("units", "rows"):
        sizes = [counts[unit] for counts in by_batch.values()]
        encoding = {
            "x": batch_axis(len(rows)),
            "y": quantity(unit, unit),
            "tooltip": [{"field": name} for name in ("batch", "units", "groups", "rows")],
        }
        result.append(
            Figure(
                f"{unit.capitalize()} per batch",
                "A batch is the part of the raw data that is rebuilt when one of its units changes.",
                {"data": {"values": rows}, "height": 160, "mark": "bar", "encoding": encoding},
                f"From {readable(min(sizes))} to {readable(max(sizes))} {unit} in {len(sizes)} batches.",
            )
        )
    return result
