"""What is demanded of training, each as a section that gives its lines; `train.py` prints them."""

import math
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import loader_paths
import numpy as np
import torch
from train_places import ROOT, Place, place, sample_place, seconds

from stages.datasets.hex.simulate.evaluate import DistanceEvaluator
from stages.datasets.hex.training.arena import RANDOM_PLAYER, ArenaPlayer, arena
from stages.datasets.hex.training.network import load
from stages.loader import batches
from stages.loader.torch_adapter.batches import tensors
from stages.training import checkpoint
from stages.training.device import Device
from stages.training.feed import Feed
from stages.training.identity import Identity
from stages.training.loop import Trainer, fit, make_plan
from stages.training.optimiser import make_optimiser
from stages.training.ranks import Ranks
from stages.training.settings import Recipe, read_recipe
from stages.training.task import Task
from stages.training.tasks import task_class
from stages.training.weights import WEIGHTS
from tests.helpers.sweeps import Sweeps, make_sweeps

REFERENCE = ROOT.parent / "shared/reference"
CPU_LIMITS_S = {"splendor": 30, "hex": 120}
ROUNDS = 3


@dataclass(frozen=True)
class Line:
    """A check; `is_met` is None for what is only told."""

    check: str
    required: str
    measured: str
    is_met: bool | None


def at_least(check: str, found: float, bound: float) -> Line:
    """Return the line of a figure that is to reach a bound."""
    return Line(check, f">= {bound:.3f}", f"{found:.3f}", found >= bound)


def at_most(check: str, found: float, bound: float) -> Line:
    """Return the line of a figure that is not to pass a bound."""
    return Line(check, f"<= {bound:.3f}", f"{found:.3f}", found <= bound)


def told(check: str, text: str) -> Line:
    """Return a line without demand."""
    return Line(check, "-", text, None)


def missing(check: str, path: Path) -> Line:
    """Return the line of a check whose data are not at hand."""
    return told(check, f"not measured: no {path.name} beside the repository")


def samples() -> Iterator[Line]:
    """The models of the samples beside their baselines, on test."""
    for dataset in ("splendor", "hex", "market", "rugs"):
        with sample_place(dataset) as here:
            cpu_s = here.verb("train").cpu_s
            yield from headlines(here)
            if dataset in CPU_LIMITS_S:
                yield at_most(f"{dataset}: CPU s of the training", cpu_s, CPU_LIMITS_S[dataset])
            if dataset == "hex":
                yield from games("hex", here, 25)


def headlines(here: Place) -> Iterator[Line]:
    """The thresholds of the task, and what is said of the dataset alone."""
    dataset, metrics = here.dataset, here.metrics()
    model = metrics["model"]
    for headline in task_class(dataset).HEADLINES:
        if headline.threshold is not None:
            bound = at_least if headline.is_higher_better else at_most
            yield bound(f"{dataset}: {headline.name}", model[headline.name], headline.threshold)
    if dataset == "market":
        yield from against_har("market", metrics, 0.03)
        yield from controls(here)
    if dataset == "rugs":
        baseline = metrics["legal marginal"]["nll"]
        yield told("rugs: nll of 24 games teaches nothing", f"{model['nll']:.3f}, legal marginal {baseline:.3f}")


def against_har(name: str, metrics: Mapping[str, Mapping[str, float]], gain: float) -> Iterator[Line]:
    """The volatility, to be told better than by the volatility of the past."""
    yield at_least(
        f"{name}: volatility_r2, HAR + {gain}",
        metrics["model"]["volatility_r2"],
        metrics["har"]["volatility_r2"] + gain,
    )


def controls(here: Place) -> Iterator[Line]:
    """What cannot be learnt, since the sample's returns are a random walk."""
    model = here.metrics()["model"]
    for control in task_class("market").CONTROLS:
        yield at_most(f"market: {control.name}, a random walk", model[control.name], control.threshold)
    low, high = model["direction_low"], model["direction_high"]
    yield Line("market: direction's interval", "holds 0.5", f"{low:.3f} to {high:.3f}", low <= 0.5 <= high)


def games(name: str, here: Place, least: int) -> Iterator[Line]:
    """Games of the network without search."""
    net = ArenaPlayer(load(here.model / WEIGHTS))
    for rival, player, bound in (("random", RANDOM_PLAYER, 70), ("distance", ArenaPlayer(DistanceEvaluator()), least)):
        score = arena(net, player)
        text = f"{score.won} of {score.distinct} distinct"
        yield Line(f"{name}: games won of {rival}", f">= {bound}", text, score.won >= bound)


def speed() -> Iterator[Line]:
    """The trainer against a bare loop over arrays in memory, in turns."""
    for dataset, n_steps, bound in (("splendor", 150, 0.80), ("hex", 40, 0.90)):
        with sample_place(dataset) as here:
            rounds = [(trainer_s(here, n_steps), bare_s(here, n_steps)) for _ in range(ROUNDS)]
        ratio = statistics.median(bare / ours for ours, bare in rounds)
        yield at_least(f"{dataset}: samples a CPU s, trainer / bare loop", ratio, bound)


