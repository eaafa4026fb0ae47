"""Make small real raw data of a dataset with its simulator, so that a fresh clone has something to run on.

In: `simulate.<dataset>` of params.yaml. Out: data/sample/<dataset>/, a function of these settings alone. Into
data/logs/simulate.jsonl: how long it took, and the figures that the simulator returns.
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.datasets import base
from stages.runtime import cli
from stages.runtime.display import Counts, Display
from stages.runtime.memory import Watch
from stages.runtime.memory_log import MemoryLog


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
        with _shown(dataset, partial(progress, folder, settings) if progress else None, log.watch):
            figures = simulator.write(folder, settings) or {}
        log.record("end", **figures, seconds=round(time.monotonic() - started, 2))


def _shown(dataset: str, look: Callable[[], tuple[int, int]] | None, watch: Watch) -> AbstractContextManager[Any]:
    """Return a display for a terminal; elsewhere, or when there is nothing to look at, one that shows nothing."""
    return Display(Growth(dataset, look), watch) if look and sys.stderr.isatty() else nullcontext()


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
