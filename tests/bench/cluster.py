"""Measure what a Dask cluster costs: one batch of 500 simulated games, on two threads and on two workers of a cluster.

Everything runs on this machine, so that the difference is Dask's own: start-up, pickling, and arrays that travel. CPU
is that of all processes: the command's, and what scheduler and workers used meanwhile. Bytes are those of the loopback
device, by which the arrays travel.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from measure import run

N_GAMES, REPEATS = 500, 5
MODULE = [sys.executable, "-m"]
NO_DASHBOARD = ["--no-dashboard"]


def make_workspace(folder: Path) -> None:
    """Make a folder with the code, the games and their one batch."""
    shutil.copytree("stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    options = f"{{raw: raw, batch_size: {N_GAMES}}}"
    (folder / "params.yaml").write_text(f"datasets:\n  splendor: {options}\n", encoding="utf-8")
    code = "from pathlib import Path; from stages.datasets.splendor import simulate; "
    code += f"simulate.write(Path('raw'), {{'games': {N_GAMES}, 'seed': 42}})"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    subprocess.run([*MODULE, "stages.discover", "splendor"], cwd=folder, check=True)


@contextmanager
def two_workers(folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Start a scheduler and two workers of one thread each; yield its address and all their processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-show", *NO_DASHBOARD]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *NO_DASHBOARD]
    started = [
        subprocess.Popen([*MODULE, *command], cwd=folder, stderr=subprocess.DEVNULL)
        for command in (scheduler, worker, worker)
    ]
    try:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=30)
        yield address, [psutil.Process(process.pid) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def measured(
    folder: Path, environment: dict[str, str], others: list[psutil.Process]
) -> tuple[float, float, float, float]:
    """Return wall s, CPU s of the command, CPU s of the others, and MB over the loopback device of one `process`."""

    def totals() -> tuple[float, float]:
        times = [process.cpu_times() for process in others]
        return sum(t.user + t.system for t in times), psutil.net_io_counters(pernic=True)["lo"].bytes_sent / 2**20

    cpu_before, mb_before = totals()
    used = run([*MODULE, "stages.process", "splendor"], folder, {"LOG": "warning", **environment})
    cpu_after, mb_after = totals()
    return used.wall_s, used.cpu_s, cpu_after - cpu_before, mb_after - mb_before


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cluster.") as parent:
        folder = Path(parent)
        make_workspace(folder)
        os.environ["PYTHONPATH"] = str(folder)
        with two_workers(folder) as (address, processes):
            knobs = {
                "2 threads": ({"JOBS": "2"}, []),
                "2 Dask workers": ({"BACKEND": "dask", "DASK_SCHEDULER": address}, processes),
            }
            found: dict[str, list[tuple[float, ...]]] = {name: [] for name in knobs}
            for _ in range(REPEATS + 1):
                for name, (environment, others) in knobs.items():
                    found[name].append(measured(folder, environment, others))
                    (npz,) = (folder / "data/intermediate/splendor").glob("*.npz")
                    size_mb = npz.stat().st_size / 2**20
    print(f"{N_GAMES} games, one batch of {size_mb:.0f} MB; medians of {REPEATS} after a first run")
    for name, runs in found.items():
        wall, cpu, others_cpu, mb = (statistics.median(column) for column in zip(*runs[1:], strict=True))
        print(f"{name:15} wall {wall:.2f} s, CPU {cpu:.2f} s + {others_cpu:.2f} s of the cluster, {mb:.0f} MB sent")


if __name__ == "__main__":
    main()
