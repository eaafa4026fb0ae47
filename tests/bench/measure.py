"""Run a command and measure its whole process tree: CPU seconds, wall seconds and peak memory.

CPU is what the kernel charges to the command and to every descendant it waited for (user + system), so imports and
start-up count; where a command leaves descendants to end by themselves, it is the sum of what was last seen of each
process, if that is more. Memory is the proportional set size (PSS: a page shared by k processes counts 1/k in each) of
the tree, sampled from here; reading it costs this process's CPU, not the command's.
"""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.02
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
REST_PER_SAMPLE = 4  # a sample of a large tree takes milliseconds and holds up its page faults: at most a fifth of time


class CommandFailed(Exception):
    """A measured command did not exit with 0."""


@dataclass(frozen=True)
class Usage:
    """What a command, or several one after another, used; `output` is the stdout of the last one."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    output: str = ""

    def __add__(self, other: "Usage") -> "Usage":
        """Return the usage of this and then the other: times add up, the greater peak stays."""
        peak_mb = max(self.peak_mb, other.peak_mb)
        return Usage(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s, peak_mb, other.output)


NOTHING = Usage(0.0, 0.0, 0.0)

MADV_POPULATE_WRITE = 23  # Linux 5.14; Python 3.11 has no name for it
_TOUCH = f"import mmap, sys; mmap.mmap(-1, int(sys.argv[1])).madvise({MADV_POPULATE_WRITE})"


def warm_memory(n_bytes: int) -> None:
    """Touch this much memory and give it back, so that the next command does not pay for its first touch.

    A virtual machine hands idle free memory back to its host; taking it again is charged as system time to whoever
    touches it first. Saving 1.6 GB took 3.3 s of CPU on returned memory and 0.23 s on warm memory.
    """
    if n_bytes:
        subprocess.run([sys.executable, "-c", _TOUCH, str(n_bytes)], check=True)


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Usage:
    """Run a command to its end and return what it used.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        Working directory.
    environment
        Variables set on top of this process's own.

    Raises
    ------
    CommandFailed
        With the end of its stderr, when it does not exit with 0.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=err, start_new_session=True
        )
        try:
            peak_mb, seen_s = _watch(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            err.seek(0)
            tail = err.read().decode(errors="replace")[-2000:]
            raise CommandFailed(f"{' '.join(command)}: exit code {process.returncode}, expected 0; it said:\n{tail}")
        out.seek(0)
        return Usage(max(used.ru_utime + used.ru_stime, seen_s), wall_s, peak_mb, out.read().decode())


def _watch(pid: int) -> tuple[float, float]:
    """Return the greatest PSS, in MB, that was seen until the process ended, and the CPU seconds seen of the tree."""
    handle = os.pidfd_open(pid)
    peak_kb, rest_s = 0, 0.0
    cpu_s: dict[int, float] = {}
    try:
        while not select.select([handle], [], [], rest_s)[0]:
            start = time.perf_counter()
            tree = _tree(pid)
            peak_kb = max(peak_kb, sum(map(_pss_kb, tree)))
            cpu_s |= {one: max(cpu_s.get(one, 0.0), _cpu_s(one)) for one in tree}
            rest_s = max(INTERVAL_S, REST_PER_SAMPLE * (time.perf_counter() - start))
    finally:
        os.close(handle)
    return peak_kb / 1024, sum(cpu_s.values())


def _tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    pids = [pid]
    for parent in pids:
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                pids += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text(encoding="ascii").split())
        except OSError:
            continue  # it ended meanwhile
    return pids


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process alone, without its children; 0 when it ended meanwhile."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S  # utime and stime


def _pss_kb(pid: int) -> int:
    """Return the proportional set size of a process; 0 when it ended meanwhile."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123 - a third of the cost of Path.read_bytes
            return next((int(line.split()[1]) for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return 0
