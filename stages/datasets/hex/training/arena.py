"""Games between two players, each opening with both colours.

A player is an evaluator, and the search that asks it: by default none, the likeliest move of its policy. All games
go in step, so that a network sees many boards at once. Players at temperature 0 repeat themselves: the same opening and
colours give the same game, and only games with other moves say anything new, so they are counted. Draws come from a
generator of the game's own, the same for both games of an opening.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from stages.datasets.hex.schema import BLUE, N_CELLS, SIZE
from stages.datasets.hex.simulate.board import played, won
from stages.datasets.hex.simulate.cache import cached
from stages.datasets.hex.simulate.evaluate import Evaluator
from stages.datasets.hex.simulate.openings import opening
from stages.datasets.hex.simulate.search import Draw, Search

CACHE = 60_000  # positions whose judgement each player remembers


class UniformEvaluator:
    """Every legal move alike, and either side wins by a half: at temperature 1 a player of random moves."""

    name = "uniform"
    digest: str | None = None

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return 0 for empty cells, -inf for others, float32 (B, 169)."""
        del movers
        is_taken = boards.any(axis=1).reshape(len(boards), N_CELLS)
        return np.where(is_taken, -np.inf, 0).astype(np.float32)

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return a half, float32 (B,)."""
        del movers
        return np.full(len(boards), 0.5, np.float32)


@dataclass(frozen=True)
class ArenaPlayer:
    """Who plays, and how.

    Attributes
    ----------
    evaluator, search
        Who is asked, and by what.
    temperature, warm_moves
        At which the stones before that one are drawn, see `search.Draw`; the best is played from then on.
    """

    evaluator: Evaluator
    search: Search = field(default_factory=Search)
    temperature: float = 0.0
    warm_moves: int = N_CELLS

    def temperatures(self, n_stones: np.ndarray) -> np.ndarray:
        """Return the temperature at which the next stone is drawn, float64 (B,)."""
        return np.where(n_stones < self.warm_moves, self.temperature, 0.0)


RANDOM_PLAYER = ArenaPlayer(UniformEvaluator(), temperature=1.0)


@dataclass(frozen=True)
class Score:
    """How many of the distinct games the first player won, how many these are, and of how many that were played.

    Games are the same when the same player has blue and the same stones are placed in the same order.
    """

    won: int
    distinct: int
    games: int


class _Games:
    """Games in play, in pairs of the same opening: the first player has blue in even games, red in odd ones.

    Attributes
    ----------
    boards, movers
        uint8 (B, 2, 13, 13) and uint8 (B,), the side to move.
    cells
        int16 (B, 169): the cells of the stones in order, -1 behind them.
    winner
        int8 (B,): the player, 0 or 1, and -1 as long as the game goes on.
    """

    def __init__(self, n_openings: int, seed: int) -> None:
        n = 2 * n_openings
        self.boards, self.movers = np.zeros((n, 2, SIZE, SIZE), np.uint8), np.zeros(n, np.uint8)
        self.cells, self.n_stones = np.full((n, N_CELLS), -1, np.int16), np.zeros(n, np.intp)
        self.winner, self.blue = np.full(n, -1, np.int8), (np.arange(n) % 2).astype(np.int8)
        self.rngs = [np.random.default_rng([seed, game // 2]) for game in range(n)]
        firsts = [opening(game // 2) for game in range(n)]
        games = np.flatnonzero([len(cells) > 0 for cells in firsts])
        self.put(games, np.array([firsts[game][0] for game in games]))

    @property
    def to_move(self) -> np.ndarray:
        """Which player is to move, 0 or 1, int8 (B,)."""
        return np.where(self.movers == BLUE, self.blue, 1 - self.blue)

    def put(self, games: np.ndarray, cells: np.ndarray) -> None:
        """Put a stone into some games, given by number, and note who wins by it."""
        movers, player = self.movers[games], self.to_move[games]
        self.boards[games] = played(self.boards[games], movers, cells)
        self.cells[games, self.n_stones[games]] = cells
        self.n_stones[games] += 1
        self.movers[games] = 1 - movers
        self.winner[games] = np.where(won(self.boards[games], movers), player, -1)


def arena(one: ArenaPlayer, other: ArenaPlayer, n_openings: int = 35, seed: int = 0) -> Score:
    """Play some openings twice each, so that each player has blue once.

    There are 35 openings, which come again; more games than 70 need a temperature to be distinct.
    """
    games = _Games(n_openings, seed)
    players = [replace(player, evaluator=cached(player.evaluator, CACHE)) for player in (one, other)]
    while (games.winner < 0).any():
        for number, player in enumerate(players):
            turn = np.flatnonzero((games.winner < 0) & (games.to_move == number))
            if len(turn):
                draw = Draw([games.rngs[game] for game in turn], player.temperatures(games.n_stones[turn]))
                boards, movers = games.boards[turn], games.movers[turn]
                games.put(turn, player.search.choose(boards, movers, draw, player.evaluator))
    _, first = np.unique(np.column_stack([games.cells, games.blue]), axis=0, return_index=True)
    return Score(int((games.winner[first] == 0).sum()), len(first), len(games.winner))
