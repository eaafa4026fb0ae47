"""Self-play games of Hex as .trmph files, so that a fresh clone has real raw data.

Settings in, files out: ``worker_<i>/selfplay_<stamp>.trmph`` below a folder for each worker, see `record`. The files
are a function of the settings alone: worker i of W plays the games i, i + W, i + 2W, ... in this order, so more games
are appended to the files that are there. Workers are streams of games, not processes: those are as many as ``JOBS``
says. With another number of workers the same games lie in other files.
Settings::

    games: 400
    workers: 16
    seed: 42
    started: "2025-01-01T00:00:00"   # what the files give as their time
    widths: [13, 8]                  # candidates at each depth of the search
    search: minimax                  # or prior: policy and value of the next move, see `search`
    value_weight: 1.0                # of the value beside the policy's (prior)
    least_prior: 0.0                 # share of the likeliest move's probability that a move must have (prior)
    evaluator: distance              # judges positions; or network, or module:function, see `foreign`
    weights: {file: w.npz, sha256: …} # of a network, or what module:function is called with; default none
    temperature: 0.5                 # at which candidates are drawn, at the first move
    decay: exponential               # or linear, step, game_progress, constant
    temperature_end: 0.01            # what the temperature falls to
    decay_moves: 50                  # within so many moves (exponential, linear)
    step_moves: [10, 25, 50]         # at these moves (step)
    step_temperatures: [0.8, 0.5, 0.2]  # to these temperatures (step)
    openings: true                   # whether the first stone is taken from a list
    cache: 60000                     # positions whose judgement a process remembers; changes no game
"""

import functools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from stages.core.params import AtLeast, Between, Fault, Must, build
from stages.datasets.base import remove_others
from stages.datasets.hex.schema import BLUE, N_CELLS
from stages.datasets.hex.simulate import evaluate, foreign, record
from stages.datasets.hex.simulate.driver import GameStream, GameTask, Lookups, Play, deal, play_streams
from stages.datasets.hex.simulate.openings import OPENINGS
from stages.datasets.hex.simulate.search import Search
from stages.datasets.hex.simulate.temperature import Decay, Schedule
from stages.runtime.workers import Workers

# Names the program that plays. Raise it when the same settings give other games: older files are then begun anew.
ENGINE = "fixed-tree minimax 2"


