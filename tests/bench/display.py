"""Measure what the live display costs: CPU of process in a pseudo-terminal with LOG=info against LOG=warning.

Run from the repository's root: ``python tests/bench/display.py``. Both take turns; the ratio is that of the least CPU
times, which other work on the machine disturbs least. As that still swings by a percent or two, the CPU time of the
display's own thread is printed too, which is exact: imports, drawing and writing.
"""

import argparse
import logging
import os
import pty
import sys
import tempfile
import threading
import time
from operator import attrgetter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD = "--child"
BATCH = "b"


def run_child() -> None:
    """Process the batch; write the CPU seconds of the display's thread into a file."""
    from stages import process
    from stages.core.params import load
    from stages.runtime import display

    spent = [0.0]
    genuine = display.Display._draw

    def timed(self: display.Display) -> None:
        started = time.thread_time()
        genuine(self)
        spent[0] = time.thread_time() - started

    display.Display._draw = timed  # type: ignore[method-assign]
    level = os.environ["LOG"].upper()
    logging.basicConfig(level=level, format="%(message)s")
    process.process("splendor", BATCH, load().dataset("splendor"))
    Path(f"display-{level}.txt").write_text(str(spent[0]))


def in_terminal(folder: Path, level: str) -> tuple[float, float]:
    """Process the batch in a pseudo-terminal; return CPU seconds of the process and of the display's thread."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOG": level, "TERM": "xterm-256color"}
        os.execve(sys.executable, [sys.executable, __file__, CHILD], environment)
    reader = threading.Thread(target=_drain, args=(terminal,))
    reader.start()
    _, status, used = os.wait4(child, 0)
    reader.join()
    os.close(terminal)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"process failed with LOG={level}")
    return used.ru_utime + used.ru_stime, float((folder / f"display-{level.upper()}.txt").read_text())


def _drain(terminal: int) -> None:
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # the process has ended
        pass


def measure(folder: Path, games: int, repeats: int) -> str:
    """Return the figures in one line."""
    from stages.core import manifests
    from stages.datasets.splendor import find, simulate

    simulate.write(folder / "raw", {"games": games, "seed": 42})
    (folder / "params.yaml").write_text(f"datasets: {{splendor: {{raw: raw, batch_size: {games}}}}}\n")
    manifest = folder / f"data/manifests/splendor/batches/{BATCH}.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(
        manifests.manifest_text("splendor", BATCH, sorted(find.find(folder / "raw", {}), key=attrgetter("key")))
    )
    times: dict[str, list[tuple[float, float]]] = {"info": [], "warning": []}
    for repeat in range(repeats):
        for level in sorted(times, reverse=bool(repeat % 2)):
            times[level].append(in_terminal(folder, level))
    shown, plain = min(times["info"]), min(times["warning"])
    thread_s = sorted(thread for _, thread in times["info"])[repeats // 2]
    return (
        f"live display, {games:,} games: {shown[0]:.3f} s CPU with it, {plain[0]:.3f} s without: "
        f"ratio {shown[0] / plain[0]:.3f}; its thread {thread_s * 1000:.0f} ms, {thread_s / plain[0]:.2%}"
    )


def main() -> int:
    """Run the measurement from the command line."""
    parser = argparse.ArgumentParser(prog="python tests/bench/display.py", description=__doc__.splitlines()[0])
    parser.add_argument("--games", type=int, default=1000, help="games in the batch (%(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="runs of each kind (%(default)s)")
    parser.add_argument(CHILD, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.child:
        run_child()
        return 0
    with tempfile.TemporaryDirectory(prefix="batchwise-bench-") as folder:
        print(measure(Path(folder), arguments.games, arguments.repeats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
