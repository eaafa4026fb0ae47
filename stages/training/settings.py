"""What `train.<dataset>` of params.yaml says to the trainer: its keys, their defaults and their rules.

The keys of an entry are of two kinds: those of `TrainSettings`, the same for every dataset, and those that the
dataset's task names in its ``DEFAULTS``, such as ``model``. There a task may also give a default of its own for a key
of the trainer's. A key of neither is an error that names the nearest one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

from stages.core import paths
from stages.core.sections import AtLeast, Between, Fault, Must, ParamsError, build, nearest

Count = Annotated[int, AtLeast(1)]
Positive = Annotated[float, Must(lambda value: 0 < value < math.inf, "a number above 0")]
NotNegative = Annotated[float, Must(lambda value: 0 <= value < math.inf, "a number from 0")]
Part = Annotated[float, Between(0, 1)]
Schedule = Literal["constant", "cosine", "onecycle", "step", "plateau"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class EarlyStop:
    """Stop when `metric` of val was no better than its best by more than `min_delta` for `patience` evaluations.

    The metric is the task's loss or one of its headlines; None is the loss. The best weights are chosen by it as well.
    """

    patience: Count
    metric: str | None = None
    min_delta: NotNegative = 0.0


@dataclass(frozen=True)
class DataSource:
    """A folder of processed arrays to train on, as `Share` of the loader has it.

    `weight` is relative to the others' (all have one or none has); `rows` are two fractions or two whole numbers.
    """

    folder: str
    weight: Positive | None = None
    rows: Annotated[list[Any], Must(lambda rows: len(rows) == 2, "two numbers such as [0.5, 1.0]")] | None = None


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained; each of it may change the weights.

    Attributes
    ----------
    batch_size, micro_batch
        Samples of an optimiser's step, which all ranks share, and most of them that go through the model at once in a
        process; None is all of its share.
    epochs, samples
        How long to train: passes over the train part, or samples, one of the two. The samples behind the last whole
        batch of an epoch, others in each, are left out of it.
    eval_every, val_samples
        Samples between two evaluations, None for an epoch; and how many samples of val each looks at, drawn once with
        `seed`, None for all. At the end val and test are looked at as a whole.
    optimiser, lr, weight_decay
        AdamW; weight decay is not for vectors, such as biases and the weights of norms.
    schedule, warmup
        How lr goes over the run, see stages/training/schedule.py; `warmup` is the share of the steps in which it rises.
    lr_end, lr_steps, lr_factor, lr_patience
        Of the schedules: share of lr at the end (cosine); shares of the run at which lr is multiplied by `lr_factor`
        (step); evaluations without a better loss after which it is (plateau).
    heads, head_lr_factor, head_wd_factor
        Submodules of the model, and what lr and weight decay of their parameters are multiplied by.
    grad_clip
        Most norm of all gradients; None does not clip.
    ema
        Decay a step of the moving average of the weights, which then is what is evaluated and kept; None: no average.
    early_stop
        See `EarlyStop`; None trains to the end.
    seed
        Of the first weights, the order of the samples, and all that is drawn in a step.
    threads, device, precision, compile
        Threads of torch on the CPU; ``cpu`` or ``cuda``; the numbers of the forward pass, None for fp32 on a CPU and
        bf16 on a GPU; whether torch compiles the model.
    init_from
        Weights to begin with: data/models/<dataset>, or a weights.npz of the same model.
    sources
        Folders to train on; none is data/processed/<dataset>. val and test are always that folder's.
    """

    batch_size: Count = 256
    micro_batch: Count | None = None
    epochs: Count | None = 10
    samples: Count | None = None
    eval_every: Count | None = None
    val_samples: Count | None = None
    optimiser: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1e-2
    schedule: Schedule = "cosine"
    warmup: Annotated[float, Between(0, 1)] = 0.05
    lr_end: Part = 0.0
    lr_steps: list[Part] = field(default_factory=lambda: [0.5, 0.75])
    lr_factor: Annotated[float, Between(0, 1, is_open=True)] = 0.1
    lr_patience: Count = 3
    heads: list[str] = field(default_factory=list)
    head_lr_factor: NotNegative = 1.0
    head_wd_factor: NotNegative = 1.0
    grad_clip: Positive | None = None
    ema: Annotated[float, Between(0, 1, is_open=True)] | None = None
    early_stop: EarlyStop | None = None
    seed: Annotated[int, AtLeast(0)] = 42
    threads: Count = 1
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision | None = None
    compile: bool = False
    init_from: str | None = None
    sources: list[DataSource] = field(default_factory=list)

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the settings together."""
        if (self.epochs is None) == (self.samples is None):
            found = "neither epochs nor samples" if self.epochs is None else "both epochs and samples"
            yield Fault("", f"{found}, expected one of them; correct it")
        if (self.head_lr_factor, self.head_wd_factor) != (1.0, 1.0) and not self.heads:
            yield Fault("heads", "none, expected submodules of the model with a head_lr_factor or head_wd_factor")
        if self.precision == "fp16" and self.device == "cpu":
            yield Fault("precision", "fp16 on a CPU, expected fp32 or bf16 there; change it or device")

    @property
    def number_format(self) -> Precision:
        """The numbers of the forward pass."""
        return self.precision or ("bf16" if self.device == "cuda" else "fp32")


@dataclass(frozen=True)
class Recipe:
    """An entry of `train` with all defaults filled in: the trainer's settings, and what the task is given."""

    settings: TrainSettings
    of_task: Mapping[str, Any]

    def described(self) -> dict[str, Any]:
        """Return all of it as plain JSON."""
        return {**self.of_task, **asdict(self.settings)}


def read_recipe(dataset: str, entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> Recipe:
    """Check an entry of `train`.

    Parameters
    ----------
    dataset
        Whose it is.
    entry
        The section ``train.<dataset>`` of params.yaml.
    defaults
        `Task.DEFAULTS`. A section in it, such as ``model``, is filled up key by key.

    Raises
    ------
    ParamsError
        With all that is wrong with the trainer's keys, or with the first key that nobody knows.
    """
    where = f"{paths.PARAMS_FILE}: train.{dataset}"
    known = [one.name for one in fields(TrainSettings)]
    for key in entry:
        if key not in known and key not in defaults:
            told = ", ".join([*(own for own in defaults if own not in known), *known])
            raise ParamsError(f"{where}: unknown key {key!r}, expected {told}{nearest(key, [*known, *defaults])}")
    base = dict(defaults)
    if entry.get("samples") is not None and entry.get("epochs") is None:
        base["epochs"] = None
    elif entry.get("epochs") is not None and "samples" in base:
        base["samples"] = None
    filled = {**base, **{key: _filled(base.get(key), value) for key, value in entry.items()}}
    if filled.get("samples") is not None:
        filled.setdefault("epochs", None)
    settings = build(TrainSettings, {key: filled[key] for key in filled if key in known}, where)
    return Recipe(settings, {key: filled[key] for key in defaults})


def params_of_task(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task is given of all parameters of a training, as `Recipe.described` has them.

    How it was trained does not matter to who uses the model, so the trainer's rules are not asked.
    """
    return {key: _filled(default, params.get(key, default)) for key, default in defaults.items()}


def _filled(default: object, value: Any) -> Any:
    """Return a value; a section with the keys of its default that it leaves out."""
    return {**default, **value} if isinstance(default, Mapping) and isinstance(value, Mapping) else value
