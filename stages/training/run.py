"""One training, from its recipe to what it leaves.

In: data/processed/<dataset>, the section ``train.<dataset>`` of params.yaml, the dataset's task. Out:

- data/models/<dataset>/: see stages/training/weights.py;
- data/train/<dataset>/metrics.json: for val and test the metrics of the ``model``, whose weights are the best ones, and
  of each baseline and other player by its name; ``best_step``, ``steps`` and ``samples``. A metric that nothing was
  counted for is null;
- data/curves/<dataset>/curve.csv: a row for each evaluation: step, samples, lr, train_loss (the mean since the row
  before), val_loss, the parts of the loss and the other metrics of val;
- data/train/<dataset>/figures.json: what the page of `make report` draws of test, see stages/training/figures.py.

Times and memory go to data/logs/train.jsonl only.
"""

# mypy: disable-error-code="import-not-found, misc"

import csv
import io
import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.files import json_text, write_text
from stages.core.part_files import PARTS
from stages.processed import Processed
from stages.runtime.display import Display
from stages.runtime.memory_log import MemoryLog
from stages.training import checkpoint
from stages.training.device import Device, prepare
from stages.training.evaluate import evaluate
from stages.training.feed import Feed
from stages.training.figures import ModelFigure, figures_text
from stages.training.identity import Identity, code_digests, data_digest, digest_of_files, versions
from stages.training.loop import Trainer, fit, make_plan
from stages.training.progress import TrainProgress
from stages.training.ranks import Ranks, joined
from stages.training.settings import Recipe, read_recipe
from stages.training.task import Metrics, Task
from stages.training.weights import WEIGHTS, load_weights, write_model

CHECKPOINT_S = 20.0  # one takes about 20 ms of CPU for a million parameters

logger = logging.getLogger("batchwise")


@dataclass(frozen=True)
class Job:
    """What is trained, and on what."""

    dataset: str
    task: Task
    recipe: Recipe
    folder: Path
    identity: Identity

    @property
    def checkpoints(self) -> Path:
        """Folder with the checkpoints of this training."""
        return checkpoint.folder_of(self.dataset, self.identity)


def make_job(dataset: str, entry: Mapping[str, Any], task_class: type[Task]) -> Job:
    """Check what is asked for, and say what decides its weights.

    Raises
    ------
    ExpectedError
        When a parameter is wrong, or there are no arrays or none with rows.
    """
    recipe, folder = read_recipe(dataset, entry, task_class.DEFAULTS), paths.processed_dir(dataset)
    folders = sorted({str(folder), *(one.folder for one in recipe.settings.sources)})
    data = {name: data_digest(Path(name)) for name in folders}
    _require_rows(folder)
    if recipe.settings.init_from is not None:
        data["init_from"] = digest_of_files([_weights_file(Path(recipe.settings.init_from))])
    package = Path(str(sys.modules[task_class.__module__].__file__)).parents[1]
    identity = Identity(recipe.described(), data, code_digests(package), versions())
    return Job(dataset, task_class(recipe.of_task, folder), recipe, folder, identity)


def _require_rows(folder: Path) -> None:
    """Refuse arrays without rows in a part: val chooses the weights, and both val and test measure them."""
    empty = [part for part, n_rows in Processed(folder).stats()["rows"].items() if not n_rows]
    if empty:
        raise ExpectedError(
            f"{folder}: no rows in {' and '.join(empty)}, expected some in each part to train and measure a model; "
            "add data, or change split in params.yaml"
        )


def _weights_file(path: Path) -> Path:
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise ExpectedError(f"{path}: not found, expected weights to begin with; correct init_from")
    return path


def run(job: Job, tell_kept: Callable[[str], None]) -> None:
    """Train, go on where a checkpoint of the very same training is, and write what it leaves.

    Parameters
    ----------
    job
        What is to be done.
    tell_kept
        Told what is not lost, should the training stop now.

    Raises
    ------
    ExpectedError
        When the loss is no number, memory does not suffice, or an array is damaged.
    """
    device = prepare(job.recipe.settings)
    with joined(device.kind) as ranks, _memory_named(job.dataset):
        name = job.dataset if ranks.is_first else f"{job.dataset}-rank{ranks.rank}"
        if not ranks.is_first:
            logger.setLevel(logging.WARNING)
        with MemoryLog("train", name) as log:
            log.record("start")
            feed = Feed(job.folder, job.task, job.recipe.settings, device, ranks)
            trainer = _begun(job, feed, device, ranks)
            _trained(job, trainer, feed, log, tell_kept)
            metrics, figures = _measured(job, trainer, feed)
            if ranks.is_first:
                _write(job, trainer, metrics)
                write_text(paths.train_figures(job.dataset), figures_text(figures))
            samples = trainer.step * job.recipe.settings.batch_size
            log.record("end", n_steps=trainer.step, n_samples=samples)


