"""Write the sections on a run: memory and time, workers, speed, batches, bad units, duplicates, what was rebuilt."""

from collections.abc import Sequence
from datetime import UTC, datetime

from stages.pipeline.lock import STATES, StageState
from stages.report import run_charts
from stages.report.facts import Facts
from stages.report.lock import Comparison
from stages.report.markup import Charts, Html, bullets, details, number, paragraph, percent, table

MAX_LISTED = 200
MEANING = {
    "rebuilt": "inputs or outputs differ from the last commit's",
    "new": "not in the last commit",
    "gone": "in the last commit only",
    "reused": "the same in every input and output",
}


def rebuilt(stages: Sequence[StageState], comparison: Comparison) -> list[Html]:
    """Say what was rebuilt and what was reused since the last commit."""
    if comparison.why_not:
        return [paragraph(comparison.why_not, "note")]
    counts = [(state, sum(stage.state == state for stage in stages)) for state in STATES]
    rows = [(state, MEANING[state], number(count)) for state, count in counts]
    head = table("Stages since the last commit", ("state", "meaning", "stages"), rows, n_text=2)
    listed = [stage for stage in stages if stage.state != "reused"]
    changed = [(stage.name, stage.state, _short(stage.differs)) for stage in listed[:MAX_LISTED]]
    reused = [stage.name for stage in stages if stage.state == "reused"]
    pieces = [paragraph(f"Compared with commit {comparison.commit}"), head]
    if changed:
        pieces.append(table("Stages that are not as in the last commit", ("stage", "state", "differs"), changed, 3))
        if len(listed) > MAX_LISTED:
            pieces.append(paragraph(f"{len(listed) - MAX_LISTED:,} more are not listed."))
    if reused:
        pieces.append(details(f"Reused: {len(reused):,}", bullets(reused)))
    return pieces


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def memory(facts: Facts, charts: Charts) -> list[Html]:
    """Memory over time, and time and peak of each stage."""
    if not facts.runs:
        return []
    rows = [
        (
            f"{run.stage} {run.name}",
            _when(run.started) if run.is_finished else "not finished",
            number(round(run.seconds, 2)),
            number(round(run.peak_mb, 1)),
            percent(run.peak_mb / run.budget_mb if run.budget_mb else None),
        )
        for run in facts.runs
    ]
    whole = table("Last run of each stage", ("stage", "started (UTC)", "seconds", "peak MB", "of budget"), rows, 2)
    folded = details(f"Time and peak of {len(rows)} stages", whole) if len(rows) > 12 else whole
    return [charts.draw(run_charts.memory(facts.runs)), folded]


def _when(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def workers(facts: Facts, charts: Charts) -> list[Html]:
    """Draw the timeline of the workers and list their idle time."""
    runs = facts.batch_runs()
    if not any(run.chunks for run in runs):
        return []
    rows = [
        (
            str(row["worker"]),
            number(row["chunks"]),
            number(row["rows"]),
            number(round(row["busy"], 2)),
            number(round(row["idle"], 2)),
            percent(row["idle_share"]),
        )
        for row in run_charts.idle(runs)
    ]
    head = ("worker", "chunks", "rows", "busy s", "idle s", "idle")
    note = "Idle is all time of process in which the worker encodes nothing: start, uneven chunks, saving."
    return [charts.draw(run_charts.workers(runs)), table("Idle time per worker", head, rows), paragraph(note)]


def speed(facts: Facts, charts: Charts) -> list[Html]:
    """Units and rows per second of each batch."""
    rows = run_charts.speeds(facts.batch_runs())
    if not rows:
        return []
    cells = [
        (
            str(row["batch"]),
            number(round(row["seconds"], 2)),
            number(round(row["units/s"], 1)),
            number(round(row["rows/s"])),
        )
        for row in rows
    ]
    listed = table("Speed per batch", ("batch", "seconds", "units/s", "rows/s"), cells)
    folded = details(f"Speed of {len(cells)} batches", listed)
    return [charts.draw(run_charts.throughput(facts.batch_runs())), folded]


def simulation(facts: Facts) -> list[Html]:
    """Say what the last run of the simulator counted, whatever that is."""
    last = next((run for run in reversed(facts.runs) if run.stage == "simulate" and run.is_finished), None)
    if last is None or not last.counts:
        return []
    names = {name: name.removeprefix("n_").replace("_per_s", " per second").replace("_", " ") for name in last.counts}
    rows = [(names[name], number(value)) for name, value in last.counts.items()]
    return [table(f"Last run of the simulator, {_when(last.started)} UTC", ("count", "value"), rows)]


def batches(facts: Facts, charts: Charts) -> list[Html]:
    """Units, groups and rows of each batch."""
    by_batch = facts.report.get("by_batch", {})
    if not by_batch:
        return [paragraph("The report of merge does not list batches.", "note")] if facts.report else []
    names = ("units", "groups", "rows")
    rows = [(batch, *(number(counts[name]) for name in names)) for batch, counts in by_batch.items()]
    listed = details(f"Sizes of {len(rows)} batches", table("Sizes per batch", ("batch", *names), rows))
    return [*(charts.draw(figure) for figure in run_charts.batches(by_batch)), listed]


def bad_units(facts: Facts) -> list[Html]:
    """Bad units with reasons."""
    found = facts.report.get("bad_units")
    if found is None:
        return []
    if not found["count"]:
        return [paragraph("None: every unit was read."), *findings(facts)]
    rows = [(str(entry["unit"]), str(entry["reason"])) for entry in found["list"][:MAX_LISTED]]
    shown = f"; the first {MAX_LISTED}, all are in the report of merge" if found["count"] > MAX_LISTED else ""
    return [table(f"{found['count']:,} units left out{shown}", ("unit", "reason"), rows, 2), *findings(facts)]


def findings(facts: Facts) -> list[Html]:
    """Say what was wrong within units: totals by reason, and where: file and line, or the line of the unit's bytes."""
    found = facts.report.get("findings", {})
    if not found.get("by_reason"):
        return []
    totals = [(str(reason), number(count)) for reason, count in found["by_reason"].items()]
    rows = [
        (str(entry["unit"]), str(entry["reason"]), str(entry.get("where", entry["line"])), number(entry["count"]))
        for entry in found["list"][:MAX_LISTED]
    ]
    shown = f"; the first {MAX_LISTED}, all are in the report of merge" if len(found["list"]) > MAX_LISTED else ""
    places = table(f"Where it first occurs in the unit{shown}", ("unit", "reason", "line", "count"), rows, 3)
    return [
        table("Found within units", ("reason", "count"), totals),
        details(f"In {len(found['list'])} places", places),
    ]


def duplicates(facts: Facts) -> list[Html]:
    """List the groups that were met again and dropped."""
    found = facts.report.get("duplicates")
    if found is None:
        return []
    if not found["groups"]:
        return [paragraph("None: every group occurs once.")]
    rows = [
        (f"{entry['group_id']:016x}", str(entry["kept"]), str(entry["dropped"]), number(entry["rows"]))
        for entry in found["list"][:MAX_LISTED]
    ]
    shown = f"; {len(rows):,} of them, the report of merge counts all by unit" if found["groups"] > len(rows) else ""
    caption = f"{found['groups']:,} groups with {found['rows']:,} rows dropped{shown}"
    return [table(caption, ("group", "kept from", "dropped from", "rows"), rows, 3)]
