"""How much memory a process tree uses, the budget it must keep, and a watch that keeps it.

Memory is the proportional set size (PSS) of this process and all its descendants: a page that k of them share counts
1/k in each. ``MEMORY_GB`` is the budget of the tree, default three quarters of the machine or of the cgroup's limit.
"""

import contextlib
import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import FrameType

import psutil

from stages.core.errors import ExpectedError
from stages.runtime import signals
from stages.runtime.text import printable

DEFAULT_SHARE = 0.75
TARGET_SHARE = 0.8  # of the budget: what the work is planned for
STOP_SHARE = 0.95  # of the budget: the rest is what a tree may grow by between two looks
OWN_CGROUPS, CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")
OWN_STATM, OWN_TASKS = Path("/proc/self/statm"), Path("/proc/self/task")
LEAST_REST_S, MOST_REST_S = 0.01, 0.1  # between two looks at the resident sizes, 15 us a process
FASTEST_MB_S = 8000  # how fast a tree may grow: one thread touches 2 GB a second
NEW_PEAK = 1.1  # how much more than the last peak is one worth measuring
SAMPLE_S = 0.5  # proportional sizes, about 1 ms for 100 MB, since the kernel walks all pages
UNWIND_S = 0.1  # what the main thread may take to clean up after the budget is exceeded, whatever the workers do
GRACE_S = 1.0  # the same while memory does not grow beyond the budget
M_ARENA_MAX = -8  # of mallopt(3)


class OverBudget(ExpectedError):
    """The process tree uses more memory than it may."""


@dataclass(frozen=True)
class Usage:
    """Memory at one moment in MB.

    `rss_mb` is the resident size of this process; `pss_mb` and `swap_mb` are the proportional resident and swapped
    sizes of the tree.
    """

    rss_mb: float
    pss_mb: float
    swap_mb: float


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
    if not 0 < budget < math.inf:
        raise ExpectedError(f"MEMORY_GB: {text!r}, expected a number of gigabytes above 0; unset it for the default")
    return budget * 1024


def _machine_mb() -> float:
    limits = [psutil.virtual_memory().total]
    for path in _limit_files():
        if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():
            limits.append(int(text))
    return min(limits) / 2**20


def _limit_files() -> Iterator[Path]:
    """Yield the files with the memory limits of this process's cgroup and of those around it, of version 2 or 1."""
    lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines() if OWN_CGROUPS.is_file() else []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        folder = CGROUPS / "memory" if controllers else CGROUPS
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        if not controllers or "memory" in controllers.split(","):
            own = PurePosixPath(group)
            yield from (folder / part.relative_to("/") / name for part in (own, *own.parents))


def available_mb() -> float:
    """Return what the machine could still give without swapping."""
    return float(psutil.virtual_memory().available) / 2**20


