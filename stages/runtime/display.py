"""Progress of a stage: live lines on a terminal, a line every few seconds elsewhere, nothing with LOG=warning.

On a terminal the lines below the title are drawn again in place, five times a second, from the second half-second of
work on: what each worker is busy with, how many units are done, how fast, the time left, and the memory.

What is shown is a `Progress`, which the work itself brings up to date; a `Display` shows it:

    with Display(WorkerProgress("Processing", "files", 48, workers), watch) as progress:
        progress.advance(n_units=4, n_rows=700)
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from stages.runtime.memory import Watch
from stages.runtime.text import printable

logger = logging.getLogger("batchwise")

DELAY_S = 0.5  # short work pays nothing for the display: rich's import takes 15 ms
REFRESH_S = 0.2
LINE_S = 5.0
BAR_WIDTH = 16  # with it, the line of a batch of 100,000 units fits into 80 columns
MOST_WORKERS = 8


@dataclass(frozen=True)
class Counts:
    """How far a piece of work is; `n_units` is None where its end is not known, `n_rows` where rows are not counted."""

    n_done: int
    n_units: int | None
    n_rows: int | None


class Progress(Protocol):
    """What a display shows: `title` says what is done, `noun` what the units are, in the plural."""

    title: str
    noun: str

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""

    def counts(self) -> Counts:
        """Return how far the work is."""


P = TypeVar("P", bound=Progress)


class Busy(Protocol):
    """Something that knows what its workers are doing."""

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""


class _Tally:
    """Something to do in steps or units, and how much of it is done."""

    def __init__(self, title: str, noun: str, n_units: int) -> None:
        self.title, self.noun, self._n_units = title, noun, n_units
        self._n_done = self._n_rows = 0

    def advance(self, n_units: int, n_rows: int) -> None:
        """Note that so many more units and rows are done."""
        self._n_done += n_units
        self._n_rows += n_rows

    def counts(self) -> Counts:
        """Return how far the work is."""
        return Counts(self._n_done, self._n_units, self._n_rows)


class WorkerProgress(_Tally):
    """The progress of work that workers do.

    Parameters
    ----------
    title
        What is done.
    noun
        What the units are, in the plural.
    n_units
        How many there are.
    workers
        Who works on them.
    """

    def __init__(self, title: str, noun: str, n_units: int, workers: Busy) -> None:
        super().__init__(title, noun, n_units)
        self._workers = workers

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""
        return self._workers.busy()


class StepProgress(_Tally):
    """The progress of work without workers, a step at a time; a step ends when the next one begins.

    Parameters
    ----------
    title
        What is done.
    noun
        What the steps are, in the plural.
    n_steps
        How many there are.
    """

    def __init__(self, title: str, noun: str, n_steps: int) -> None:
        super().__init__(title, noun, n_steps)
        self._step, self._n_rows_now = "", 0

    def begin(self, step: str, n_rows: int) -> None:
        """Note that a step over so many rows begins."""
        if self._step:
            self.advance(1, self._n_rows_now)
        self._step, self._n_rows_now = step, n_rows

    def doing(self, folder: Path) -> str:
        """Say for an error which step of a folder's making is in work: " with X of data/merged/hex in work"."""
        return f" with {self._step} of {folder} in work" if self._step else ""

    def busy(self) -> Mapping[str, str]:
        """Return the present step."""
        return {"now": self._step} if self._step else {}


class Display(Generic[P]):
    """Show the progress of one piece of work; use it in a ``with`` statement, which gives the progress.

    Parameters
    ----------
    progress
        What is shown; its title is logged at once.
    watch
        Of this process tree's memory.
    """

    def __init__(self, progress: P, watch: Watch) -> None:
        self._progress, self._watch = progress, watch
        self._started = time.monotonic()
        self._stop = threading.Event()
        draw = self._draw if sys.stderr.isatty() else self._log
        self._thread = threading.Thread(target=draw, name="display", daemon=True)

    def __enter__(self) -> P:
        logger.info(self._progress.title)
        if logger.isEnabledFor(logging.INFO):
            self._thread.start()
        return self._progress

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def lines(self) -> list[str]:
        """Return what the display shows now, without the title."""
        busy, counts = self._progress.busy(), self._progress.counts()
        shown = [f"  {worker}: {what}" for worker, what in list(busy.items())[:MOST_WORKERS]]
        if len(busy) > MOST_WORKERS:
            shown.append(f"  and {len(busy) - MOST_WORKERS} more workers")
        shown += [f"  {_bar(counts)}{self._speed(counts)}", f"  {self._memory()}"]
        return [printable(line) for line in shown]

    def _speed(self, counts: Counts) -> str:
        """Return how much is done, how fast, and the time left."""
        seconds = time.monotonic() - self._started
        if counts.n_units is None:
            return f"{self._progress.noun}: {counts.n_done:,}, {_clock(seconds)} so far"
        done = f"{counts.n_done:,}/{counts.n_units:,}, {counts.n_done / seconds:,.0f} {self._progress.noun}/s"
        rows = "" if counts.n_rows is None else f", {counts.n_rows / seconds:,.0f} rows/s"
        if not counts.n_done:
            return f"{done}{rows}"
        seconds_left = seconds * (counts.n_units - counts.n_done) / counts.n_done
        return f"{done}{rows}, {_clock(seconds_left)} left"

    def _memory(self) -> str:
        now, peak = self._watch.estimate_mb, max(self._watch.peak_mb, self._watch.estimate_mb)
        return f"RAM {now:,.0f} MB now, {peak:,.0f} MB peak, {self._watch.budget_mb:,.0f} MB budget"

    def _log(self) -> None:
        while not self._stop.wait(LINE_S):
            logger.info("%s: %s, %s", self._progress.title, self._speed(self._progress.counts()), self._memory())

    def _draw(self) -> None:
        if self._stop.wait(DELAY_S):
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        def picture() -> Text:
            return Text("\n".join(self.lines()), no_wrap=True, overflow="ellipsis")

        console = Console(stderr=True)
        if console.is_dumb_terminal:
            self._log()
            return
        with Live(
            get_renderable=picture, console=console, auto_refresh=False, transient=True, redirect_stdout=False
        ) as live:
            live.refresh()
            while not self._stop.wait(REFRESH_S):
                live.refresh()


def _bar(counts: Counts) -> str:
    if counts.n_units is None:
        return ""
    n_full = BAR_WIDTH * counts.n_done // max(1, counts.n_units)
    return "━" * n_full + "─" * (BAR_WIDTH - n_full) + " "


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
