"""The benchmark's figures as aligned plain text."""

from collections.abc import Sequence
from typing import Any

NOTE = """pandas and pyarrow do less than batchwise: 422 base columns and labels only, without the 886 strategic
columns, the masks, the validation and the intermediate files. batchwise is all its stages, each batch its own process.
np.save loads batchwise's final X, labels and masks and saves each three times; CPU counts the cheapest one only."""
NAMES = {"floor": "np.save, its process", "saves": "np.save, calls alone"}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows of cells: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def report(figures: dict[str, Any]) -> str:
    """Return all tables."""
    parts = [growth(figures), NOTE, stages(figures), writing(figures), requirements(figures)]
    return "\n\n".join(parts)


def _main(figures: dict[str, Any]) -> str:
    return f"batchwise {figures['jobs'][0]}"


def growth(figures: dict[str, Any]) -> str:
    """Return CPU, its ratio to batchwise, and memory of each contender by number of games."""
    rows = [("contender (JOBS)", "games", "CPU s per 1,000 games", "ratio to batchwise", "peak PSS MB", "wall s")]
    for size, results in figures["sizes"].items():
        for name, result in sorted(results.items()):
            ratio = result["cpu_s"] / results[_main(figures)]["cpu_s"]
            cells = (name, f"{size:,}", f"{1000 * result['cpu_s'] / size:.2f}", f"{ratio:.2f}")
            rows.append((*cells, f"{result['peak_mb']:.0f}", f"{result['wall_s']:.1f}"))
    return table(rows)


def stages(figures: dict[str, Any]) -> str:
    """Return what each stage uses by number of games, and np.save."""
    rows = [("stage", "games", "CPU s", "wall s", "peak PSS MB")]
    runs = [
        (size, results[_main(figures)]["stages"] | results["np.save"]["stages"])
        for size, results in figures["sizes"].items()
    ]
    once = figures["once"]
    if once["games"] not in figures["sizes"]:
        runs.append((once["games"], once["batchwise"]["stages"]))
    for size, used in runs:
        for name, usage in used.items():
            cells = (f"{usage['cpu_s']:.2f}", f"{usage['wall_s']:.2f}", f"{usage['peak_mb']:.0f}")
            rows.append((NAMES.get(name, name), f"{size:,}", *cells))
    return table(rows)


def writing(figures: dict[str, Any]) -> str:
    """Return the least CPU of merge, split and np.save."""
    once = figures["once"]
    rows = [("least CPU s of some runs, in turns", f"{once['games']:,} games")]
    rows += [(NAMES.get(name, name), f"{cpu_s:.2f}") for name, cpu_s in once["writing"].items()]
    return table(rows)


def requirements(figures: dict[str, Any]) -> str:
    """Return each requirement with the figure of this run; the largest size counts."""
    step, once = figures["steps_ms_per_game"], figures["once"]
    size, run, least = once["games"], once["batchwise"], once["writing"]
    started = 1000 * run["stages"]["process"]["cpu_s"] / size
    written = least["merge"] + least["split"]
    checks = [
        ("read, ms CPU a game, warm", step["read"], 1.0),
        ("process (read + encode + save) / read, warm", sum(step.values()) / step["read"], 4.0),
        (f"process with start-up / read, {size:,} games", started / step["read"], 4.0),
        (f"merge + split with start-up / np.save calls, {size:,} games", written / least["saves"], 3.0),
        (f"peak PSS MB of any stage, JOBS={figures['jobs'][0]}, {size:,} games", run["peak_mb"], 1024.0),
    ]
    rows = [("requirement", "measured", "at most", "")]
    for name, measured, most in checks:
        rows.append((name, f"{measured:.2f}", f"{most:g}", "PASS" if measured <= most else "MISS"))
    rows.append((f"merge + split / np.save's process, {size:,} games", f"{written / least['floor']:.2f}", "", ""))
    return table(rows)
