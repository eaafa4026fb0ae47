"""Say where the CPU seconds of `make preprocess` go: DVC's imports, YAML, locks, hashes and links, start-up, work.

Run from the repository's root: ``python tests/bench/where.py``. It clones the last commit into a temporary folder and
runs the sample three times: with nothing built, with one game removed, with nothing changed.

Every Python process of a run loads a small thread that looks at the stack of its main thread every 5 ms, and gives the
CPU seconds since the last look to the innermost frame that is known; what the process used before that is start-up. So
the table needs no change of the code, and costs about 3 % of the time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LOOK = """
import atexit, json, os, sys, threading, time

PLACES = PLACES_HERE
seconds = {"Python start-up": time.process_time()}

def place(frame):
    while frame is not None:
        code = frame.f_code
        where = f"{code.co_filename}:{code.co_name}"
        for part, name in PLACES:
            if part in where:
                return name
        frame = frame.f_back
    return "other"

def look(main, stop):
    before = time.process_time()
    while not stop.wait(0.005):
        frame, now = sys._current_frames().get(main), time.process_time()
        if frame is not None:
            name = place(frame)
            seconds[name] = seconds.get(name, 0.0) + now - before
        before = now

def write():
    stop.set()
    words = [os.path.basename(word) for word in sys.orig_argv]
    is_dvc = "dvc" in words or "stages.pipeline.dvc_cli" in words
    module = next((word for word in words if word.startswith("stages.")), "")
    entry = {"what": "dvc" if is_dvc else module or "other", "seconds": seconds}
    with open(os.environ["WHERE"], "a") as file:
        file.write(json.dumps(entry) + "\\n")

stop = threading.Event()
threading.Thread(target=look, args=(threading.get_ident(), stop), daemon=True).start()
atexit.register(write)
"""
# The first part that is in the innermost frame's file and function decides.
PLACES = [
    ("<frozen importlib", "imports"),
    ("/dvc/utils/serialize/", "YAML"),
    ("/ruamel/", "YAML"),
    ("/yaml/", "YAML"),
    ("/dvc/schema.py", "YAML"),
    ("/voluptuous/", "YAML"),
    ("/dvc/rwlock.py", "locks"),
    ("/zc/lockfile/", "locks"),
    ("/dvc/lock.py", "locks"),
    ("/dvc_data/hashfile/hash.py", "hashing"),
    ("/dvc_data/hashfile/state.py", "state database"),
    ("/sqltrie/", "state database"),
    ("/diskcache/", "state database"),
    ("/dvc_data/hashfile/build.py", "hashing"),
    ("/dvc_data/hashfile/tree.py", "hashing"),
    ("/dvc_data/hashfile/checkout.py", "links"),
    ("/dvc_data/hashfile/transfer.py", "links"),
    ("/dvc_objects/fs/", "links"),
    ("/dvc_objects/db.py", "links"),
    ("/dvc_data/hashfile/db/", "links"),
    ("/dvc/parsing/", "dvc.yaml and params"),
    ("/dvc/stage/loader.py", "dvc.yaml and params"),
    ("/networkx/", "graph"),
    ("/dvc/repo/graph.py", "graph"),
    ("/dvc/", "DVC, the rest"),
    ("/dvc_data/", "DVC, the rest"),
    ("/scmrepo/", "git"),
    ("/dulwich/", "git"),
    ("/stages/core/hashing.py", "hashing by stages"),
    ("/stages/runtime/", "watching and waiting"),
    ("/stages/", "work"),
]


def run(folder: Path, *command: str, **environment: str) -> float:
    """Run a command quietly in a folder; return its wall seconds."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "LOG": "warning", **environment}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=variables, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - started


def looked_at(folder: Path, shim: Path, **environment: str) -> tuple[float, Counter[tuple[str, str]], Counter[str]]:
    """Run preprocess; return its wall seconds, the CPU seconds by process and place, and the number of processes."""
    notes = shim / "notes.jsonl"
    notes.unlink(missing_ok=True)
    variables = {**environment, "WHERE": str(notes), "PYTHONPATH": f"{shim}{os.pathsep}{folder}"}
    wall = run(folder, sys.executable, "-m", "stages.commands.preprocess", **variables)
    found, processes = Counter[tuple[str, str]](), Counter[str]()
    for line in notes.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        what = entry["what"] if entry["what"] in ("dvc", "stages.commands.preprocess") else "stages"
        processes[what] += 1
        for name, seconds in entry["seconds"].items():
            found[what, name] += seconds
    return wall, found, processes


def table(columns: dict[str, tuple[float, Counter[tuple[str, str]], Counter[str]]]) -> str:
    """Return the Markdown table of CPU seconds, largest first by the first column."""
    names = sorted({key for _, found, _ in columns.values() for key in found}, key=lambda key: (key[0], key[1]))
    first = next(iter(columns.values()))[1]
    names.sort(key=lambda key: (key[0], -first[key]))
    lines = [f"| process | where | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for what, name in names:
        cells = [f"{found[what, name]:.2f}" for _, found, _ in columns.values()]
        if any(float(cell) >= 0.05 for cell in cells):
            lines.append(f"| {what} | {name} | {' | '.join(cells)} |")
    for what in sorted({name for _, _, processes in columns.values() for name in processes}):
        counts = [str(processes[what]) for _, _, processes in columns.values()]
        lines.append(f"| {what} | number of processes | {' | '.join(counts)} |")
    totals = [f"{sum(found.values()):.1f}" for _, found, _ in columns.values()]
    lines.append(f"| all | CPU seconds | {' | '.join(totals)} |")
    lines.append(f"| all | wall seconds | {' | '.join(f'{wall:.1f}' for wall, _, _ in columns.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="where.") as parent:
        folder, shim = Path(parent, "clone"), Path(parent, "shim")
        subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
        shim.mkdir()
        (shim / "sitecustomize.py").write_text(LOOK.replace("PLACES_HERE", repr(PLACES)), encoding="utf-8")
        run(folder, sys.executable, "-m", "dvc", "config", "--local", "cache.type", "hardlink,copy")
        columns = {"nothing built": looked_at(folder, shim)}
        next((folder / "data/sample/splendor").rglob("*.csv")).unlink()
        columns["one game removed"] = looked_at(folder, shim, SIMULATE="no")
        columns["nothing changed"] = looked_at(folder, shim, SIMULATE="no")
    print(table(columns))


if __name__ == "__main__":
    main()
