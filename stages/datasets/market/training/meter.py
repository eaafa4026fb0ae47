"""How good forecasts of bars are, counted as sums over windows.

- return_r2: 1 - squared error over squared returns: what is gained on "the price stays where it is";
- volatility_r2: 1 - squared error over squared distance from the mean of train, which is all that was known before;
- direction: share of the returns that are not 0 whose sign was forecast, among forecasts that are not 0; with
  direction_low and direction_high, its 95 % interval.

Windows overlap and their returns depend on each other, so the interval is a block bootstrap: days are drawn with
replacement, each with all of its windows of all instruments.
"""

# mypy: disable-error-code="import-not-found, misc"

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.training.figures import Agreement, bins_of
from stages.training.task import Metrics, TensorBatch

DRAWS: Final = 1000
SHARES: Final = (0.025, 0.975)
N_BINS: Final = 32
BIN_WIDTHS: Final = (0.04, 0.25)  # of forecasts of return and volatility, in standard deviations of train
SUMS: Final = ("windows", "loss", "return_error", "return_square", "volatility_error", "volatility_square")


class ForecastMeter:
    """Sums over windows, see the module.

    Parameters
    ----------
    mean, scale
        float64 (2,): of return and log volatility in train.
    return_weight
        Of the return in the loss.
    n_days
        Days that the parts span.
    """

    def __init__(self, mean: Tensor, scale: Tensor, return_weight: float, n_days: int) -> None:
        self._mean, self._scale, self._return_weight = mean, scale, return_weight
        self._sums = torch.zeros(len(SUMS), dtype=torch.float64)
        self._days = torch.zeros(2, n_days, dtype=torch.float64)  # forecasts with the right sign, and all of them
        self._bins = torch.zeros(2, 3, N_BINS, dtype=torch.float64)  # of both: windows, forecasts, labels

    def update(self, model: nn.Module, batch: TensorBatch) -> None:
        """Take in a batch of windows."""
        self.add(model(batch["x"]), batch)

    def add(self, forecast: Tensor, batch: TensorBatch) -> None:
        """Take in forecasts (B, 2) of whatever made them; NaN for what it does not forecast."""
        found, labels = forecast.double().cpu(), both_labels(batch).cpu()
        error, distance = (found - labels) ** 2, (labels - self._mean) ** 2
        losses = huber(found, labels, self._scale, self._return_weight)
        counted = (len(labels), losses.sum(), error[:, 0].sum(), (labels[:, 0] ** 2).sum(), error[:, 1].sum())
        self._sums += torch.tensor([*map(float, counted), float(distance[:, 1].sum())], dtype=torch.float64)
        self._count_bins(found, labels)
        moves = (labels[:, 0] != 0) & (found[:, 0] != 0) & found[:, 0].isfinite()
        day = batch["day"].cpu()[moves]
        is_right = ((labels[:, 0] > 0) == (found[:, 0] > 0))[moves]
        self._days[0].index_add_(0, day, is_right.double())
        self._days[1].index_add_(0, day, torch.ones_like(is_right, dtype=torch.float64))

    def _count_bins(self, found: Tensor, labels: Tensor) -> None:
        """Count forecasts and labels (B, 2) by the bin of the forecast; the outer ones have all beyond."""
        place = ((found - self._mean) / self._scale / torch.tensor(BIN_WIDTHS)).floor() + N_BINS // 2
        for number in range(len(BIN_WIDTHS)):
            is_told = found[:, number].isfinite()
            counted = torch.stack([torch.ones_like(found[:, number]), found[:, number], labels[:, number]])
            index = place[is_told, number].long().clamp(0, N_BINS - 1)
            self._bins[number].index_add_(1, index, counted[:, is_told])

    def state(self) -> Tensor:
        """Return all sums, float64 (198 + 2 days,)."""
        return torch.cat([self._sums, self._bins.flatten(), self._days.flatten()])

    def load(self, state: Tensor) -> None:
        """Take what `state` gave."""
        sums, bins, days = state.clone().tensor_split([len(SUMS), len(SUMS) + self._bins.numel()])
        self._sums, self._bins, self._days = sums, bins.reshape(self._bins.shape), days.reshape(2, -1)

    def result(self) -> Metrics:
        """Return the metrics."""
        sums = dict(zip(SUMS, self._sums.tolist(), strict=True))
        right, n = self._days.numpy()
        low, high = _interval(right, n)
        return {
            "loss": _ratio(sums["loss"], sums["windows"]),
            "volatility_r2": 1 - _ratio(sums["volatility_error"], sums["volatility_square"]),
            "return_r2": 1 - _ratio(sums["return_error"], sums["return_square"]),
            "direction": _ratio(float(right.sum()), float(n.sum())),
            "direction_low": low,
            "direction_high": high,
            "windows": sums["windows"] or math.nan,
        }

    def figures(self) -> list[Agreement]:
        """Return forecasts beside what happened."""
        doc = "Windows by what was forecast of the bars behind them; on the line, it is what happens on average."
        quantities = {"Return": "log return", "Volatility": "log realised variance of a bar"}
        sums = self._bins.tolist()
        return [
            Agreement(title, doc, quantity, bins_of(*sums[number]))
            for number, (title, quantity) in enumerate(quantities.items())
        ]


def both_labels(batch: TensorBatch) -> Tensor:
    """Return the return and the log volatility after each window, float64 (B, 2)."""
    return torch.stack([batch["label_return"], batch["label_volatility"]], dim=1).double()


def huber(forecast: Tensor, labels: Tensor, scale: Tensor, return_weight: float) -> Tensor:
    """Return the Huber loss of each window (B,): of both errors (B, 2), each in standard deviations of train."""
    error = (forecast - labels) / scale
    both = functional.huber_loss(error, torch.zeros_like(error), reduction="none")
    return both[:, 0] * return_weight + both[:, 1]


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def _interval(right: np.ndarray, n: np.ndarray) -> tuple[float, float]:
    """Return the ends of the interval; every part is drawn from with the same numbers."""
    right, n = right[n > 0], n[n > 0]
    if not len(n):
        return math.nan, math.nan
    days = np.random.default_rng(0).integers(0, len(n), (DRAWS, len(n)))
    low, high = np.quantile(right[days].sum(1) / n[days].sum(1), SHARES)
    return float(low), float(high)
