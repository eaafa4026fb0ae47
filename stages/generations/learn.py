"""Teach the best network so far what the newest games say, beside older ones: data/generations/<generation>/model.

It begins with the weights of the network that played. How much of what it sees is said by ``iterate.<dataset>.mix``;
the loader's mixture keeps the shares exactly.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.core.part_files import PARTS, STATS
from stages.generations.command import begin_place, run_stage, run_verb
from stages.generations.places import Generation, digest
from stages.generations.settings import Mix, settings_of
from stages.processed import Processed
from stages.runtime.memory_log import MemoryLog

N_DIGITS = 9  # of shares: 1 - 0.7 - 0.3 is not 0, and nobody asks for a share of a billionth


def learn(params: Params, generation: Generation) -> None:
    """Train the candidate of a generation."""
    dataset, place = generation.dataset, generation.work / "learn"
    settings = settings_of(params, dataset)
    with MemoryLog("learn", generation.key) as log:
        log.record("start")
        place.mkdir(parents=True, exist_ok=True)
        _link(place / paths.processed_dir(dataset), generation.arrays)
        recipe = {**params.train.get(dataset, {}), **settings.train, **_mixture(settings.mix, generation, place)}
        begin_place(place, dataset, {"raw": "../../raw"}, train={dataset: recipe})
        run_verb("train", dataset, place)
        shutil.rmtree(generation.model, ignore_errors=True)
        shutil.copytree(place / paths.model_dir(dataset), generation.model)
        log.record("end")


def _mixture(mix: Mix, generation: Generation, place: Path) -> dict[str, Any]:
    """Return the keys of the trainer that say what is learnt from, how long, and what it begins with."""
    window = _window(mix, generation)
    older, base = window[:-1], paths.processed_dir(generation.dataset)
    between = round(1 - mix.new_share - mix.base_share, N_DIGITS)
    weights = {str(base): mix.base_share if older else 1 - mix.new_share, str(window[-1]): mix.new_share}
    weights |= {str(folder): between / len(older) for folder in older}
    sources = [
        {"folder": _from(place, Path(folder)), "weight": weight}
        | ({"rows": mix.rows} if mix.rows and folder == str(base) else {})
        for folder, weight in weights.items()
        if weight > 0
    ]
    n_new = Processed(generation.arrays).stats()["rows"][PARTS[0]]
    n_samples = max(1, round(n_new * mix.passes / mix.new_share)) if mix.new_share else n_new
    return {
        "sources": sources,
        "samples": n_samples,
        "epochs": None,
        "init_from": _from(place, generation.best_before),
    }


def _window(mix: Mix, generation: Generation) -> list[Path]:
    """Return the arrays of the newest generations, the newest last.

    Raises
    ------
    ExpectedError
        When some are not those of pool.json.
    """
    pool = json.loads(generation.pool.read_bytes())
    newest = list(pool.items())[-mix.window :]
    for folder, expected in newest:
        stats = Path(folder) / STATS
        if not stats.is_file() or digest(stats) != expected:
            raise ExpectedError(f"{stats}: not that of {generation.pool}, expected the arrays of then; `dvc checkout`")
    return [Path(folder) for folder, _ in newest]


def _from(place: Path, target: Path) -> str:
    return os.path.relpath(target, place)


def _link(link: Path, target: Path) -> None:
    """Make a link to a folder, in place of what is there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(_from(link.parent, target))


if __name__ == "__main__":
    sys.exit(run_stage("learn", "Train the candidate of a generation.", learn))