def _task(here: Place, **changes: Any) -> tuple[Task, Recipe]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task_of = task_class(here.dataset)
    recipe = read_recipe(here.dataset, changes, task_of.DEFAULTS)
    return task_of(recipe.of_task, here.processed), recipe


class Silent:
    """Watches a training and does nothing."""

    def step(self, loss: float) -> None:
        """Take note of a step."""

    def evaluation(self) -> None:
        """Take note of an evaluation."""

    def save(self, must: bool) -> None:
        """Keep no checkpoint."""


def _trainer(here: Place, n_steps: int) -> tuple[Trainer, Feed]:
    task, recipe = _task(here)
    settings = replace(recipe.settings, epochs=None, samples=n_steps * recipe.settings.batch_size, val_samples=1)
    feed = Feed(here.processed, task, settings, Device(), Ranks())
    return Trainer(task, settings, make_plan(settings, feed.n_batches), Device(), Ranks()), feed


def trainer_s(here: Place, n_steps: int) -> float:
    """Return CPU seconds of some steps of the trainer, arrays compared with their checksums before."""
    trainer, feed = _trainer(here, n_steps)
    trainer.learn(next(iter(_first(feed))))
    trainer, feed = _trainer(here, n_steps)
    assert len(feed.source)
    start = time.process_time()
    fit(trainer, feed, Silent())
    return time.process_time() - start


def _first(feed: Feed) -> Iterator[Any]:
    with feed.train(1, None) as given:
        yield next(given)[0]


