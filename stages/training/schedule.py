"""What the learning rate is multiplied by at each step, as a function of the step alone; and patience.

With n steps in all, numbered s from 0, and w = round(warmup n):

- every schedule but onecycle rises in the first w steps as (s + 1) / w; then, with t = (s - w) / (n - w),
- ``constant``: 1;
- ``cosine``: e + (1 - e) (1 + cos(pi t)) / 2, where e is `lr_end`;
- ``step``: `lr_factor` to the power of how many of `lr_steps` are at or below s / n;
- ``plateau``: `lr_factor` to the power of how often the loss of val was no better for `lr_patience` evaluations;
- ``onecycle``: half a cosine from 1/25 up to 1, whose end is step warmup n - 1, and half a cosine down to 1/250,000.

References
----------
onecycle: Smith and Topin, arXiv:1708.07120, with the constants of torch's OneCycleLR; the momentum stays.
"""

import math
from dataclasses import dataclass

from stages.training.settings import TrainSettings

ONECYCLE_FIRST, ONECYCLE_LAST = 1 / 25, 1 / 250_000


def lr_factor(settings: TrainSettings, step: int, n_steps: int, n_plateaus: int = 0) -> float:
    """Return the factor of a step, see the module; `n_plateaus` is how often the loss has stopped falling."""
    if settings.schedule == "onecycle":
        return _onecycle(step, n_steps, settings.warmup)
    n_rising = round(settings.warmup * n_steps)
    if step < n_rising:
        return (step + 1) / n_rising
    if settings.schedule == "cosine":
        done = (step - n_rising) / max(1, n_steps - n_rising)
        return _half_cosine(1.0, settings.lr_end, done)
    if settings.schedule == "step":
        return settings.lr_factor ** sum(step >= share * n_steps for share in settings.lr_steps)
    if settings.schedule == "plateau":
        return settings.lr_factor**n_plateaus
    return 1.0


def _onecycle(step: int, n_steps: int, warmup: float) -> float:
    top = warmup * n_steps - 1  # the step of the full rate
    if top > 0 and step <= top:
        return _half_cosine(ONECYCLE_FIRST, 1.0, step / top)
    top = max(0.0, top)
    return _half_cosine(1.0, ONECYCLE_LAST, (step - top) / max(1.0, n_steps - 1 - top))


def _half_cosine(start: float, end: float, done: float) -> float:
    """Return the value between two ends when a share of the way is done."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


@dataclass
class Patience:
    """How many evaluations in a row were no better than the best one by more than `min_delta`; lower is better."""

    min_delta: float = 0.0
    best: float = math.inf
    n_without: int = 0

    def see(self, value: float) -> bool:
        """Take in the next value and say whether it is better."""
        is_better = value < self.best - self.min_delta
        self.n_without = 0 if is_better else self.n_without + 1
        self.best = value if is_better else self.best
        return is_better
