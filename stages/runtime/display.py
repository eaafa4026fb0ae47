"""Progress of a stage: live lines on a terminal, a line every few seconds elsewhere, nothing with LOG=warning.

On a terminal the lines below the title are drawn again in place, five times a second, from the second half-second of
work on: what each worker is busy with, how many units are done, how fast, the time left, and the memory.
"""

import logging
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from stages.runtime.memory import Watch

logger = logging.getLogger("batchwise")

DELAY_S = 0.5  # short work pays nothing for the display: rich's import takes 15 ms
REFRESH_S = 0.2
LINE_S = 5.0
BAR_WIDTH = 16  # with it, the line of a batch of 100,000 units fits into 80 columns
MOST_WORKERS = 8


class Busy(Protocol):
    """Something that knows what its workers are doing."""

    def busy(self) -> Mapping[str, str]:
        """Return what each worker is working on."""


class Display:
    """The progress of one piece of work; use it in a ``with`` statement.

    Parameters
    ----------
    title
        What is done; logged at once.
    noun
        What the units are, in the plural.
    n_units
        How many there are.
    workers
        Who works on them.
    watch
        Of this process tree's memory.
    """

    counts_rows = True  # whether rows per second are shown

    def __init__(self, title: str, noun: str, n_units: int, workers: Busy, watch: Watch) -> None:
        self._title, self._noun, self._n_units, self._workers, self._watch = title, noun, n_units, workers, watch
        self._n_done = self._n_rows = 0
        self._started = time.monotonic()
        self._stop = threading.Event()
        draw = self._draw if sys.stderr.isatty() else self._log
        self._thread = threading.Thread(target=draw, name="display", daemon=True)

    def __enter__(self) -> Self:
        logger.info(self._title)
        if logger.isEnabledFor(logging.INFO):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def advance(self, n_units: int, n_rows: int) -> None:
        """Note that so many more units and rows are done."""
        self._n_done += n_units
        self._n_rows += n_rows

    def lines(self) -> list[str]:
        """Return what the display shows now, without the title."""
        busy = self._workers.busy()
        shown = [f"  {worker}: {what}" for worker, what in list(busy.items())[:MOST_WORKERS]]
        if len(busy) > MOST_WORKERS:
            shown.append(f"  and {len(busy) - MOST_WORKERS} more workers")
        return [*shown, f"  {self._bar()} {self._progress()}", f"  {self._memory()}"]

    def _bar(self) -> str:
        n_full = BAR_WIDTH * self._n_done // max(1, self._n_units)
        return "━" * n_full + "─" * (BAR_WIDTH - n_full)

    def _progress(self) -> str:
        seconds = time.monotonic() - self._started
        left = seconds * (self._n_units - self._n_done) / self._n_done if self._n_done else 0.0
        rest = f", {_clock(left)} left" if self._n_done else ""
        rows = f", {self._n_rows / seconds:,.0f} rows/s" if self.counts_rows else ""
        return f"{self._n_done:,}/{self._n_units:,}, {self._n_done / seconds:,.0f} {self._noun}/s{rows}{rest}"

    def _memory(self) -> str:
        now, peak = self._watch.estimate_mb, max(self._watch.peak_mb, self._watch.estimate_mb)
        return f"RAM {now:,.0f} MB now, {peak:,.0f} MB peak, {self._watch.budget_mb:,.0f} MB budget"

    def _log(self) -> None:
        while not self._stop.wait(LINE_S):
            logger.info("%s: %s, %s", self._title, self._progress(), self._memory())

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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class Steps(Display):
    """The progress of work without workers, a step at a time; a step ends when the next one begins."""

    def __init__(self, title: str, noun: str, n_steps: int, watch: Watch) -> None:
        self._doing: dict[str, str] = {}
        self._n_rows_now = 0
        super().__init__(title, noun, n_steps, self, watch)

    def busy(self) -> Mapping[str, str]:
        """Return the present step."""
        return self._doing

    def begin(self, step: str, n_rows: int) -> None:
        """Note that a step over so many rows begins."""
        if self._doing:
            self.advance(1, self._n_rows_now)
        self._doing, self._n_rows_now = {"now": step}, n_rows
