"""Write memory logs and batch reports as a long run with several workers leaves them."""

import json

from stages.core import paths

START = 1_795_000_000.0


def write_run(name, seconds, workers, n_chunks, at=START, budget_mb=4096.0):
    """Append the log of one run of process: chunks dealt to the workers in turn, a sample every fifth of a second."""
    step = seconds / (n_chunks / workers + 2)
    entries = [_entry(name, at, "start", 60.0, budget_mb, n_units=8 * n_chunks)]
    for i in range(n_chunks):
        worker, started = i % workers, at + step * (1 + i // workers)
        chunk = {"worker": f"worker {worker + 1}", "started": round(started, 3), "seconds": round(step * 0.9, 4)}
        counts = {"unit": f"2_games/{i}.csv", "n_units": 8, "n_rows": 600}
        entries.append(_entry(name, started + step, "chunk", 100.0 + i, budget_mb, **chunk, **counts))
    entries += [_entry(name, at + i / 5, "sample", 100.0 + i % 7, budget_mb) for i in range(1, int(5 * seconds))]
    entries.append(_entry(name, at + seconds - step / 2, "before save", 150.0, budget_mb))
    counts = {"n_units": 8 * n_chunks, "n_rows": 600 * n_chunks, "n_bad_units": 0}
    entries.append(_entry(name, at + seconds, "end", 120.0, budget_mb, **counts))
    append("process", *(json.dumps(entry) for entry in sorted(entries, key=lambda entry: entry["time"])))


def append(stage, *lines):
    """Append lines to the log of a stage."""
    paths.LOG_DIR.mkdir(parents=True, exist_ok=True)
    with (paths.LOG_DIR / f"{stage}.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _entry(name, time, event, mb, budget_mb, **counts):
    memory = {"rss_mb": mb, "pss_mb": mb, "peak_mb": mb + 5, "swap_mb": 0.0, "budget_mb": budget_mb, "cpu_s": 1.0}
    return {"time": round(time, 3), "stage": "process", "name": name, "event": event, **memory, **counts}
