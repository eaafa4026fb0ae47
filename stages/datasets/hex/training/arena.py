"""Games between two players, each opening with both colours.

A player is an evaluator as a search has it, and how it is asked: `widths` (1,) is its policy without search. All games
go in step, so that a network sees many boards at once. Players at temperature 0 repeat themselves: the same opening and
colours give the same game, and only games with other moves say anything new, so they are counted. Draws come from a
generator of the game's own, the same for both games of an opening.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stages.datasets.hex.schema import BLUE, N_CELLS, SIZE
from stages.datasets.hex.simulate import search
from stages.datasets.hex.simulate.board import played, won
from stages.datasets.hex.simulate.evaluate import Evaluator
from stages.datasets.hex.simulate.openings import opening
from stages.datasets.hex.training.task import TaskHex

# A network gets boards by so many, the last ones filled up: it answers alike to the last bit whoever is beside a board.
# Batches of 1, 2 and 7 differ in bits from 64; 16 to 512 do not (measured).
CHUNK = 64
CERTAIN = 1e-6  # values stay apart from 0 and 1, which are for games that are over


class NetEvaluator:
    """A model of `TaskHex` as an evaluator; see stages/datasets/hex/simulate/evaluate.py.

    Parameters
    ----------
    task, model
        The model is put into evaluation mode for each call and left as it was.
    """

    name = "net"
    digest: str | None = None

    def __init__(self, task: TaskHex, model: nn.Module) -> None:
        self._task, self._model = task, model

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits of the cells, float32 (B, 169), -inf where a stone stands."""
        return self._asked("policy", boards, movers)

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return P(red wins), float32 (B,)."""
        return np.clip(self._asked("value", boards, movers), CERTAIN, 1 - CERTAIN).astype(np.float32)

    def _asked(self, what: str, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        n = len(boards)
        rows = np.arange(-(-max(1, n) // CHUNK) * CHUNK) % max(1, n)
        batch = {"board": torch.from_numpy(boards[rows]), "player_to_move": torch.from_numpy(movers[rows])}
        was_training = self._model.training
        self._model.eval()
        with torch.inference_mode():
            answer: np.ndarray = self._task.outputs(self._model, batch)[what][:n].numpy()
        self._model.train(was_training)
        return answer


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
    """Who plays, and how: `widths` and `temperature` are those of `search.choose`."""

    evaluator: Evaluator
    widths: Sequence[int] = (1,)
    temperature: float = 0.0


RANDOM_PLAYER = ArenaPlayer(UniformEvaluator(), temperature=1.0)


@dataclass(frozen=True)
class Score:
    """How many games the first player won, of how many, and how many of these were distinct."""

    won: int
    games: int
    distinct: int


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
    """Play each of the first `n_openings` openings twice, so that each player has blue once.

    There are 35 openings; more games than 70 need a temperature to be distinct.
    """
    games = _Games(n_openings, seed)
    while (games.winner < 0).any():
        for number, player in enumerate((one, other)):
            turn = np.flatnonzero((games.winner < 0) & (games.to_move == number))
            if len(turn):
                draw = search.Draw([games.rngs[game] for game in turn], np.full(len(turn), player.temperature))
                boards, movers = games.boards[turn], games.movers[turn]
                games.put(turn, search.choose(boards, movers, draw, player.widths, player.evaluator))
    distinct = len(np.unique(games.cells, axis=0))
    return Score(int((games.winner == 0).sum()), len(games.winner), distinct)
