"""Forecast the bars after a window: their return, and how much the price moves.

Trained on windows of one feature, strategic or tactical, with the bars behind each, of which the labels are made. So
`split.windows` in params.yaml gives windows at every bar (``step: 1``: with 36 there are 248 on the sample, too few to
learn from) and keeps `horizon` rows ahead of each. Then whatever deals out windows, the loader's order, ranks,
checkpoints and mixtures, deals out labels as well.
"""

# mypy: disable-error-code="import-not-found, misc"

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from stages.core.errors import ExpectedError
from stages.core.params import AtLeast, Between, Must
from stages.datasets.market.training import baselines, labels
from stages.datasets.market.training.labels import Arrays, Forecast
from stages.datasets.market.training.meter import ForecastMeter, both_labels, huber
from stages.datasets.market.training.model import BarNet
from stages.processed import Processed
from stages.training.options import own_options
from stages.training.task import Headline, Metrics, TensorBatch

WHERE = "params.yaml: train.market"


@dataclass(frozen=True)
class BarNetOptions:
    """The key ``model``.

    Attributes
    ----------
    field
        Which windows are looked at.
    channels
        Of each convolution.
    dropout
        Before the last layer.
    """

    field: Literal["strategic", "tactical"] = "strategic"
    channels: Annotated[int, AtLeast(1)] = 32
    dropout: Annotated[float, Between(0, 1)] = 0.0


@dataclass(frozen=True)
class ForecastOptions:
    """The keys of ``train.market`` that are not the trainer's.

    Attributes
    ----------
    horizon
        Bars after the window that are forecast.
    return_weight
        Of the return in the loss; that of the volatility is 1.
    """

    model: BarNetOptions = field(default_factory=BarNetOptions)
    horizon: Annotated[int, AtLeast(1)] = 4
    return_weight: Annotated[float, Must(lambda weight: 0 <= weight < math.inf, "a number from 0")] = 1.0


class TaskMarket:
    """See the module; the interface is described in stages/training/task.py.

    Attributes
    ----------
    CONTROLS
        What must not be learned on the simulated sample, whose returns are a random walk: a model that is better than
        this has seen a future bar.
    """

    DEFAULTS: ClassVar[Mapping[str, Any]] = {**asdict(ForecastOptions()), "batch_size": 256, "epochs": 16, "lr": 1e-3}
    HEADLINES: ClassVar[tuple[Headline, ...]] = (
        Headline("volatility_r2", is_higher_better=True, threshold=0.57),
        Headline("return_r2", is_higher_better=True),
        Headline("direction", is_higher_better=True),
    )
    CONTROLS: ClassVar[tuple[Headline, ...]] = (Headline("return_r2", is_higher_better=False, threshold=0.01),)
    LOSS: ClassVar[str] = "loss"
    ANSWERED_ROW: ClassVar[int] = -1

    def __init__(self, params: Mapping[str, Any], folder: Path) -> None:
        self._options = own_options(ForecastOptions, params, WHERE)
        self._field = self._options.model.field
        (self._n_columns,) = Processed(folder).feature_header(self._field, "train").shape[1:]
        self._forecast = labels.forecast_of(folder, self._field, self._options.horizon)
        self._n_days = labels.days(folder)[1]
        mean, scale = label_scale(folder, self._forecast)
        self._mean, self._scale = torch.from_numpy(mean), torch.from_numpy(scale)

    def build(self) -> nn.Module:
        """Return the model: 8 thousand parameters for the strategic columns."""
        model = self._options.model
        return BarNet(self._n_columns, model.channels, model.dropout, self._mean, self._scale)

    def stream_settings(self, part: str) -> dict[str, Any]:
        """Return the windows with the closes behind them, and what makes labels of these; the same for each part."""
        del part
        return {"window": self._field, "ahead": True, "fields": self._forecast.fields, "transform": self._forecast}

    def loss(self, model: nn.Module, batch: TensorBatch) -> tuple[Tensor, Metrics]:
        """Return the mean Huber loss of both labels in standard deviations of train, and that of each."""
        forecast = model(batch["x"]).double()
        found, scale = both_labels(batch), self._scale.to(forecast.device)
        total = huber(forecast, found, scale, self._options.return_weight).mean()
        with torch.no_grad():
            of_volatility = huber(forecast, found, scale, 0.0).mean()
            of_return = huber(forecast, found, scale, 1.0).mean() - of_volatility
        return total, {"return_loss": float(of_return), "volatility_loss": float(of_volatility)}

    def outputs(self, model: nn.Module, batch: TensorBatch) -> dict[str, Tensor]:
        """Return the forecast log return and log volatility, (k,) each; only ``x`` is looked at."""
        forecast = model(batch["x"])
        return {name: forecast[:, number] for number, name in enumerate(labels.TARGETS)}

    def meter(self) -> ForecastMeter:
        """Return a new meter."""
        return ForecastMeter(self._mean, self._scale, self._options.return_weight, self._n_days)

    def baselines(self, train: Path, part: str) -> dict[str, Metrics]:
        """Return the metrics of each baseline, see `baselines`; what one does not forecast is left out."""
        ridge = baselines.fit(labels.chunks(train, "train", self._forecast), baselines.last_bar)
        har = baselines.fit(labels.chunks(train, "train", self._forecast), baselines.past)
        meters = {name: self.meter() for name in ("zero", "mean", "ridge", "har")}
        nothing = np.nan  # in place of what a baseline does not forecast
        for batch in labels.chunks(train, part, self._forecast):
            mean = np.broadcast_to(self._mean.numpy(), (len(batch["x"]), 2))
            self._add(meters["zero"], mean * [0, nothing], batch)
            self._add(meters["mean"], mean, batch)
            self._add(meters["ridge"], ridge(batch), batch)
            self._add(meters["har"], har(batch) * [nothing, 1], batch)
        results = {name: meter.result() for name, meter in meters.items()}
        return {
            name: {key: value for key, value in found.items() if not math.isnan(value)}
            for name, found in results.items()
        }

    def replay(self, model: nn.Module, folder: Path, part: str) -> dict[str, Metrics]:
        """Return nothing: nobody acts on what was recorded."""
        del model, folder, part
        return {}

    def _add(self, meter: ForecastMeter, forecast: np.ndarray, batch: Arrays) -> None:
        tensors = {name: torch.from_numpy(values) for name, values in batch.items() if name != "x"}
        meter.add(torch.from_numpy(np.array(forecast)), tensors)


def label_scale(folder: Path, forecast: Forecast) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of both labels over the windows of train, float64 (2,) each.

    The mean return is taken to be 0: over the months of a sample it is chance.

    Raises
    ------
    ExpectedError
        When a label is the same in all windows.
    """
    n, total, square = 0, np.zeros(2), np.zeros(2)
    for batch in labels.chunks(folder, "train", forecast):
        found = baselines.labels(batch)
        n, total, square = n + len(found), total + found.sum(0), square + (found**2).sum(0)
    mean = total / n * [0, 1]
    variance = square / n - mean**2
    if not (variance > 0).all():
        raise ExpectedError(f"{folder}: {n} windows of train whose prices never move, expected some that do; add data")
    return mean, np.sqrt(variance)


TASK = TaskMarket
