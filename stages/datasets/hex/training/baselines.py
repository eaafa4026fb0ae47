"""What a model of positions must beat.

========  ==========================================================================================================
distance  the evaluator that the simulated games were searched with: a softmax of its scores of cells, and its value
random    a legal move drawn at random, whose metrics are chances and not one draw; either player wins by a half
========  ==========================================================================================================

Neither is fitted to anything.
"""

# mypy: disable-error-code="import-not-found, misc"

from pathlib import Path

import numpy as np
import torch

from stages.datasets.hex.schema import RED
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.training.canonical import over_cells
from stages.datasets.hex.training.positions import BEST, Opinion, PositionMeter, target_of
from stages.loader import batches
from stages.loader.torch_adapter.batches import tensors
from stages.training.masked import Target, log_probabilities, nll
from stages.training.task import Metrics, TensorBatch

CHUNK_ROWS = 4096
FIELDS = ("board", "player_to_move", "label_policy", "label_value", "ply")


def baselines(folder: Path, part: str, policy_weight: float) -> dict[str, Metrics]:
    """Return the metrics of each baseline on a part, by its name."""
    distance, random = PositionMeter(policy_weight), PositionMeter(policy_weight)
    with batches(folder, part, batch_size=CHUNK_ROWS, fields=FIELDS, shard=(0, 1), remainder="keep") as stream:
        for batch in map(tensors, stream):
            target = target_of(batch)
            distance.count(batch, target, _distance(batch, target))
            random.count(batch, target, _random(target))
    return {"distance": distance.result(), "random": random.result()}


def _distance(batch: TensorBatch, target: Target) -> Opinion:
    player, evaluator = batch["player_to_move"], DistanceEvaluator()
    boards, players = batch["board"].numpy(), player.numpy()
    scores = evaluator.policy(boards, players)
    # Its scores are whole numbers with many ties: the lower cell of the board comes first, as in the search.
    best = torch.from_numpy(np.argsort(-scores, axis=1, kind="stable")[:, :BEST])
    is_move = best == batch["label_policy"].long()[:, None]
    log_p = log_probabilities(over_cells(torch.from_numpy(scores), player), target)
    red_wins = torch.from_numpy(evaluator.value(boards, players)).double()
    p_win = torch.where(player == RED, red_wins, 1 - red_wins)
    return Opinion(is_move[:, 0].double(), is_move.any(1).double(), nll(log_p, target), p_win)


def _random(target: Target) -> Opinion:
    n_legal = target.legal.sum(1).clamp(min=1).double()
    return Opinion(1 / n_legal, (BEST / n_legal).clamp(max=1), n_legal.log(), torch.full_like(n_legal, 0.5))
