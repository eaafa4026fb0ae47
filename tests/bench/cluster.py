"""Measure whole batches on a Dask cluster: bars of two markets, made by one worker and by two.

Everything runs on this machine, one worker a core. Taken are, from the first batch that is asked for to the last one
that is in its place: the wall seconds, the CPU seconds of this process (the client) and of the workers, and the bytes
over the loopback device, by which all that passes the scheduler travels. Connecting is not in it, and is printed. The
clusters take turns; printed are medians.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.core import manifests  # noqa: E402
from stages.core.params import load  # noqa: E402
from stages.processing.cluster import Cluster  # noqa: E402

N_BARS, BATCH_SIZE, REPEATS = 1_000_000, 48, 5
MODULE = [sys.executable, "-m"]
NO_DASHBOARD = ["--no-dashboard"]
INSTRUMENT = "{{bar_minutes: 5, bars: {}, start: '2005-01-03', price: {}}}"


@dataclass(frozen=True)
class Taken:
    """What the batches of one run took: s of wall time and of CPU, and MB."""

    connect_s: float
    wall_s: float
    client_cpu_s: float
    workers_cpu_s: float
    sent_mb: float


def make_workspace(folder: Path) -> list[str]:
    """Make a folder with the code, the bars and their manifests; return the batches."""
    shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    instruments = f"{{NQ: {INSTRUMENT.format(N_BARS, 1500.0)}, ES: {INSTRUMENT.format(N_BARS, 1100.0)}}}"
    text = f"datasets:\n  market: {{raw: data/sample/market, batch_size: {BATCH_SIZE}}}\n"
    text += f"simulate:\n  market: {{seed: 42, instruments: {instruments}}}\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for verb in ("simulate", "discover"):
        subprocess.run([*MODULE, f"stages.{verb}", "market"], cwd=folder, check=True)
    os.chdir(folder)
    return manifests.read_batch_list("market")


@contextmanager
def cluster(n_workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Start a scheduler and workers of one thread each; yield its address and the workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-show", *NO_DASHBOARD]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", *NO_DASHBOARD]
    started = [
        subprocess.Popen([*MODULE, *command], stderr=subprocess.DEVNULL)
        for command in (scheduler, *[worker] * n_workers)
    ]
    try:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=30)
        yield address, [psutil.Process(process.pid) for process in started[1:]]
    finally:
        for process in started:
            process.kill()
            process.wait()


def measured(batches: list[str], address: str, workers: list[psutil.Process]) -> Taken:
    """Have a cluster make all batches."""

    def totals() -> tuple[float, ...]:
        times = [worker.cpu_times() for worker in workers]
        sent = psutil.net_io_counters(pernic=True)["lo"].bytes_sent / 2**20
        return time.monotonic(), time.process_time(), sum(t.user + t.system for t in times), sent

    shutil.rmtree("data/intermediate", ignore_errors=True)
    os.environ["DASK_SCHEDULER"] = address
    started = time.monotonic()
    with Cluster(load().datasets) as makers:
        connect_s, before = time.monotonic() - started, totals()
        for one in [makers.begin("market", batch) for batch in batches]:
            one.take()
        return Taken(connect_s, *(after - b for after, b in zip(totals(), before, strict=True)))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="cluster.") as parent:
        batches = make_workspace(Path(parent))
        os.environ["PYTHONPATH"] = parent
        with cluster(1) as one, cluster(2) as two:
            found: dict[str, list[Taken]] = {"1 worker": [], "2 workers": []}
            for _ in range(REPEATS + 1):
                for runs, (address, workers) in zip(found.values(), (one, two), strict=True):
                    runs.append(measured(batches, address, workers))
        size_mb = sum(path.stat().st_size for path in Path("data/intermediate/market").iterdir()) / 2**20
        os.chdir(ROOT)
    print(f"{2 * N_BARS:,} bars, {len(batches)} batches, {size_mb:,.0f} MB; medians of {REPEATS} after a first run")
    for name, runs in found.items():
        took = Taken(*map(statistics.median, zip(*map(astuple, runs[1:]), strict=True)))
        client_ms = 1000 * took.client_cpu_s / len(batches)
        print(
            f"{name:9} wall {took.wall_s:.2f} s, CPU {took.workers_cpu_s:.2f} s, and {client_ms:.1f} ms a batch of the "
            f"client; {took.sent_mb:.3f} MB sent ({took.sent_mb / size_mb:.3%}); connecting {took.connect_s:.2f} s"
        )
    pairs = list(zip(*found.values(), strict=True))[1:]
    speedup = statistics.median(one_worker.wall_s / two_workers.wall_s for one_worker, two_workers in pairs)
    print(f"two workers are {speedup:.2f} times as fast as one")


if __name__ == "__main__":
    main()
