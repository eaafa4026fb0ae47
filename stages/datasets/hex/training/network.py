"""A trained network as an evaluator of self-play, from its weights alone.

It answers alike to the last bit whatever boards are asked about together, so that games are the same for any number of
processes: boards go through the network 32 at a time, the last ones filled up, on one thread. Batches of 1, 2, 16 and
48 differ in bits from one of 64 (measured); of 32, a search of few moves leaves fewer places empty than of 64, and the
network answers 2,800 boards a CPU second, not 2,500.
"""

# mypy: disable-error-code="import-not-found, misc"

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stages.core import arrays
from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import N_CELLS, RED
from stages.datasets.hex.simulate.evaluate import Evaluator
from stages.datasets.hex.training.canonical import EMPTY, over_cells, planes
from stages.datasets.hex.training.model import HexNet
from stages.training.weights import load_weights

AT_ONCE = 32  # boards
CERTAIN = 1e-6  # values stay apart from 0 and 1, which are for games that are over


def answers(net: nn.Module, board: Tensor, player: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a network says of boards as they lie.

    Parameters
    ----------
    net
        In evaluation mode or not; it has no dropout.
    board, player
        uint8 (n, 2, 13, 13) and uint8 (n,), the side to move.

    Returns
    -------
    tuple of Tensor
        float32 (n, 169), logits of the cells, -inf where a stone stands; and float32 (n,), the probability that red
        wins.
    """
    seen = planes(board, player)
    logits, value = net(seen)
    logits = logits.float().masked_fill(seen[:, EMPTY].flatten(1) == 0, float("-inf"))
    p_win = torch.sigmoid(value.float())
    return over_cells(logits, player), torch.where(player == RED, p_win, 1 - p_win)


class NetworkEvaluator(Evaluator):
    """A network as an evaluator; see stages/datasets/hex/simulate/evaluate.py.

    Parameters
    ----------
    net
        What is asked.
    name
        Of the player.
    """

    digest: str | None = None  # the header of the games has that of the weights

    def __init__(self, net: nn.Module, name: str = "network") -> None:
        self._net, self.name = net.eval(), name

    def both(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return policy and, in the last column, value, float32 (B, 170)."""
        found = np.empty((len(boards), N_CELLS + 1), np.float32)
        for start in range(0, len(boards), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            found[rows] = self._asked(boards[rows], movers[rows])
        return found

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits of the cells, float32 (B, 169), -inf where a stone stands."""
        return self.both(boards, movers)[:, :-1]

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return P(red wins), float32 (B,)."""
        return self.both(boards, movers)[:, -1]

    def _asked(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        n = len(boards)
        rows = np.arange(AT_ONCE) % n
        with torch.inference_mode():
            logits, red_wins = answers(self._net, torch.from_numpy(boards[rows]), torch.from_numpy(movers[rows]))
        return np.column_stack([logits[:n].numpy(), np.clip(red_wins[:n].numpy(), CERTAIN, 1 - CERTAIN)])


def load(weights: Path) -> NetworkEvaluator:
    """Return the evaluator of the weights of a model, whose form they tell themselves.

    torch runs on one thread from then on: processes share the cores, not threads.

    Raises
    ------
    ExpectedError
        When the file is no weights of a network of this kind.
    """
    torch.set_num_threads(1)
    held = arrays.read_npz(weights)
    stem = held.get("stem.0.weight")
    n_blocks = len({name.split(".")[1] for name in held if name.startswith("body.")})
    if stem is None or stem.ndim != 4 or n_blocks == 0:
        raise ExpectedError(f"{weights}: not the weights of a network of hex, expected a weights.npz of `make train`")
    net = HexNet(stem.shape[0], n_blocks).to(memory_format=torch.channels_last)
    load_weights(net, weights)
    return NetworkEvaluator(net)
