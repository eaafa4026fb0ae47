"""Self-play: many workers' games in step, so that one call of the search moves on them all.

A worker plays its games one after another. A game is a function of the seed and of its number, which is its place among
the games of all workers: not of the games that are played beside it, and not of who plays it. So any number of workers,
and of processes, plays the same ones.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.datasets.hex.schema import BLUE, RED, SIZE
from stages.datasets.hex.simulate import foreign, record, search
from stages.datasets.hex.simulate.board import won
from stages.datasets.hex.simulate.cache import CachedEvaluator, cached
from stages.datasets.hex.simulate.openings import opening
from stages.datasets.hex.simulate.temperature import Schedule
from stages.runtime.notes import working_on


@dataclass(frozen=True)
class Play:
    """How games are played."""

    seed: int
    search: search.Search
    schedule: Schedule
    openings: bool
    evaluator: str
    weights: foreign.Weights | None
    cache: int


@dataclass(frozen=True)
class GameStream:
    """The games of one worker that are still to be played: their numbers, the file they go to, and its list."""

    games: range
    path: Path
    played: Path


class GameTask(NamedTuple):
    """What one process does."""

    play: Play
    streams: tuple[GameStream, ...]


class Lookups(NamedTuple):
    """How often the evaluator was asked, and how often its cache knew the answer."""

    n_lookups: int
    n_hits: int


def game_rng(seed: int, game: int) -> np.random.Generator:
    """Return the generator of one game."""
    return np.random.default_rng([seed, game])


class Game:
    """A game in play.

    Attributes
    ----------
    board
        uint8 (2, 13, 13): blue stones, red stones.
    cells
        Of the stones, in order.
    """

    def __init__(self, play: Play, number: int) -> None:
        self.rng = game_rng(play.seed, number)
        self.board = np.zeros((2, SIZE, SIZE), np.uint8)
        self.cells: list[int] = []
        for cell in opening(number) if play.openings else ():
            self.put(cell)

    @property
    def mover(self) -> int:
        """Who moves next."""
        return RED if len(self.cells) % 2 else BLUE

    def put(self, cell: int) -> None:
        """Put the mover's stone on a cell."""
        self.board[self.mover, cell // SIZE, cell % SIZE] = 1
        self.cells.append(cell)


class _Table:
    """A worker at play: its present game and those to come."""

    def __init__(self, play: Play, stream: GameStream) -> None:
        self._play, self._stream, self._numbers = play, stream, iter(stream.games)
        self.game = self._next()

    def finish(self) -> None:
        """Append the present game, which the side that moved last has won, to the file, and begin the next."""
        if self.game is not None:
            line = record.game_line(self.game.cells, 1 - self.game.mover)
            record.append(self._stream.path, line)
            record.append(self._stream.played, record.mark_of(line))
        self.game = self._next()

    def _next(self) -> Game | None:
        number = next(self._numbers, None)
        return None if number is None else Game(self._play, number)


def play_streams(task: GameTask) -> Lookups:
    """Play the games of some workers, in step, and append each to its worker's file when it is won."""
    evaluator = cached(foreign.load(task.play.evaluator, task.play.weights), task.play.cache)
    n_games = sum(len(stream.games) for stream in task.streams)
    tables = [_Table(task.play, stream) for stream in task.streams]
    n_won = 0
    while tables := [table for table in tables if table.game is not None]:
        working_on(f"{n_won:,} of {n_games:,} games")
        games = [table.game for table in tables if table.game is not None]
        is_won = _move(games, task.play, evaluator)
        for table in itertools.compress(tables, is_won):
            table.finish()
        n_won += sum(is_won)
    return Lookups(evaluator.hits + evaluator.misses, evaluator.hits)


def _move(games: Sequence[Game], play: Play, evaluator: CachedEvaluator) -> list[bool]:
    """Make a move in every game and say which of them it wins."""
    boards = np.stack([game.board for game in games])
    movers = np.array([game.mover for game in games], np.uint8)
    temperatures = np.array([play.schedule.at(len(game.cells)) for game in games])
    draw = search.Draw([game.rng for game in games], temperatures)
    cells = play.search.choose(boards, movers, draw, evaluator)
    for game, cell in zip(games, cells.tolist(), strict=True):
        game.put(cell)
    return list(won(np.stack([game.board for game in games]), movers).tolist())


def deal(streams: Sequence[GameStream], n_processes: int) -> Iterator[tuple[GameStream, ...]]:
    """Deal workers that have something to play to processes, about as many games to each."""
    open_streams = [stream for stream in streams if stream.games]
    for first in range(min(n_processes, len(open_streams))):
        yield tuple(open_streams[first::n_processes])
