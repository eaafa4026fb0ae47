"""How a model is judged on positions: the next move, and whether the player to move wins.

A position without a next move, the last one of a game, is judged by its winner alone.
"""

# mypy: disable-error-code="import-not-found, misc"

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.datasets.hex.training.canonical import EMPTY, cells, planes
from stages.training.figures import Agreement, bins_of
from stages.training.masked import Target, log_probabilities, nll
from stages.training.sums import Sums, ratio
from stages.training.task import Metrics, TensorBatch

BEST = 5
MOST_CERTAIN = -100.0  # log-probability: what is called impossible and happens costs no more, as in torch's losses
BINS = 10  # of the calibration
FIRST_PLIES = (0, 20, 40, 60)  # where each stage of a game begins; the last one has no end

_NAMES = (*(f"{first}_{last - 1}" for first, last in itertools.pairwise(FIRST_PLIES)), f"{FIRST_PLIES[-1]}_on")


def target_of(batch: TensorBatch) -> Target:
    """Return the next move in the mover's view and the cells that are empty there."""
    player = batch["player_to_move"]
    label = cells(batch["label_policy"].long(), player)
    empty = planes(batch["board"], player)[:, EMPTY].flatten(1) > 0
    return Target(label, empty, label >= 0)


def mover_wins(batch: TensorBatch) -> Tensor:
    """Return 1 where the player to move wins the game, float32 (n,)."""
    return (batch["label_value"].long() == batch["player_to_move"].long()).float()


@dataclass(frozen=True)
class Opinion:
    """What is said of n positions.

    Attributes
    ----------
    top1, top5
        float64 (n,): the chance that the next move is the one named first, or among the first five; 0 or 1 for what
        names definite moves.
    policy_nll
        (n,): minus the log-probability of the next move; these three are not looked at where there is none.
    p_win
        float64 (n,): the probability that the player to move wins.
    """

    top1: Tensor
    top5: Tensor
    policy_nll: Tensor
    p_win: Tensor


def opinion_of(log_p: Tensor, target: Target, p_win: Tensor) -> Opinion:
    """Return the opinion of log-probabilities of moves, (n, 169), and of a probability of winning, (n,)."""
    is_label = log_p.topk(BEST, 1).indices == target.label[:, None]
    return Opinion(is_label[:, 0].double(), is_label.any(1).double(), nll(log_p, target), p_win.double())


class PositionMeter:
    """Metrics of whole parts, of a model or of a baseline.

    ``top1``, ``top5`` and ``policy_nll`` are of the ``n_moves`` positions with a next move, the rest is of all ``n``:
    ``value_accuracy`` (half a point for a probability of exactly one half), ``value_nll``, ``brier``: the mean squared
    error of the probability; ``calibration_error``: the mean distance between what is foretold and what happens, over
    ten bins of the probability; ``loss``: ``policy_nll`` per position and ``value_nll``, as in training. Some stand
    once more for each stage of a game: ``top1_ply_0_19``.

    Parameters
    ----------
    policy_weight
        Of the policy in ``loss``.
    """

    def __init__(self, policy_weight: float) -> None:
        self._policy_weight = policy_weight
        n_stages = len(FIRST_PLIES)
        of_moves = dict.fromkeys(("n_moves", "top1", "top5", "policy_nll"), (n_stages,))
        of_values = dict.fromkeys(("n", "value_right", "value_nll", "squared"), (n_stages,))
        bins = dict.fromkeys(("bin_n", "bin_foretold", "bin_won"), (BINS,))
        self._sums = Sums({**of_moves, **of_values, **bins})

    def update(self, model: nn.Module, batch: TensorBatch) -> None:
        """Take in what a model says of a batch."""
        target = target_of(batch)
        policy, value = model(planes(batch["board"], batch["player_to_move"]))
        self.count(batch, target, opinion_of(log_probabilities(policy, target), target, torch.sigmoid(value.double())))

    def count(self, batch: TensorBatch, target: Target, opinion: Opinion) -> None:
        """Take in a batch and what is said of it."""
        stage = torch.bucketize(
            batch["ply"].long(), torch.tensor(FIRST_PLIES[1:], device=batch["ply"].device), right=True
        )
        rows = functional.one_hot(stage, len(FIRST_PLIES)).double()
        moves = rows * target.counts[:, None]
        self._sums.add("n_moves", moves)
        for name in ("top1", "top5", "policy_nll"):
            self._sums.add(name, moves * getattr(opinion, name).double().where(target.counts, 0)[:, None])
        p, won = opinion.p_win, mover_wins(batch).double()
        value_nll = -torch.where(won > 0.5, p, 1 - p).log().clamp(min=MOST_CERTAIN)
        self._sums.add("n", rows)
        self._sums.add("value_right", rows * torch.where(p == 0.5, 0.5, ((p > 0.5) == (won > 0.5)).double())[:, None])
        self._sums.add("value_nll", rows * value_nll[:, None])
        self._sums.add("squared", rows * ((p - won) ** 2)[:, None])
        bins = functional.one_hot((p * BINS).long().clamp(max=BINS - 1), BINS).double()
        self._sums.add("bin_n", bins)
        self._sums.add("bin_foretold", bins * p[:, None])
        self._sums.add("bin_won", bins * won[:, None])

    def state(self) -> Tensor:
        """Return all sums, float64 (k,)."""
        return self._sums.state()

    def load(self, state: Tensor) -> None:
        """Take what `state` gave, summed over ranks."""
        self._sums.load(state)

    def result(self) -> Metrics:
        """Return the metrics by name."""
        sums, n, n_moves = self._sums, self._sums["n"].sum(), self._sums["n_moves"].sum()
        found = {"n": float(n), "n_moves": float(n_moves)}
        found |= {name: ratio(sums[name].sum(), n_moves) for name in ("top1", "top5", "policy_nll")}
        found["value_accuracy"] = ratio(sums["value_right"].sum(), n)
        found["value_nll"] = ratio(sums["value_nll"].sum(), n)
        found["brier"] = ratio(sums["squared"].sum(), n)
        found["calibration_error"] = ratio((sums["bin_foretold"] - sums["bin_won"]).abs().sum(), n)
        found["loss"] = self._policy_weight * ratio(sums["policy_nll"].sum(), n) + found["value_nll"]
        for index, name in enumerate(_NAMES):
            found[f"top1_ply_{name}"] = ratio(sums["top1"][index], sums["n_moves"][index])
            found[f"value_accuracy_ply_{name}"] = ratio(sums["value_right"][index], sums["n"][index])
        return found

    def figures(self) -> list[Agreement]:
        """Return how often the mover wins where about the same was foretold."""
        doc = "Positions by the probability that the player to move wins; on the line, what was foretold happens."
        sums = (self._sums[name].tolist() for name in ("bin_n", "bin_foretold", "bin_won"))
        return [Agreement("Calibration of the value", doc, "probability that the mover wins", bins_of(*sums))]