def bare_s(here: Place, n_steps: int) -> float:
    """Return CPU seconds of as many steps of the plainest loop: rows of arrays in memory, loss, clip, AdamW."""
    task, recipe = _task(here)
    settings, transform = recipe.settings, task.stream_settings("train").get("transform")
    with batches(
        here.processed, "train", batch_size=1_000_000, fields=task.stream_settings("train")["fields"]
    ) as stream:
        arrays = next(stream)
    model = task.build().train()
    optimiser, rng = make_optimiser(model, settings), np.random.default_rng(0)
    order = rng.permutation(len(next(iter(arrays.values()))))
    start = time.process_time()
    for step in range(n_steps):
        first = step * settings.batch_size % (len(order) - settings.batch_size)
        rows = np.sort(order[first : first + settings.batch_size])
        batch = {name: values[rows] for name, values in arrays.items()}
        if transform is not None:
            batch = transform(batch, rng.integers(0, 2**63, len(rows)).astype(np.uint64))
        loss, _ = task.loss(model, tensors(batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip or math.inf)
        optimiser.step()
    return time.process_time() - start


def feed() -> Iterator[Line]:
    """What a sample costs from the files to tensors; loader_paths.py measures the other ways."""
    for name in ("splendor", "hex", "rugs"):
        case = loader_paths.CASES[name]
        with TemporaryDirectory(prefix=".loader.", suffix=".tmp", dir=ROOT / "data") as parent:
            make = loader_paths.loader_of(case, case.write(Path(parent) / name, case.n_rows), 0)
            used = min(loader_paths.per_sample_us(make, case.n_batches) for _ in range(ROUNDS))
        yield at_most(f"{name}: us CPU a sample, loader and tensors", used, case.goal_us)


def kept() -> Iterator[Line]:
    """What a checkpoint costs, and a training that was killed twice."""
    with sample_place("splendor") as here:
        trainer, feed = _trainer(here, 4)
        fit(trainer, feed, Silent())
        spent = []
        with TemporaryDirectory() as folder:
            for step in range(11):
                start = time.process_time()
                checkpoint.save(Path(folder), Identity({}, {}, {}, {}), step, trainer.state())
                spent.append(1000 * (time.process_time() - start))
        yield at_most("splendor: CPU ms of a checkpoint of 841,000 parameters", statistics.median(spent), 50)
    with sample_place("splendor") as whole, sample_place("splendor") as cut:
        wall_s, rng = whole.verb("train").wall_s, random.Random(7)
        n_kills = sum(cut.train_killed(wall_s * rng.uniform(0.4, 0.7)) for _ in range(2))
        cut.verb("train")
        names = ("weights.npz", "model.json")
        is_same = all((whole.model / name).read_bytes() == (cut.model / name).read_bytes() for name in names)
        text = f"{n_kills} kills, {'equal' if is_same else 'other'} bytes"
        yield Line("splendor: killed twice and gone on", "equal bytes", text, is_same and n_kills == 2)


def nothing() -> Iterator[Line]:
    """`dvc repro` of the training pipeline when there is nothing to do."""
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", "stages/training/dvc.yaml"]
    seconds(command, ROOT)
    yield at_most("s of a training pipeline with nothing to do", seconds(command, ROOT), 3)


def queued() -> Iterator[Line]:
    """A sweep of short trainings beside the training alone, in a clone with 40 games of Splendor."""
    rates = [0.01, 0.02, 0.03, 0.04]
    with TemporaryDirectory() as name:
        folder = Path(name)
        sweeps = Sweeps(make_sweeps(folder), folder / "second", {"lr": rates})
        sweep_s = seconds([sys.executable, "-m", "stages.commands.sweep", "splendor"], sweeps.folder)
        training_s = seconds([sys.executable, "-m", "stages.train", "splendor"], sweeps.folder)
        n_experiments = len(sweeps.experiments())
    if n_experiments != len(rates):
        raise RuntimeError(f"{n_experiments} experiments ended well, expected {len(rates)}")
    yield at_most("s of a queued experiment beyond its training", sweep_s / n_experiments - training_s, 10)


def large_hex() -> Iterator[Line]:
    """3,000 games of hex, as the sample's are played."""
    params = _params()
    with place(
        "hex", params["datasets"]["hex"], simulate={**params["simulate"]["hex"], "games": 3000}, train={}
    ) as here:
        here.make_arrays()
        here.verb("train")
        metrics, name = here.metrics(), "hex, 3,000 games"
        yield at_least(f"{name}: top1", metrics["model"]["top1"], 0.62)
        yield at_least(f"{name}: value_accuracy", metrics["model"]["value_accuracy"], 0.71)
        distance = metrics["distance"]
        yield told(f"{name}: distance", f"top1 {distance['top1']:.3f}, value {distance['value_accuracy']:.3f}")
        yield from games(name, here, 45)


def large_rugs() -> Iterator[Line]:
    """400 games of 60 sessions."""
    params = _params()
    simulate = {**params["simulate"]["rugs"], "games": 400, "sessions": 60}
    entry = {**params["datasets"]["rugs"], "batch_size": 50}
    with place("rugs", entry, simulate=simulate, train={}) as here:
        here.make_arrays()
        here.verb("train")
        metrics, name = here.metrics(), "rugs, 400 games"
        model, marginal = metrics["model"], metrics["legal marginal"]
        yield at_most(f"{name}: nll / that of legal marginal", model["nll"] / marginal["nll"], 0.95)
        yield at_least(f"{name}: balanced_accuracy_adjusted", model["balanced_accuracy_adjusted"], 0.45)
        yield at_least(f"{name}: PR-AUC of a press / base rate", model["press_lift"], 2)


def references() -> Iterator[Line]:
    """Real games and bars, where they are beside the repository."""
    raw = REFERENCE / "splendor/games"
    if raw.is_dir():
        yield from reference_games(raw)
    else:
        yield missing("splendor, 60 games", raw)
    bars = REFERENCE / "market/nq30_first_12000.csv"
    if bars.is_file():
        yield from reference_bars(bars)
    else:
        yield missing("market, NQ", bars)


def reference_games(raw: Path) -> Iterator[Line]:
    """60 games: 45 to learn from, a fifth to be measured on."""
    split = {"train": 0.75, "val": 0.05, "test": 0.2}
    train = {"model": {"dropout": 0.5}, "batch_size": 128, "epochs": 12}
    with place("splendor", {"raw": str(raw), "split": split}, train=train) as here:
        here.make_arrays()
        here.verb("train")
        metrics, name = here.metrics(), "splendor, 60 games"
        model, legal = metrics["model"], metrics["legal majority"]
        yield at_least(f"{name}: card_selection", model["card_selection_accuracy"], 0.60)
        bound = legal["action_type_accuracy"] - 0.01
        yield at_least(f"{name}: action_type, legal majority - 0.01", model["action_type_accuracy"], bound)


def reference_bars(path: Path) -> Iterator[Line]:
    """12,000 half-hours of the Nasdaq future; val is told as well, which has few windows."""
    entry = _params()["datasets"]["market"]
    with place("market", {**entry, "raw": "data/raw"}, train={}) as here:
        raw = here.folder / "data/raw"
        raw.mkdir(parents=True)
        (raw / "NQ.csv").write_bytes(path.read_bytes())
        here.make_arrays()
        here.verb("train")
        yield from against_har("market, NQ", here.metrics(), 0.0)
        val = here.metrics("val")
        figures = f"{val['model']['volatility_r2']:.3f}, HAR {val['har']['volatility_r2']:.3f}"
        yield told(f"market, NQ: volatility_r2 on val, {val['model']['windows']:.0f} windows", figures)


def _params() -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return content


SECTIONS = {
    "samples": samples,
    "speed": speed,
    "feed": feed,
    "kept": kept,
    "nothing": nothing,
    "queued": queued,
    "references": references,
    "rugs": large_rugs,
    "hex": large_hex,
}
