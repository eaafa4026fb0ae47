"""The smallest loop that trains a dataset's task, for tests that need torch."""

import json

from stages.loader import batches
from stages.loader.torch_adapter.batches import tensors


def task_for(task_class, folder, **changes):
    """Return a task with its defaults, some of them changed; a section is changed key by key."""
    params = json.loads(json.dumps(task_class.DEFAULTS))
    for key, value in changes.items():
        params[key] = {**params[key], **value} if isinstance(value, dict) else value
    return task_class(params, folder)


def some_batch(task, folder, part, n):
    """Return `n` samples of a part as tensors, the same ones each time."""
    with batches(folder, part, batch_size=n, shuffle_seed=0, **task.stream_settings(part)) as stream:
        return tensors(next(stream))


def epochs_of(task, folder, n_epochs, batch_size=256):
    """Yield the batches of some epochs of train as tensors."""
    settings = {"batch_size": batch_size, "shuffle_seed": 42, "epochs": n_epochs, "remainder": "drop"}
    with batches(folder, "train", **settings, **task.stream_settings("train")) as stream:
        yield from map(tensors, stream)


def measured(task, model, folder, part, batch_size=1024):
    """Return the meter of a model, which is in evaluation mode from then on, that has seen a part."""
    import torch

    meter = task.meter()
    model.eval()
    with torch.no_grad(), batches(folder, part, batch_size=batch_size, **task.stream_settings(part)) as stream:
        for batch in stream:
            meter.update(model, tensors(batch))
    return meter
