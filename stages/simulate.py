"""Make small real raw data of a dataset with its simulator, so that a fresh clone has something to run on.

In: `simulate.<dataset>` of params.yaml. Out: data/sample/<dataset>/, a function of these settings alone. Into
data/logs/simulate.jsonl: how long it took, and the figures that the simulator returns.
"""

import contextlib
import math
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.datasets import base
from stages.runtime import cli
from stages.runtime.display import Counts, Display
from stages.runtime.memory_log import MemoryLog

LOOK_S: Final = 1.0


class Growth:
    """What a simulator says of itself with `progress`: how much there is in its folder, and how much there will be."""

    noun = "units"

    def __init__(self, dataset: str, look: Callable[[], tuple[int, int]]) -> None:
        self.title = f"simulate {dataset}"
        self._look = look
        self._n_before, _ = look()

    def busy(self) -> Mapping[str, str]:
        """Return nothing: the workers are the simulator's own affair."""
        return {}

    def counts(self) -> Counts:
        """Look what is done by now."""
        n_now, n_all = self._look()
        self._n_before = min(self._n_before, n_now)  # other settings: what was there is removed and made anew
        return Counts(n_now - self._n_before, max(0, n_all - self._n_before), None)


class FilesMade:
    """What is said of a simulator without `progress`: the files that it has written by now, of those that it will."""

    noun = "files"

    def __init__(self, dataset: str, folder: Path, n_all: int | None) -> None:
        self.title = f"simulate {dataset}"
        self._folder, self._since, self._n_all = folder, time.time_ns(), n_all
        self._looked, self._n_files, self._n_bytes = -math.inf, 0, 0

    def busy(self) -> Mapping[str, str]:
        """Return how much is written; the workers are the simulator's own affair."""
        self._look()
        return {"written": f"{self._n_bytes / 1e6:,.1f} MB"}

    def counts(self) -> Counts:
        """Return how many files are written, and how many there will be where the simulator knows."""
        self._look()
        return Counts(self._n_files, self._n_all, None)

    def _look(self) -> None:
        """Look into the folder, once a second: it may hold thousands of files."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        sizes = []
        for path in self._folder.rglob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):  # removed, or renamed to its final name, meanwhile
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_mtime_ns >= self._since:
                    sizes.append(found.st_size)
        self._n_files, self._n_bytes, self._looked = len(sizes), sum(sizes), time.monotonic()


def simulate(dataset: str, settings: Mapping[str, Any]) -> None:
    """Write the sample of a dataset and log the figures that its simulator returns, if it does.

    Raises
    ------
    ExpectedError
        When a setting is not usable.
    """
    folder, simulator = paths.sample_dir(dataset), base.simulator(dataset)
    progress = getattr(simulator, "progress", None)
    with MemoryLog("simulate", dataset) as log:
        log.record("start")
        started = time.monotonic()
        if progress:
            shown: Growth | FilesMade = Growth(dataset, partial(progress, folder, settings))
        else:
            n_files = getattr(simulator, "n_files", None)
            shown = FilesMade(dataset, folder, n_files(settings) if n_files else None)
        with Display(shown, log.watch) if sys.stderr.isatty() else nullcontext():
            figures = simulator.write(folder, settings) or {}
        log.record("end", **figures, seconds=round(time.monotonic() - started, 2))


def main() -> int:
    """Run the verb from the command line."""

    def action(params: Params, dataset: str) -> None:
        if dataset not in params.simulate:
            raise ExpectedError(f"params.yaml: simulate has no {dataset!r}, expected its settings; add them")
        simulate(dataset, params.simulate[dataset])

    description = "Make small real raw data of a dataset in data/sample/<dataset>."
    return cli.on_dataset("simulate", description, action, lambda: "what is complete is kept")


if __name__ == "__main__":
    sys.exit(main())
