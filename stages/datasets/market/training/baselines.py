"""What a forecast of bars must beat: nothing, the mean, and two regressions that take a moment to fit.

- zero: the price stays where it is; of volatility it says nothing;
- mean: that of the train part, of both;
- ridge: a linear regression on the columns of the last bar;
- har: log volatility on the realised volatility of the last 1, 4, 12 and 46 bars, a regression whose terms are hard to
  beat.

References
----------
F. Corsi: A Simple Approximate Long-Memory Model of Realized Volatility, Journal of Financial Econometrics 7 (2009).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from stages.datasets.market.training.labels import TARGETS, Arrays

RIDGE: Final = 1.0  # added to each square sum of a standardised column

Inputs = Callable[[Arrays], np.ndarray]


@dataclass(frozen=True)
class Linear:
    """A fitted regression: ``inputs(batch)`` (B, k) @ weights (k, targets) + bias (targets,)."""

    inputs: Inputs
    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, batch: Arrays) -> np.ndarray:
        """Return the forecast of a batch, float64 (B, targets)."""
        return self.inputs(batch).astype(np.float64) @ self.weights + self.bias


def last_bar(batch: Arrays) -> np.ndarray:
    """Return the columns of the last bar of each window."""
    return batch["x"][:, -1]


def past(batch: Arrays) -> np.ndarray:
    """Return the realised volatility of the last bars."""
    return batch["past"]


def labels(batch: Arrays) -> np.ndarray:
    """Return the labels, float64 (B, 2), in the order of `TARGETS`."""
    return np.stack([batch[f"label_{name}"] for name in TARGETS], axis=1)


def fit(batches: Iterable[Arrays], inputs: Inputs) -> Linear:
    """Fit both labels by least squares with a ridge, from sums over the batches, so that no more is in memory."""
    sums = None
    for batch in batches:
        x, y = inputs(batch).astype(np.float64), labels(batch)
        joined = np.concatenate([np.ones((len(x), 1)), x, y], axis=1)
        moments = joined.T @ joined
        sums = moments if sums is None else sums + moments
    return _solved(np.asarray(sums), inputs)


def _solved(moments: np.ndarray, inputs: Inputs) -> Linear:
    """Solve the normal equations of (1, x, y), whose sums of products are `moments`."""
    n, n_inputs = moments[0, 0], len(moments) - 1 - len(TARGETS)
    mean = moments[0] / n
    centred = moments - n * np.outer(mean, mean)

    # The ridge is on standardised columns; one that never varies has a weight of 0.
    x, y = slice(1, 1 + n_inputs), slice(1 + n_inputs, None)
    scale = np.sqrt(np.maximum(np.diagonal(centred)[x] / n, 0)) + 1e-9
    gram = centred[x, x] / np.outer(scale, scale) + RIDGE * np.eye(n_inputs)
    weights = np.linalg.solve(gram, centred[x, y] / scale[:, None]) / scale[:, None]
    return Linear(inputs, weights, mean[y] - mean[x] @ weights)
