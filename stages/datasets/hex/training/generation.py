"""Generations of hex: how a network plays to learn from itself, and the match that decides whether it stays.

A candidate stays when it wins enough of the distinct games with search and, with `raw_too`, at least half of those that
the policies play alone. The fixed opponent is the distance evaluator with a search of 6 and then 3 moves.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from stages.core.params import AtLeast, Between, build
from stages.datasets.hex.simulate import record
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.simulate.foreign import NETWORK, sha256_of
from stages.datasets.hex.simulate.search import Search
from stages.datasets.hex.training.arena import ArenaPlayer, Score, arena
from stages.datasets.hex.training.network import load
from stages.training.weights import WEIGHTS

WHERE: Final = "params.yaml: iterate.hex"
ANCHOR: Final = ArenaPlayer(DistanceEvaluator(), Search((6, 3)))
Z: Final = 1.96  # of the Wilson bound: one that 97.5 % of the matches of such players keep

FromOne = Annotated[int, AtLeast(1)]
Number = Annotated[float, Between(0, 100, noun="a number")]


@dataclass(frozen=True)
class SelfPlay:
    """The section `selfplay`.

    Attributes
    ----------
    games, workers, seed
        As for simulate.hex; the number of the generation is added to the seed.
    width, value_weight, least_prior
        Of the search, see `Search`.
    temperature, warm_moves
        At which the moves before that one are drawn; from then on the best is played.
    cache
        As for simulate.hex.
    """

    games: FromOne = 500
    workers: FromOne = 128
    seed: Annotated[int, AtLeast(0)] = 42
    width: Annotated[int, Between(1, 169, noun="a whole number")] = 4
    value_weight: Number = 2.0
    least_prior: Annotated[float, Between(0, 1)] = 0.05
    temperature: Number = 1.0
    warm_moves: FromOne = 8
    cache: FromOne = 60_000


@dataclass(frozen=True)
class MatchSettings:
    """The section `gate`.

    Attributes
    ----------
    games
        Played between the candidate and the best, half of them with each colour.
    accept
        Share of the distinct ones with search that the candidate must win.
    raw_too
        Whether it must also win at least half of those without search.
    width, value_weight, least_prior, temperature, warm_moves
        As for `SelfPlay`.
    anchor_games
        Played against the fixed opponent.
    """

    games: Annotated[int, AtLeast(2)] = 200
    accept: Annotated[float, Between(0, 1)] = 0.55
    raw_too: bool = True
    width: Annotated[int, Between(1, 169, noun="a whole number")] = 4
    value_weight: Number = 1.0
    least_prior: Annotated[float, Between(0, 1)] = 0.05
    temperature: Number = 1.0
    warm_moves: FromOne = 4
    anchor_games: Annotated[int, AtLeast(2)] = 200

    @property
    def search(self) -> Search:
        """How both players look ahead."""
        return Search((self.width,), self.value_weight, self.least_prior)


def simulator_options(entry: Mapping[str, Any], best: Path, number: int) -> dict[str, Any]:
    """Return the options of simulate.hex for the games of a generation."""
    settings = build(SelfPlay, dict(entry), f"{WHERE}.selfplay")
    weights = best / WEIGHTS
    return {
        "games": settings.games,
        "workers": settings.workers,
        "seed": settings.seed + number,
        "started": "2025-01-01T00:00:00",
        "search": "prior",
        "widths": [settings.width],
        "value_weight": settings.value_weight,
        "least_prior": settings.least_prior,
        "evaluator": NETWORK,
        "weights": {"file": str(weights), "sha256": sha256_of(weights)},
        "temperature": settings.temperature,
        "decay": "step",
        "step_moves": [settings.warm_moves],
        "step_temperatures": [0.0],
        "cache": settings.cache,
    }


def gate(entry: Mapping[str, Any], candidate: Path, best: Path, number: int) -> dict[str, Any]:
    """Play the match; return ``search`` and ``raw``, the scores with and without search, and ``kept``."""
    settings = build(MatchSettings, dict(entry), f"{WHERE}.gate")
    found: dict[str, Any] = {}
    for name, search in (("search", settings.search), ("raw", Search())):
        players = [_player(folder, search, settings) for folder in (candidate, best)]
        found[name] = figures(arena(players[0], players[1], settings.games // 2, number))
    is_ahead = found["search"]["share"] >= settings.accept
    return {**found, "kept": is_ahead and (found["raw"]["share"] >= 0.5 or not settings.raw_too)}


def anchor(entry: Mapping[str, Any], best: Path) -> dict[str, Any]:
    """Return the score of a network, with search, against the fixed opponent; the draws are the same each time."""
    settings = build(MatchSettings, dict(entry), f"{WHERE}.gate")
    player = _player(best, settings.search, settings)
    return figures(arena(player, ANCHOR, settings.anchor_games // 2))


def games_in(raw: Path) -> tuple[int, int]:
    """Return how many games of self-play a folder holds, and how many of them are distinct."""
    lines = [line for path in sorted(raw.rglob("*.trmph")) for line in record.games_of(path)]
    return len(lines), len(set(lines))


def figures(score: Score) -> dict[str, Any]:
    """Return a score with the share that was won and its Wilson bound."""
    return {**asdict(score), "share": score.won / score.distinct, "wilson": wilson(score.won, score.distinct)}


def wilson(won: int, games: int) -> float:
    """Return the lower end of the 95 % interval of Wilson for the chance to win.

    Examples
    --------
    >>> round(wilson(133, 200), 3), round(wilson(1, 2), 3)
    (0.597, 0.095)
    """
    share, spread = won / games, Z**2 / games
    root = math.sqrt(share * (1 - share) / games + spread / (4 * games))
    return (share + spread / 2 - Z * root) / (1 + spread)


def _player(folder: Path, search: Search, settings: MatchSettings) -> ArenaPlayer:
    return ArenaPlayer(load(folder / WEIGHTS), search, settings.temperature, settings.warm_moves)
