"""What the tests of training share: small processed arrays of each dataset, and the smallest loop that trains."""

import importlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.helpers.samples import write_alone
from tests.helpers.verbs import FROM_RAW

HEX = {"games": 60, "workers": 4, "seed": 1, "started": "2025-01-01T00:00:00", "widths": [2], "temperature": 0.5}


@dataclass(frozen=True)
class LearningSample:
    """Raw data that are made in a moment: settings of the simulator, and the entry in params.yaml."""

    simulate: dict[str, Any]
    entry: dict[str, Any] = field(default_factory=dict)


BARS = {"bars": 9000, "start": "2024-01-02"}
RUGS = {"games": 24, "sessions": 3, "seed": 19, "start": "2025-12-27T23:56:00"}
OF_MARKET = {
    "by": "time",
    "horizon": 1,
    "embargo": 12,
    "windows": {"strategic": {"window": 48, "step": 1, "ahead": 4}, "tactical": {"window": 60, "step": 1, "ahead": 6}},
}
OF_RUGS = {"by": "time", "windows": {"observation": {"window": 2, "step": 1}}}
SAMPLES = {
    "splendor": LearningSample({"games": 40, "seed": 7}, {"batch_size": 16}),
    "hex": LearningSample(HEX, {"options": {"games_per_unit": 10}, "split": {"shuffle": True}}),
    "market": LearningSample(
        {"seed": 42, "instruments": {"NQ": BARS, "ES": BARS}}, {"options": {"volume_bars": 200}, "split": OF_MARKET}
    ),
    "rugs": LearningSample(RUGS, {"batch_size": 50, "split": OF_RUGS}),
    "rugs_400_games": LearningSample({**RUGS, "games": 400, "sessions": 60}, {"batch_size": 50, "split": OF_RUGS}),
}


def make_arrays(dataset, folder, run, sample):
    """Simulate a sample, and run all verbs; data/processed/<dataset> lies in `folder` then."""
    simulator = importlib.import_module(f"stages.datasets.{dataset}.simulate")
    write_alone(simulator, folder / "raw", sample.simulate)
    params = {"datasets": {dataset: {"raw": "raw", **sample.entry}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for verb in FROM_RAW:
        finished = run(verb, dataset, cwd=folder, JOBS="1")
        assert finished.returncode == 0, finished.stderr
    shutil.rmtree(folder / "data/intermediate")


def processed(folder: Path, dataset: str) -> Path:
    """Return where the arrays of `make_arrays` lie."""
    return folder / "data/processed" / dataset


def task_of(dataset, folder, **params):
    """Return a dataset's task with its defaults, some of them changed; a section is changed key by key."""
    task = importlib.import_module(f"stages.datasets.{dataset}.training.task").TASK
    changed = {
        key: {**task.DEFAULTS[key], **value} if isinstance(value, dict) else value for key, value in params.items()
    }
    return task({**json.loads(json.dumps(task.DEFAULTS)), **changed}, folder)


def first_batch(task, folder, part, n, **settings):
    """Return `n` samples of a part as tensors, drawn with a seed and with different features each, or fewer."""
    from stages.loader import batches
    from stages.loader.torch_adapter.batches import tensors

    with batches(folder, part, batch_size=8 * n, shuffle_seed=0, **task.stream_settings(part), **settings) as stream:
        batch = next(stream)
    features = [name for name in batch if name in ("X", "board", "player_to_move", "x")]
    rows = np.concatenate([batch[name].reshape(len(batch[name]), -1) for name in features], axis=1)
    _, first = np.unique(rows, axis=0, return_index=True)
    return tensors({name: values[np.sort(first)[:n]] for name, values in batch.items()})


def epochs_of(task, folder, n_epochs, batch_size=256):
    """Yield the batches of some epochs of train as tensors."""
    from stages.loader import batches
    from stages.loader.torch_adapter.batches import tensors

    settings = {"batch_size": batch_size, "shuffle_seed": 42, "epochs": n_epochs, "remainder": "drop"}
    with batches(folder, "train", **settings, **task.stream_settings("train")) as stream:
        yield from map(tensors, stream)


def measured(task, model, folder, part, batch_size=1024):
    """Return the meter of a model, which is in evaluation mode from then on, that has seen a part."""
    import torch

    from stages.loader import batches
    from stages.loader.torch_adapter.batches import tensors

    meter = task.meter()
    model.eval()
    with torch.no_grad(), batches(folder, part, batch_size=batch_size, **task.stream_settings(part)) as stream:
        for batch in stream:
            meter.update(model, tensors(batch))
    return meter


def train(task, model, given, lr=1e-3):
    """Take a step of AdamW with each batch; return the losses."""
    import torch

    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=lr, weight_decay=0.0)
    losses = []
    for batch in given:
        loss, _ = task.loss(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
