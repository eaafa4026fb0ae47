"""Let the candidate of a generation play the best network so far; the winner is the best from then on.

Out: data/generations/<generation>/best, and gate.json with the figures of that match, of one against a fixed opponent,
and whether the candidate was kept. What a generation played stays, whoever is kept.
"""

import shutil
import sys

from stages.core.files import json_text, write_text
from stages.core.params import Params
from stages.generations.command import run_stage
from stages.generations.places import Generation
from stages.generations.settings import player_of, settings_of
from stages.runtime.memory_log import MemoryLog


def decide(params: Params, generation: Generation) -> None:
    """Play the match of a generation and keep the winner."""
    entry, player = settings_of(params, generation.dataset).gate, player_of(generation.dataset)
    with MemoryLog("gate", generation.key) as log:
        log.record("start")
        figures = player.gate(entry, generation.model, generation.best_before, generation.number)
        winner = generation.model if figures["kept"] else generation.best_before
        shutil.rmtree(generation.best, ignore_errors=True)
        shutil.copytree(winner, generation.best)
        figures["anchor"] = player.anchor(entry, generation.best)
        write_text(generation.gate, json_text(figures))
        log.record("end")


if __name__ == "__main__":
    sys.exit(run_stage("gate", "Let the candidate of a generation play the best network before it.", decide))
