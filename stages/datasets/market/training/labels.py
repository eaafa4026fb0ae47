"""Labels of a window of bars: what the price did in the bars right after it.

With c the closes, r(i) = ln c(i) - ln c(i-1), t the last bar of the window and h the horizon:

- return: ln c(t+h) - ln c(t);
- volatility: ln(mean of r(t+1)^2 .. r(t+h)^2 + `FLOOR`), the logarithm of the realised variance of a bar. The floor is
  that of a move of 0.003 %, so that hours in which nothing is traded are low and not minus infinity.

The loader gives windows with the bars after them, all of one part, one instrument and one segment. Labels are made of
these rows alone, so they are the same in whatever batch a window comes, and none looks into another part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stages.core.errors import ExpectedError
from stages.loader import PartArrays
from stages.loader.form import Form
from stages.processed import Processed

Arrays = dict[str, np.ndarray]

FLOOR: Final = 1e-9
PASTS: Final = (1, 4, 12, 46)  # bars; of half an hour 46 are a day of trading
TARGETS: Final = ("return", "volatility")
CHUNK_WINDOWS: Final = 4096  # of 48 rows of 13 numbers: 10 MB
DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True)
class Forecast:
    """What is made of a batch of the loader; a `Settings.transform`.

    Attributes
    ----------
    field
        The feature whose windows are the samples: "strategic" or "tactical".
    window
        Its bars.
    horizon
        Bars after the window that the labels speak of, at least 1.
    first_day
        Days since 1970 of day 0.
    """

    field: str
    window: int
    horizon: int
    first_day: int = 0

    @property
    def fields(self) -> tuple[str, ...]:
        """What the loader must give."""
        return (self.field, "close", "time")

    def __call__(self, batch: Arrays, _numbers: np.ndarray | None = None) -> Arrays:
        """Return ``x`` float32 (B, window, columns), the labels by name, float64 (B,), and ``day`` int64 (B,).

        Parameters
        ----------
        batch
            The feature, close and time, (B, window + horizon or more, ...); with fewer rows there are no labels, as
            where a model is asked about bars that nobody has seen yet.
        """
        close = self.closes(batch)
        has_labels = close.shape[1] == self.window + self.horizon
        found = targets(close, self.horizon) if has_labels else {}
        labels = {f"label_{name}": values for name, values in found.items()}
        day = batch["time"][:, self.window - 1] // DAY_NS - self.first_day
        return {"x": batch[self.field][:, : self.window], **labels, "day": day}

    def closes(self, batch: Arrays) -> np.ndarray:
        """Return the closes of the windows and of the bars of the horizon, float64 (B, window + horizon)."""
        return batch["close"][:, : self.window + self.horizon].astype(np.float64)


def forecast_of(folder: Path, field: str, horizon: int) -> Forecast:
    """Return what makes labels of the windows of a feature.

    Raises
    ------
    ExpectedError
        When fewer rows are kept behind a window than the labels look at.
    """
    data = Processed(folder)
    n_ahead = data.rows_ahead(field)
    if n_ahead < horizon:
        raise ExpectedError(
            f"{folder}: windows of {field!r} keep {n_ahead} rows ahead, expected at least {horizon}; set "
            f"split.windows.{field}.ahead in params.yaml and `dvc repro`, or lower train.market.horizon"
        )
    return Forecast(field, data.window_rows(field), horizon, days(folder)[0])


def targets(close: np.ndarray, horizon: int) -> Arrays:
    """Return what is to be forecast, float64 (B,), by the names of `TARGETS`.

    Parameters
    ----------
    close
        float64 (B, window + horizon), above 0.
    horizon
        Rows after the window.

    Examples
    --------
    >>> found = targets(np.exp([[0.0, 0.5, 0.6, 0.4]]), horizon=2)
    >>> found["return"].round(6), np.exp(found["volatility"]).round(6)
    (array([-0.1]), array([0.025]))
    """
    log = np.log(close)
    return {"return": log[:, -1] - log[:, -1 - horizon], "volatility": _realised(np.diff(log)[:, -horizon:])}


def past_volatility(close: np.ndarray, horizon: int) -> np.ndarray:
    """Return the log realised variance of the last bars of the window, as many as `PASTS` says: float64 (B, 4)."""
    moves = np.diff(np.log(close[:, : close.shape[1] - horizon]))
    return np.stack([_realised(moves[:, -n:]) for n in PASTS], axis=1)


def chunks(folder: Path, part: str, forecast: Forecast) -> Iterator[Arrays]:
    """Yield the windows of a part in order, as `Forecast` gives them, with ``past`` float64 (B, 4)."""
    source = PartArrays(folder, part, forecast.fields, forecast.field, Form(ahead=True))
    for start in range(0, len(source), CHUNK_WINDOWS):
        batch = source.read(np.arange(start, min(start + CHUNK_WINDOWS, len(source))))
        yield forecast(batch) | {"past": past_volatility(forecast.closes(batch), forecast.horizon)}


def days(folder: Path) -> tuple[int, int]:
    """Return the first day of all parts, since 1970, and how many days they span."""
    found = [time for part in ("train", "val", "test") if len(time := Processed(folder).keys(part, ["time"])["time"])]
    first = min(int(time.min()) for time in found) // DAY_NS
    last = max(int(time.max()) for time in found) // DAY_NS
    return first, last - first + 1


def _realised(moves: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean square of some moves (B, n), float64 (B,)."""
    return np.asarray(np.log(np.mean(moves**2, axis=1) + FLOOR))