def _is_time(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False


def _is_rising(moves: list[int]) -> bool:
    return moves == sorted(set(moves))


FromOne = Annotated[int, AtLeast(1)]
Width = Annotated[int, Between(1, N_CELLS, noun="a whole number")]
Widths = Annotated[list[Width], Must(bool, f"whole numbers from 1 to {N_CELLS}, one for each depth")]
RisingMoves = Annotated[list[FromOne], Must(_is_rising, "rising whole numbers from 1")]
Temperature = Annotated[float, Between(0, 100, noun="a number")]


@dataclass(frozen=True)
class Settings:
    """The settings as they stand in params.yaml."""

    games: FromOne
    workers: FromOne
    seed: Annotated[int, AtLeast(0)]
    started: Annotated[str, Must(_is_time, 'a time such as "2025-01-01T00:00:00"')]
    widths: Widths = field(default_factory=lambda: [13, 8])
    search: Literal["minimax", "prior"] = "minimax"
    value_weight: Annotated[float, Between(0, 100, noun="a number")] = 1.0
    least_prior: Annotated[float, Between(0, 1)] = 0.0
    evaluator: str = evaluate.EMBEDDED
    weights: foreign.Weights | None = None
    temperature: Temperature = 0.5
    decay: Decay = "exponential"
    temperature_end: Temperature = 0.01
    decay_moves: FromOne = 50
    step_moves: RisingMoves = field(default_factory=lambda: [10, 25, 50])
    step_temperatures: list[Temperature] = field(default_factory=lambda: [0.8, 0.5, 0.2])
    openings: bool = True
    cache: FromOne = 60_000

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the settings together."""
        if self.weights and self.evaluator == evaluate.EMBEDDED:
            yield Fault("weights", f"{self.weights.file!r}, expected none with evaluator {evaluate.EMBEDDED}")
        if self.search == "prior" and len(self.widths) != 1:
            yield Fault("widths", f"{self.widths}, expected one with search prior, which looks one move ahead")
        for name in ("temperature", "temperature_end"):
            value = getattr(self, name)
            if value == 0 and self.decay == "exponential":
                yield Fault(name, f"{value}, expected a number above 0 with exponential decay")
        if len(self.step_temperatures) != len(self.step_moves):
            expected = f"as many as step_moves, {len(self.step_moves)}"
            yield Fault("step_temperatures", f"{self.step_temperatures}, expected {expected}")


def write(folder: Path, options: Mapping[str, Any]) -> dict[str, float]:
    """Play what is missing of the games and remove every file that does not belong to them.

    Parameters
    ----------
    folder
        Made if absent. Whole games that a run with these settings left there are kept, and nothing else: see `record`.
    options
        See the module.

    Returns
    -------
    dict
        Figures for the log: `n_games`, `mean_length`, `blue_wins`, `red_wins`, `duplicates` (games with the moves of
        an earlier one), `lookups`, `cache_hits`, `n_new` (played now) and `games_per_s` (of those).

    Raises
    ------
    ExpectedError
        If a setting is missing, unknown, of a wrong type or out of range.
    """
    settings = parse_settings(options)
    judge = foreign.load(settings.evaluator, settings.weights)
    play, paths = _play(settings), _paths(folder, settings)
    played = [record.played_list(folder, path) for path in paths]
    remove_others(folder, set(paths))
    remove_others(record.played_folder(folder), set(played))
    headers = (_header(settings, play, judge.digest, worker) for worker in range(len(paths)))
    streams = [_begin(settings, *given) for given in zip(range(len(paths)), paths, played, headers, strict=True)]
    started = time.monotonic()
    with Workers() as workers:
        tasks = (GameTask(play, dealt) for dealt in deal(streams, workers.n_workers))
        lookups = [done.result for done in workers.ordered(play_streams, tasks)]
    n_new, seconds = sum(len(stream.games) for stream in streams), time.monotonic() - started
    return {**_figures(paths, lookups), "n_new": n_new, "games_per_s": round(n_new / seconds, 1)}


def progress(folder: Path, options: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many games the files hold, and how many they will."""
    settings = parse_settings(options)
    sizes = [(path, path.stat().st_size) for path in _paths(folder, settings) if path.is_file()]
    return sum(_n_games(path, size) for path, size in sizes), settings.games


def parse_settings(entry: Mapping[str, Any]) -> Settings:
    """Return the settings, checked.

    Raises
    ------
    ExpectedError
        As `write`, but for the evaluator, which is not loaded.
    """
    return build(Settings, dict(entry), "simulate.hex")


def _started(settings: Settings) -> datetime:
    return datetime.fromisoformat(settings.started)


def _play(settings: Settings) -> Play:
    """Return how games are played."""
    schedule = Schedule(
        settings.decay,
        settings.temperature,
        settings.temperature_end,
        settings.decay_moves,
        tuple(settings.step_moves),
        tuple(settings.step_temperatures),
    )
    search = Search(tuple(settings.widths))
    if settings.search == "prior":
        search = replace(search, value_weight=settings.value_weight, least_prior=settings.least_prior)
    return Play(
        settings.seed, search, schedule, settings.openings, settings.evaluator, settings.weights, settings.cache
    )


def _paths(folder: Path, settings: Settings) -> list[Path]:
    """Return the file of each worker that has a game to play."""
    name = f"selfplay_{_started(settings):%Y%m%d_%H%M%S}.trmph"
    return [folder / f"worker_{worker}" / name for worker in range(min(settings.workers, settings.games))]


def _header(settings: Settings, play: Play, digest: str | None, worker: int) -> bytes:
    """Return the lines before the games of a worker's file: everything that decides them.

    `digest` is the evaluator's, if it has one.
    """
    lines = (
        f"Self-play games - {_started(settings).isoformat(timespec='microseconds')}",
        f"Model: {settings.evaluator}",
        *([f"Model digest: {digest}"] if digest else []),
        *([f"Weights: sha256 {settings.weights.sha256}"] if settings.weights else []),
        f"Engine: {ENGINE}",
        *([_prior_of(settings)] if settings.search == "prior" else []),
        f"Search widths: {settings.widths}",
        f"Temperature: {settings.temperature}",
        f"Temperature decay: {play.schedule}",
        f"Openings: {len(OPENINGS) if settings.openings else 'none'}",
        f"Random seed: {settings.seed}",
        f"Worker: {worker} of {settings.workers}",
        "Format: trmph_string winner",
    )
    return "".join(f"# {line}\n" for line in lines).encode()


def _prior_of(settings: Settings) -> str:
    return f"Search: prior, value weight {settings.value_weight}, least prior {settings.least_prior}"


def _begin(settings: Settings, worker: int, path: Path, played: Path, header: bytes) -> GameStream:
    """Prepare the file of a worker and return the games that it lacks."""
    games = range(worker, settings.games, settings.workers)
    n_whole = record.begin(path, header, len(games), played)
    return GameStream(games[n_whole:], path, played)


@functools.lru_cache(maxsize=4096)
def _n_games(path: Path, size: int) -> int:
    """Return the number of games in a file of this size; the display asks five times a second."""
    content = path.read_bytes()
    return content.count(b"\n") - len(re.findall(rb"^# .*\n", content, re.MULTILINE))


def _figures(paths: Sequence[Path], lookups: Sequence[Lookups]) -> dict[str, float]:
    """Return the figures of `write` that do not depend on the time it took."""
    seen: set[int] = set()
    n_games = n_moves = blue_wins = 0
    for path in paths:
        for line in record.games_of(path):
            seen.add(hash(line))
            n_games += 1
            n_moves += record.n_moves(line)
            blue_wins += record.winner_of(line) == BLUE
    return {
        "n_games": n_games,
        "mean_length": round(n_moves / n_games, 2),
        "blue_wins": blue_wins,
        "red_wins": n_games - blue_wins,
        "duplicates": n_games - len(seen),
        "lookups": sum(found.n_lookups for found in lookups),
        "cache_hits": sum(found.n_hits for found in lookups),
    }
