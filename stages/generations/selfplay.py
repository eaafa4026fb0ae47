"""Let the best network so far play: data/generations/<generation>/raw.

The games are a function of the settings, the weights and the generation's number. They are played in `work`, where a
killed run has left whole games that the next one goes on behind.
"""

import shutil
import sys
from pathlib import Path

from stages.core.params import Params
from stages.datasets import base
from stages.generations.command import run_stage
from stages.generations.places import Generation
from stages.generations.settings import player_of, settings_of
from stages.runtime.memory_log import MemoryLog


def play(params: Params, generation: Generation) -> None:
    """Play the games of a generation."""
    settings = settings_of(params, generation.dataset)
    options = player_of(generation.dataset).simulator_options(
        settings.selfplay, generation.best_before, generation.number
    )
    half: Path = generation.work / "raw"
    with MemoryLog("selfplay", generation.key) as log:
        log.record("start")
        figures = base.simulator(generation.dataset).write(half, options) or {}
        log.record("end", **figures)
    shutil.rmtree(generation.raw, ignore_errors=True)
    half.rename(generation.raw)


if __name__ == "__main__":
    sys.exit(run_stage("selfplay", "Let the best network of a generation play.", play))
