"""What plays: an evaluator and the search that asks it, one game at a time, always the best move it finds.

So the same moves get the same answers, those of the search alone, and nothing is drawn.
"""

from dataclasses import dataclass

import numpy as np

from stages.datasets.hex.play.game import HexGame
from stages.datasets.hex.schema import RED
from stages.datasets.hex.simulate.evaluate import Evaluator
from stages.datasets.hex.simulate.search import Draw, Search


@dataclass(frozen=True)
class Opponent:
    """An evaluator and its search.

    Attributes
    ----------
    evaluator, search
        What is asked, and how.
    name, version
        What it is called, and which one of that name.
    """

    evaluator: Evaluator
    search: Search
    name: str
    version: str

    def move(self, game: HexGame, side: int) -> int:
        """Return the cell of a side's next stone, of a game that is not over."""
        draw = Draw([np.random.default_rng(0)], np.zeros(1))
        return int(self.search.choose(game.board, np.array([side], np.uint8), draw, self.evaluator)[0])

    def chance(self, game: HexGame, side: int) -> float:
        """Return the probability that a side wins, as the evaluator sees the game."""
        red_wins = float(self.evaluator.value(game.board, np.array([game.to_move], np.uint8))[0])
        return red_wins if side == RED else 1 - red_wins
