"""The loop: batches, steps, evaluations, and all that has to be known to go on.

A step's randomness is a function of seed, step and rank, the order of the samples one of seed and epoch, and the
learning rate one of the step. So what `Trainer.state` holds goes on bit for bit, in any number of ranks.
"""

# mypy: disable-error-code="import-not-found, misc"

import copy
import json
import math
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Protocol

import torch
from torch import nn

from stages.core.errors import ExpectedError
from stages.core.part_files import PARTS
from stages.runtime.signals import HeldBack
from stages.training.checkpoint import State
from stages.training.device import Device, n_samples, seed_step
from stages.training.evaluate import evaluate
from stages.training.feed import Feed, StreamState
from stages.training.optimiser import make_optimiser, set_rate
from stages.training.ranks import Ranks
from stages.training.schedule import Patience, lr_factor
from stages.training.settings import TrainSettings
from stages.training.task import Metrics, Task, TensorBatch


@dataclass(frozen=True)
class Plan:
    """How many steps there are, and after how many the model is evaluated; an epoch has `n_batches`."""

    n_steps: int
    interval: int
    n_batches: int

    @property
    def n_epochs(self) -> int:
        """The number of epochs, the last one perhaps not whole."""
        return -(-self.n_steps // self.n_batches)

    def is_evaluation(self, step: int) -> bool:
        """Say whether an interval ends with this step."""
        return step > 0 and (step % self.interval == 0 or step == self.n_steps)


def make_plan(settings: TrainSettings, n_batches: int) -> Plan:
    """Return the plan of a training whose epochs have so many batches; counts of samples become whole steps."""
    n_steps = (settings.epochs or 0) * n_batches or math.ceil((settings.samples or 0) / settings.batch_size)
    interval = math.ceil(settings.eval_every / settings.batch_size) if settings.eval_every else n_batches
    return Plan(n_steps, interval, n_batches)


class Trainer:
    """A model and all that changes while it learns.

    Attributes
    ----------
    model, shown
        What learns, and what is evaluated and kept: itself, or the moving average of its weights.
    step, stream
        Steps that are done, and where the stream is behind them; None before the first.
    evaluated
        The step that was evaluated last.
    curve
        A row of figures for each evaluation.
    best_step, best
        The best evaluation, and the weights of then.
    """

    def __init__(self, task: Task, settings: TrainSettings, plan: Plan, device: Device, ranks: Ranks) -> None:
        self.task, self.settings, self.plan, self.device, self.ranks = task, settings, plan, device, ranks
        self.model = task.build().to(device.kind).train()
        self._learner = torch.compile(self.model) if settings.compile else self.model
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._optimiser = make_optimiser(self.model, settings)
        self._scaler = torch.amp.GradScaler(device.kind, enabled=settings.number_format == "fp16")
        self.shown = self.model if settings.ema is None else copy.deepcopy(self.model)
        self.step, self.evaluated, self.best_step = 0, 0, 0
        self.stream: StreamState | None = None
        self.best: dict[str, torch.Tensor] = {}
        self.curve: list[dict[str, float]] = []
        self._sums: dict[str, list[float]] = {}  # since the last evaluation, of each loss: its sum and its weight
        stop = settings.early_stop
        self._choice, self._sign = choice_of(task, settings)
        self._patience = Patience(stop.min_delta if stop else 0.0)
        self._best_of_all, self._flat, self._n_plateaus = Patience(), Patience(), 0

    @property
    def is_done(self) -> bool:
        """Whether the last step is done, or the model has not become better for long enough."""
        stop = self.settings.early_stop
        return self.step >= self.plan.n_steps or (stop is not None and self._patience.n_without >= stop.patience)

    @property
    def is_evaluation_due(self) -> bool:
        """Whether an interval has ended and the model was not evaluated since."""
        return self.plan.is_evaluation(self.step) and self.evaluated < self.step

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.settings.lr * lr_factor(self.settings, self.step, self.plan.n_steps, self._n_plateaus)

    def learn(self, batch: TensorBatch, is_asked_to_stop: bool = False) -> tuple[float, bool]:
        """Take a step, on this rank's share of a batch.

        Returns
        -------
        tuple
            The loss of the whole batch, and whether a rank is asked to stop.

        Raises
        ------
        ExpectedError
            When the loss is no number.
        """
        seed_step(self.settings.seed, self.step, self.ranks.rank)
        set_rate(self._optimiser, self.rate)
        losses = self._gradients(batch)
        extra = torch.tensor(
            [float(is_asked_to_stop), *(x for pair in losses.values() for x in pair)], dtype=torch.double
        )
        asked, *summed = self.ranks.sum_gradients(self._parameters, extra).tolist()
        losses = dict(zip(losses, map(list, zip(summed[::2], summed[1::2], strict=True)), strict=True))
        loss = losses["loss"][0]
        if not math.isfinite(loss):
            raise ExpectedError(
                f"train: the loss is {loss} at step {self.step + 1:,}, expected a number; lower lr, set grad_clip, or "
                "look for values in the arrays that are not finite"
            )
        self._update()
        for name, (total, weight) in losses.items():
            sums = self._sums.setdefault(name, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + total, sums[1] + weight
        self.step += 1
        return loss, asked > 0

    def _gradients(self, batch: TensorBatch) -> dict[str, list[float]]:
        """Leave the gradients of this rank's share of a batch; return of each loss its weighted sum and its weight."""
        self._optimiser.zero_grad(set_to_none=True)
        size, losses = self.settings.micro_batch or self.settings.batch_size, {"loss": [0.0, 0.0]}
        for start in range(0, n_samples(batch), size):
            piece = {name: values[start : start + size] for name, values in batch.items()}
            share = n_samples(piece) / self.settings.batch_size
            with self.device.autocast():
                loss, parts = self.task.loss(self._learner, piece)
            self._scaler.scale(loss * share).backward()
            for name, value in {**parts, "loss": loss.item()}.items():
                is_counted = name == "loss" or math.isfinite(value)
                sums = losses.setdefault(name, [0.0, 0.0])
                sums[0], sums[1] = sums[0] + value * share * is_counted, sums[1] + share * is_counted
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return losses

    def _update(self) -> None:
        self._scaler.unscale_(self._optimiser)
        if self.settings.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.grad_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self.settings.ema is not None:
            average(self.shown, self.model, self.settings.ema)

    def note(self, metrics: Metrics) -> None:
        """Take in what the evaluation of this step says.

        Raises
        ------
        ExpectedError
            When the metric that the best weights are chosen by is missing or no number.
        """
        value = metrics.get(self._choice, math.nan)
        if not math.isfinite(value):
            told = ", ".join(metrics)
            raise ExpectedError(f"train: {self._choice} of val is {value}, expected a number; the metrics are {told}")
        losses = {
            f"train_{name}": total / weight if weight else math.nan for name, (total, weight) in self._sums.items()
        }
        done = {"step": self.step, "samples": self.step * self.settings.batch_size, "lr": self.settings.lr * self._last}
        val_loss = metrics.get(self.task.LOSS, math.nan)
        others = {f"val_{name}": metric for name, metric in metrics.items() if name != self.task.LOSS}
        self.curve.append({**done, "train_loss": losses.pop("train_loss"), "val_loss": val_loss, **losses, **others})
        self._sums, self.evaluated = {}, self.step
        self._patience.see(self._sign * value)
        if self._best_of_all.see(self._sign * value):
            self.best_step = self.step
            self.best = {name: values.detach().clone() for name, values in self.shown.state_dict().items()}
        self._flat.see(val_loss)
        if self._flat.n_without >= self.settings.lr_patience:
            self._flat.n_without, self._n_plateaus = 0, self._n_plateaus + 1

    @property
    def _last(self) -> float:
        """The factor of the learning rate of the step that was done last."""
        return lr_factor(self.settings, self.step - 1, self.plan.n_steps, self._n_plateaus)

    def state(self) -> State:
        """Return all of this as tensors and plain values."""
        return {
            "step": self.step,
            "evaluated": self.evaluated,
            "stream": json.dumps(self.stream),
            "model": dict(self.model.state_dict()),
            "shown": dict(self.shown.state_dict()) if self.settings.ema is not None else None,
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "best_step": self.best_step,
            "best": self.best,
            "curve": self.curve,
            "sums": self._sums,
            "patience": [asdict(one) for one in (self._patience, self._best_of_all, self._flat)],
            "n_plateaus": self._n_plateaus,
        }

    def load(self, state: State) -> None:
        """Go on where a state was taken."""
        self.step, self.evaluated, self.best_step = state["step"], state["evaluated"], state["best_step"]
        self.stream = json.loads(state["stream"])
        self.model.load_state_dict(state["model"])
        if self.settings.ema is not None:
            self.shown.load_state_dict(state["shown"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.best, self.curve, self._sums = state["best"], state["curve"], state["sums"]
        self._patience, self._best_of_all, self._flat = (Patience(**one) for one in state["patience"])
        self._n_plateaus = state["n_plateaus"]


def choice_of(task: Task, settings: TrainSettings) -> tuple[str, int]:
    """Return the metric that the best weights are chosen by, and 1 where lower is better, -1 where higher is.

    Raises
    ------
    ExpectedError
        When `early_stop` names a metric that the task has not said of which end is good.
    """
    signs = {task.LOSS: 1} | {one.name: -1 if one.is_higher_better else 1 for one in task.HEADLINES}
    name = (settings.early_stop and settings.early_stop.metric) or task.LOSS
    if name not in signs:
        raise ExpectedError(f"train: early_stop.metric is {name!r}, expected one of {', '.join(signs)}; correct it")
    return name, signs[name]


def average(shown: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of a model, and take its other tensors (counts) as they are."""
    for old, new in zip(shown.state_dict().values(), model.state_dict().values(), strict=True):  # without gradients
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


class Watcher(Protocol):
    """What is told how a training goes."""

    def step(self, loss: float) -> None:
        """Take note of a step with its loss."""

    def evaluation(self) -> None:
        """Take note of the newest row of the curve."""

    def save(self, must: bool) -> None:
        """Keep a checkpoint if it is time, or at once if it must be."""


def fit(trainer: Trainer, feed: Feed, watcher: Watcher) -> None:
    """Train to the end.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        When the process is told to stop; what was done is kept.
    """
    is_alone = trainer.ranks.n_ranks == 1  # several agree on when to stop, at the end of a step
    with HeldBack() as stop, feed.train(trainer.plan.n_epochs, trainer.stream) as batches:
        while not trainer.is_done or trainer.is_evaluation_due:
            is_evaluation, is_asked = trainer.is_evaluation_due, False
            if is_evaluation:
                is_asked = _evaluate(trainer, feed, watcher, stop if is_alone else None)
            else:
                batch, stream = next(batches)
                loss, is_asked = trainer.learn(batch, stop.is_asked)
                trainer.stream = stream
                watcher.step(loss)
            watcher.save(is_evaluation or is_asked)
            if is_asked:
                stop.obey()


def _evaluate(trainer: Trainer, feed: Feed, watcher: Watcher, stop: HeldBack | None) -> bool:
    """Let a trainer note its metrics on val; say whether it was told to stop, and then it has noted nothing."""
    batches = feed.part(PARTS[1], feed.settings.val_samples)
    heard = takewhile(lambda _: stop is None or not stop.is_asked, batches)
    meter = evaluate(trainer.task, trainer.shown, heard, trainer.device, trainer.ranks)
    if stop is not None and stop.is_asked:
        return True
    trainer.note(meter.result())
    watcher.evaluation()
    return False
