"""Commands of stages beside each other: how many, started so that they die with this process, and stopped.

The memory budget is that of the whole tree: each of n commands gets a share of it, and there are fewer at once where a
share would be small.
"""

import contextlib
import math
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from stages.pipeline import verbs
from stages.pipeline.stage_internals import Command
from stages.runtime.memory import budget_mb
from stages.runtime.notes import ELSEWHERE, ProcessNotes
from stages.runtime.signals import die_with_parent
from stages.runtime.workers import job_count

LEAST_SHARE_MB = 1024  # of a command beside others: the sample's stages take up to 300 MB
OWN_MB = 256  # this process takes 120 MB, most of it DVC's code
POLL_S = 0.01
GRACE_S = 3.0  # in which a command ends by itself to which the terminal has told Ctrl-C
STOP_S = 10.0  # a stage stops within 2 s


# How many at once.


@dataclass(frozen=True)
class Shares:
    """How many commands run at once, and the environment of each that is not alone."""

    n_at_once: int
    variables: Mapping[str, str]


def shares(names: Sequence[str]) -> Shares:
    """Divide workers and memory among the commands that can run at once: stages of one verb do not wait for another."""
    jobs, free_mb = job_count(), budget_mb() - OWN_MB
    widest = max(Counter(verbs.parsed(name).verb for name in names).values(), default=1)
    n_at_once = max(1, min(jobs, widest, int(free_mb / LEAST_SHARE_MB)))
    # twice a fair share of workers, so that no core is idle while the last ones end
    n_workers = min(jobs, math.ceil(2 * jobs / n_at_once))
    return Shares(n_at_once, {"JOBS": str(n_workers), "MEMORY_GB": f"{free_mb / n_at_once / 1024:.3f}"})


# Commands.


@dataclass
class Running:
    """A command that runs; `output` is None where it writes to the terminal itself, as are the notes of its workers."""

    process: "subprocess.Popen[bytes]"
    output: IO[bytes] | None
    notes: ProcessNotes | None
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self.started

    def doing(self) -> str:
        """Return what its workers are at, or for how long it has run."""
        notes = self.notes.read() if self.notes else {}
        return ", ".join(notes.values()) or f"{self.seconds:.0f} s"

    def text(self) -> str:
        """Return what it wrote, nothing where that went to the terminal."""
        if self.output is None:
            return ""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def close(self) -> None:
        """Forget what it wrote."""
        if self.output is not None:
            self.output.close()
        if self.notes is not None:
            self.notes.close()


def start(command: Command, variables: Mapping[str, str], is_alone: bool) -> Running:
    """Start a command that dies with this process.

    One beside others is in a process group of its own, so that Ctrl-C reaches it once, from here. What it says is shown
    when it ends, so that lines do not mix.
    """
    with contextlib.ExitStack() as opened:
        output = None if is_alone else opened.enter_context(tempfile.TemporaryFile())
        notes = None if is_alone else opened.enter_context(contextlib.closing(ProcessNotes()))
        told_in = {} if notes is None else {ELSEWHERE: notes.folder}
        process = subprocess.Popen(
            command.words,
            cwd=command.folder,
            env={**command.environment, **variables, **told_in},
            stdin=None if is_alone else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
            process_group=None if is_alone else 0,
        )
        opened.pop_all()  # closed by `Running.close`
    return Running(process, output, notes)


def stop(running: Sequence[Running], is_told: bool) -> list[str]:
    """Have commands end, and wait for it.

    Parameters
    ----------
    running
        The commands.
    is_told
        Whether it is for Ctrl-C, of which the terminal has told those that write to it.

    Returns
    -------
    list[str]
        The last lines of the others, which say what is kept, each once.
    """
    if is_told:
        _await([one for one in running if one.output is None], GRACE_S)
    first = signal.SIGINT if is_told else signal.SIGTERM
    for number, seconds in ((first, STOP_S), (signal.SIGKILL, STOP_S)):
        for one in running:
            if one.process.poll() is None:
                _tell(one, number)
        _await(running, seconds)
    lines = {line for one in running for line in one.text().splitlines()[-1:]}
    for one in running:
        one.close()
    return sorted(lines)


def _tell(one: Running, number: signal.Signals) -> None:
    """Send a signal to a command: to its whole group, since a shell may stand before it."""
    with contextlib.suppress(ProcessLookupError):
        if one.output is None:
            one.process.send_signal(number)
        else:
            os.killpg(one.process.pid, number)


def _await(running: Sequence[Running], seconds: float) -> None:
    """Wait until all commands ended, at most some seconds."""
    end = time.monotonic() + seconds
    while any(one.process.poll() is None for one in running) and time.monotonic() < end:
        time.sleep(POLL_S)


def await_any(running: Sequence[Running], others: Sequence[Any] = (), seconds: float | None = None) -> None:
    """Wait until one of the commands has ended.

    Parameters
    ----------
    running
        The commands.
    others
        What has a `fileno` to read from, which ends the wait too.
    seconds
        The longest wait; None is for ever.
    """
    with contextlib.ExitStack() as stack:
        watched = list(others)
        for one in running:
            if one.process.poll() is not None:
                return
            if hasattr(os, "pidfd_open"):
                watched.append(os.pidfd_open(one.process.pid))
                stack.callback(os.close, watched[-1])
            else:
                seconds = POLL_S
        select.select(watched, [], [], seconds)