@contextmanager
def _memory_named(dataset: str) -> Iterator[None]:
    """Name the knob where a device has too little memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        first = str(error).partition("\n")[0]
        raise ExpectedError(f"train {dataset}: {first}; lower train.{dataset}.micro_batch in params.yaml") from None


def _begun(job: Job, feed: Feed, device: Device, ranks: Ranks) -> Trainer:
    """Return a trainer with its first weights, or where the newest checkpoint is."""
    settings = job.recipe.settings
    trainer = Trainer(job.task, settings, make_plan(settings, feed.n_batches), device, ranks)
    if settings.init_from is not None:
        load_weights(trainer.model, Path(settings.init_from))
        trainer.shown.load_state_dict(trainer.model.state_dict())
    if ranks.is_first:
        checkpoint.tell_others(job.dataset, job.identity)
    state = checkpoint.newest(job.checkpoints)
    if state is not None:
        trainer.load(state)
        logger.info("train %s: goes on behind step %s, from %s", job.dataset, f"{trainer.step:,}", job.checkpoints)
    return trainer


def _trained(job: Job, trainer: Trainer, feed: Feed, log: MemoryLog, tell_kept: Callable[[str], None]) -> None:
    """Train to the end, with progress and checkpoints."""
    settings, plan = job.recipe.settings, trainer.plan
    n_samples, n_used = len(feed.source), plan.n_batches * settings.batch_size
    if n_used < n_samples:
        left_out = f"{n_samples - n_used:,} of {n_samples:,} samples"
        logger.info("train %s: %s are left out of each epoch, others in each", job.dataset, left_out)
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    title = f"Training {job.dataset} ({n_parameters:,} parameters, {plan.n_steps:,} steps of {settings.batch_size:,})"
    with Display(TrainProgress(title, trainer.step, plan.n_steps, settings.batch_size), log.watch) as progress:
        fit(trainer, feed, Keeper(job, trainer, progress, log, tell_kept))


class Keeper:
    """Shows how a training goes, and keeps its checkpoints; the first rank writes them for all."""

    def __init__(
        self, job: Job, trainer: Trainer, progress: TrainProgress, log: MemoryLog, tell_kept: Callable[[str], None]
    ) -> None:
        self._job, self._trainer, self._progress, self._log, self._tell_kept = job, trainer, progress, log, tell_kept
        self._saved_at = time.monotonic()

    def step(self, loss: float) -> None:
        """Show a step."""
        self._progress.advance(self._trainer.step, loss)

    def evaluation(self) -> None:
        """Show and log an evaluation."""
        row = self._trainer.curve[-1]
        self._progress.evaluated = f", val {row['val_loss']:.4f} at step {row['step']:,}"
        self._log.note("evaluation", **row)

    def save(self, must: bool) -> None:
        """Keep a checkpoint if the last one is `CHECKPOINT_S` old, or at once if it must be."""
        is_due = must or time.monotonic() > self._saved_at + CHECKPOINT_S
        if not is_due or not self._trainer.ranks.is_first:
            return
        step, folder = self._trainer.step, self._job.checkpoints
        checkpoint.save(folder, self._job.identity, step, self._trainer.state())
        self._saved_at = time.monotonic()
        self._tell_kept(f"the checkpoint of step {step:,} is kept in {folder}")


def _measured(job: Job, trainer: Trainer, feed: Feed) -> tuple[dict[str, dict[str, Metrics]], Sequence[ModelFigure]]:
    """Return for val and test the metrics of the best weights and, for the first rank, those of each baseline.

    And what is to be seen of test.
    """
    trainer.shown.load_state_dict(trainer.best)
    metrics = {}
    for part in PARTS[1:]:
        meter = evaluate(job.task, trainer.shown, feed.part(part), trainer.device, trainer.ranks)
        metrics[part] = {"model": meter.result()}
        if trainer.ranks.is_first:
            _add(metrics[part], job.task.baselines(job.folder, part))
            _add(metrics[part], job.task.replay(trainer.shown, job.folder, part))
    return metrics, meter.figures()


def _add(metrics: dict[str, Metrics], others: Mapping[str, Metrics]) -> None:
    """Add metrics of the model and of others, by name, to what is known of them."""
    for name, found in others.items():
        metrics[name] = metrics.get(name, {}) | found


def _write(job: Job, trainer: Trainer, metrics: Mapping[str, Mapping[str, Metrics]]) -> None:
    """Write the model, the metrics and the curve."""
    settings = job.recipe.settings
    done = {"best_step": trainer.best_step, "steps": trainer.step, "samples": trainer.step * settings.batch_size}
    write_text(paths.train_metrics(job.dataset), json_text(plain({**metrics, **done})))
    write_text(paths.curve(job.dataset), _table(trainer.curve))
    write_model(paths.model_dir(job.dataset), trainer.best, plain(_about(job, trainer)))


def _about(job: Job, trainer: Trainer) -> dict[str, Any]:
    """Return what model.json says."""
    settings, step = job.recipe.settings, trainer.best_step
    return {
        "dataset": job.dataset,
        "step": step,
        "samples": step * settings.batch_size,
        "epoch": step / trainer.plan.n_batches,
        "n_steps": trainer.step,
        "n_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "headlines": [asdict(one) for one in job.task.HEADLINES],
        "params": job.recipe.described(),
        "identity": job.identity.name,
        "data": job.identity.data,
        "code": job.identity.code,
        "versions": job.identity.versions,
        "threads": settings.threads,
        "cpu": _cpu(),
    }


def _cpu() -> str:
    """Return what the processor is called."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def plain(content: Any) -> Any:
    """Return a value with None for every number in it that JSON does not have."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _table(rows: list[dict[str, float]]) -> str:
    """Return rows as CSV, with every column that one of them has."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list({name: None for row in rows for name in row}), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if math.isnan(value) else value for name, value in row.items()} for row in rows)
    return text.getvalue()
