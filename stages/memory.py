"""How much memory a stage uses: a log of the whole process tree, and the budget it must keep.

Each record is one line on stderr and one JSON object in `data/logs/<stage>.jsonl`, which no DVC hash sees:
time (s since the epoch), stage, name, event, rss_mb (this process), tree_mb (proportional set size of this process
and its children: shared pages count once), peak_mb (greatest tree_mb so far, or this process's own peak if that is
more), available_mb, cpu_s (of this process and its finished children), and the event's own counts.

``MEMORY_GB`` is the budget of the tree, default three quarters of the machine or of the cgroup's limit.
"""

import contextlib
import json
import logging
import os
import time
from pathlib import Path

import psutil

from stages import paths
from stages.errors import ExpectedError

logger = logging.getLogger("batchwise")

DEFAULT_SHARE = 0.75
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def budget_mb() -> float:
    """Return the memory budget in MB that ``MEMORY_GB`` sets.

    Raises
    ------
    ExpectedError
        When ``MEMORY_GB`` is not a positive number.
    """
    text = os.environ.get("MEMORY_GB", "")
    if not text:
        return DEFAULT_SHARE * _machine_mb()
    try:
        budget = float(text)
    except ValueError:
        budget = 0.0
    if not budget > 0:
        raise ExpectedError(f"MEMORY_GB: {text!r}, expected a number of gigabytes above 0; unset it for the default")
    return budget * 1024


def _machine_mb() -> float:
    limits = [psutil.virtual_memory().total]
    for path in CGROUP_LIMITS:
        if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():
            limits.append(int(text))
    return min(limits) / 2**20


def tree_mb() -> float:
    """Return the proportional set size of this process and all its children, in MB."""
    me = psutil.Process()
    return sum(_pss_mb(process) for process in [me, *me.children(recursive=True)])


def _pss_mb(process: psutil.Process) -> float:
    """Return one process's proportional set size, its resident size where the system has none, 0 if it is gone."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _own_peak_mb() -> float:
    """Return the greatest resident size of this process so far; ru_maxrss would include its parent's before exec."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class MemoryLog:
    """The memory log of one run of a stage.

    Parameters
    ----------
    stage
        The verb.
    name
        What it works on: a dataset, or a dataset and a batch.
    """

    def __init__(self, stage: str, name: str) -> None:
        self._stage, self._name = stage, name
        self._budget_mb = budget_mb()
        self._peak_mb = 0.0
        self._path = paths.LOG_DIR / f"{stage}.jsonl"
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def record(self, event: str, **counts: float) -> None:
        """Log one event with its counts, such as ``n_rows``; refuse to go on above the budget.

        Raises
        ------
        ExpectedError
            When the process tree uses more than the budget.
        """
        rss_mb = psutil.Process().memory_info().rss / 2**20
        used_mb = tree_mb()
        own_peak_mb = _own_peak_mb()
        self._peak_mb = max(self._peak_mb, used_mb, own_peak_mb)
        times = os.times()
        entry = {
            "time": round(time.time(), 3),
            "stage": self._stage,
            "name": self._name,
            "event": event,
            "rss_mb": round(rss_mb, 1),
            "tree_mb": round(used_mb, 1),
            "peak_mb": round(self._peak_mb, 1),
            "available_mb": round(psutil.virtual_memory().available / 2**20, 1),
            "cpu_s": round(times.user + times.system + times.children_user + times.children_system, 3),
            **counts,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        details = "".join(f", {value:,} {name.removeprefix('n_')}" for name, value in counts.items())
        logger.info(
            "%s %s: %s%s | RSS %.0f MB, tree %.0f MB, peak %.0f MB",
            *(self._stage, self._name, event, details, rss_mb, used_mb, self._peak_mb),
        )
        if used_mb > self._budget_mb:
            raise ExpectedError(
                f"{self._stage} {self._name}: {used_mb:,.0f} MB in use at {event!r}, expected at most "
                f"{self._budget_mb:,.0f} MB; raise MEMORY_GB, or lower JOBS or the dataset's batch_size"
            )