def share_heaps() -> None:
    """Let all threads share two heaps of glibc's malloc, which has one for each thread and keeps what was freed there.

    With 8 threads it kept 90 MB more, which no longer fitted into a budget of 512 MB; speed is the same. Elsewhere
    nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def usage() -> Usage:
    """Measure this process and its descendants."""
    return _usage(_tree())


def _usage(tree: Sequence[int]) -> Usage:
    sizes = [_proportional_mb(process) for process in tree]
    return Usage(_resident_mb(os.getpid()), sum(pss for pss, _ in sizes), sum(swap for _, swap in sizes))


def _tree() -> list[int]:
    """Return the ids of this process and all its descendants."""
    found = [os.getpid()]
    if not OWN_TASKS.is_dir():  # not Linux
        return found + [child.pid for child in psutil.Process().children(recursive=True)]
    for process in found:
        with contextlib.suppress(OSError):  # it ended meanwhile
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as file:  # noqa: PTH123 - faster
                    found += map(int, file.read().split())
    return found


def _proportional_mb(process: int) -> tuple[float, float]:
    """Return one process's PSS and swapped PSS; its resident size where the system has none; 0 if it is gone."""
    sizes = {}
    with contextlib.suppress(OSError):
        for line in Path(f"{PROCESSES}/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(("Pss:", "SwapPss:")):
                name, kilobytes, _ = line.split()
                sizes[name] = int(kilobytes) / 1024
    return sizes.get("Pss:", 0.0) or _resident_mb(process), sizes.get("SwapPss:", 0.0)


def _resident_mb(process: int) -> float:
    try:
        return float(psutil.Process(process).memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def _sum_of_resident_mb(tree: Sequence[int]) -> float:
    """Return the sum of the resident sizes of processes, where a page that k of them share counts k times."""
    if not OWN_STATM.is_file():  # not Linux
        return sum(map(_resident_mb, tree))
    page_mb, total = os.sysconf("SC_PAGE_SIZE") / 2**20, 0.0
    for process in tree:
        with contextlib.suppress(OSError), open(f"/proc/{process}/statm", encoding="ascii") as file:  # noqa: PTH123
            total += int(file.read().split()[1]) * page_mb
    return total


def _own_peak_mb() -> float:
    """Return the greatest resident size of this process so far; ru_maxrss would include its parent's before exec."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Watch:
    """Look at the tree's memory from a thread of its own; interrupt the main thread when the budget is exceeded.

    Resident sizes are looked at 10 times a second, and up to 100 times near the budget; proportional sizes, which cost
    more, twice a second and whenever the resident ones promise a new peak.

    Parameters
    ----------
    describe
        Says what the tree is doing, for the error: "process splendor-b01 with 2_games/17.csv in work".
    on_sample
        Called from the thread with each measured `Usage`.
    advice
        What to do when the budget is exceeded, for the error.
    only_looks
        Interrupt nothing: someone else sees that the budget is kept.
    most_mb
        The budget in MB; that of ``MEMORY_GB`` for none.

    Attributes
    ----------
    usage
        As last measured, at most 0.5 s ago.
    estimate_mb
        Of the tree's PSS, at most 0.1 s ago.
    """

    def __init__(
        self,
        describe: Callable[[], str],
        on_sample: Callable[[Usage], None],
        advice: str = "raise MEMORY_GB",
        only_looks: bool = False,
        most_mb: float | None = None,
    ) -> None:
        self.budget_mb = budget_mb() if most_mb is None else most_mb
        self._most_mb = STOP_SHARE * self.budget_mb
        self.usage = usage()
        self.peak_mb = 0.0
        self._recent_peak_mb = 0.0
        self._describe, self._on_sample, self._advice = describe, on_sample, advice
        self._only_looks = self._is_over = only_looks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory watch", daemon=True)
        self.measure()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def measure(self) -> Usage:
        """Measure now.

        Raises
        ------
        OverBudget
            When the tree uses more than `STOP_SHARE` of the budget.
        """
        self._note(usage())
        self.peak_mb = max(self.peak_mb, _own_peak_mb())
        if self.usage.pss_mb > self._most_mb:
            self._is_over = True
            raise self.error()
        return self.usage

    def take_peak_mb(self) -> float:
        """Return the greatest PSS of the tree since the last call."""
        peak, self._recent_peak_mb = self._recent_peak_mb, self.usage.pss_mb
        return peak

    def error(self) -> OverBudget:
        """Return the error that says how much is in use, for what, and which knob to turn."""
        return OverBudget(
            f"{self._describe()}: {self.usage.pss_mb:,.0f} MB in use, expected at most {self._most_mb:,.0f} MB "
            f"({STOP_SHARE:.0%} of the budget); {self._advice}"
        )

    def _note(self, now: Usage) -> None:
        self.usage = now
        self.estimate_mb = now.pss_mb
        self.peak_mb = max(self.peak_mb, now.pss_mb)
        self._recent_peak_mb = max(self._recent_peak_mb, now.pss_mb)

    def _look(self) -> None:
        """Estimate again and again, and measure when it is time to or the estimate promises a new peak."""
        tree, shared_mb, measure_at = _tree(), 0.0, 0.0
        while not self._stop.wait(self._rest_s()):
            # cheap: the resident sizes, less what they counted more than once when last measured
            self.estimate_mb = _sum_of_resident_mb(tree) - shared_mb
            if time.monotonic() < measure_at and not self._promises_new_peak():
                continue
            # dear: the tree is found anew, since processes come and go, and its proportional sizes are measured
            tree, measure_at = _tree(), time.monotonic() + SAMPLE_S
            self._note(_usage(tree))
            shared_mb = _sum_of_resident_mb(tree) - self.usage.pss_mb
            self._on_sample(self.usage)
            if self.usage.pss_mb > self._most_mb and not self._is_over:
                self._is_over = True
                self._interrupt()

    def _promises_new_peak(self) -> bool:
        """Say whether the estimate is worth measuring: well above the last peak, or above what may be in use."""
        most_mb = math.inf if self._only_looks else self._most_mb
        return self.estimate_mb > min(NEW_PEAK * self._recent_peak_mb, most_mb)

    def _rest_s(self) -> float:
        """Return when to look again: before a tree that grows as fast as it can exceeds the budget."""
        if self._only_looks:
            return MOST_REST_S
        return min(max((self._most_mb - self.estimate_mb) / FASTEST_MB_S, LEAST_REST_S), MOST_REST_S)

    def _interrupt(self) -> None:
        """Raise `OverBudget` in the main thread; end the process if that does not end it, or memory grows further."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        started = time.monotonic()
        while not self._stop.wait(LEAST_REST_S):
            seconds = time.monotonic() - started
            if seconds > GRACE_S or (seconds > UNWIND_S and usage().pss_mb > self.budget_mb):
                sys.stderr.write(f"error: {printable(str(self.error()))}\n")
                signals.end_now(1)


@contextlib.contextmanager
def kept_budget(watch: Watch) -> Iterator[None]:
    """Let `watch` look while the block runs, which is left with `OverBudget` when the budget is exceeded.

    It needs the main thread, where Python runs signal handlers.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if sys.exc_info()[0] is None:  # else it is on its way out already, and must clean up undisturbed
            raise watch.error()

    old = signal.signal(signal.SIGUSR1, interrupt)
    watch.start()
    try:
        yield
    finally:
        watch.close()
        signal.signal(signal.SIGUSR1, old)
