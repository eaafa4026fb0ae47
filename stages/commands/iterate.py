"""Let a network learn from its own games, generation by generation: the command behind `make iterate`.

It brings arrays and model up to date, lengthens data/generations/list.yaml to as many generations as are asked for, and
runs those stages of data/generations/dvc.yaml that are not done. Killed at any moment, it goes on when it is run
again.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from stages.commands.preprocess import layout, read_logs
from stages.commands.train import train
from stages.core.errors import ExpectedError
from stages.core.params import Params
from stages.generations.places import Generation, lengthen, listed
from stages.generations.settings import player_of, settings_of
from stages.pipeline import dvc
from stages.pipeline.verbs import GENERATIONS
from stages.processed import Processed
from stages.processed.reader import read_json
from stages.runtime import cli
from stages.train import require_torch

STAGES = ("selfplay", "ingest", "learn", "gate")
MANY = 16  # generations
COLUMNS = ("generation", "games", "distinct", "positions", "learn s", "match", "wilson", "raw", "anchor", "kept")
WORDS = (
    "match and raw: games won and lost against the network before, of the distinct ones, with search and without; "
    "anchor: the kept network against an opponent that never changes."
)
logger = logging.getLogger("batchwise")

FAILURE = "dvc repro failed, see above; what is done is kept, correct it and run again"


def iterate(params: Params, dataset: str, number: int) -> list[Generation]:
    """Bring the first generations of a dataset up to date, and return them.

    Raises
    ------
    ExpectedError
        When torch is missing, or a stage fails.
    """
    require_torch()
    if number > MANY:
        logger.warning("iterate %s: DVC needs a second or more for each of %d stages", dataset, number * len(STAGES))
    train(params, [dataset])
    lengthen(dataset, number)
    wanted = [one for one in listed() if one.dataset == dataset and one.number <= number]
    stages = [f"{GENERATIONS}:{stage}@{one.key}" for one in wanted for stage in STAGES]
    dvc.call("repro", "--single-item", *stages, failure=FAILURE)
    for one in wanted:
        shutil.rmtree(one.work, ignore_errors=True)
    return wanted


def rows_of(generations: Sequence[Generation], since: float) -> Iterator[tuple[str, ...]]:
    """Yield a row of the table for each generation, in the order of `COLUMNS`."""
    entries = read_logs(since)
    for one in generations:
        gate, stats = read_json(one.gate), Processed(one.arrays).stats()
        times = [entry.time for entry in entries if (entry.stage, entry.name) == ("learn", one.key)]
        took = f"{max(times) - min(times):.0f}" if times else "-"
        n_games, n_distinct = player_of(one.dataset).games_in(one.raw)
        match, raw, anchor = gate["search"], gate["raw"], gate["anchor"]
        yield (
            one.key,
            f"{n_games:,}",
            f"{n_distinct:,}",
            f"{sum(stats['rows'].values()):,}",
            took,
            _score(match),
            f"{match['wilson']:.3f}",
            _score(raw),
            _score(anchor),
            "yes" if gate["kept"] else "no",
        )


def _score(score: dict[str, Any]) -> str:
    return f"{score['won']}:{score['distinct'] - score['won']}"


def _number(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise ExpectedError(f"GENERATIONS: {text!r}, expected a number from 1; correct it")
    return int(text)


def chosen(params: Params, datasets: Sequence[str]) -> list[str]:
    """Return the datasets to iterate: those that are named, or all that have an entry in `iterate`.

    Raises
    ------
    ParamsError
        When a named one has no entry, no dataset has one, or a setting is wrong.
    ExpectedError
        When the list of generations is damaged.
    """
    named = params.with_entry("iterate", datasets)
    for dataset in named:
        settings_of(params, dataset)
    listed()  # DVC itself would say of a damaged list where it stumbles, and not what to do
    return named


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        started, number = time.time(), _number(os.environ.get("GENERATIONS") or "3")
        found = [one for dataset in chosen(params, datasets) for one in iterate(params, dataset, number)]
        sys.stdout.write(f"\n{layout([COLUMNS, *rows_of(found, started)])}\n\n")
        sys.stdout.write(f"{WORDS} The best network is in {found[-1].best}/.\n")

    return cli.on_datasets("commands.iterate", "Let a network learn from its own games.", action)


if __name__ == "__main__":
    sys.exit(main())
