"""Rows of eight numbers, of which the largest legal one of the first five is to be named."""

import time
from types import MappingProxyType

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.processed import Processed
from stages.training.figures import Confusion
from stages.training.task import Headline

HEAD = "largest"


class ToyMeter:
    """Counts samples, their negative log-likelihood, and hits."""

    def __init__(self, task):
        self.task, self.counts = task, torch.zeros(3, dtype=torch.double)

    def update(self, model, batch):
        logits, labels = self.task.masked(model, batch), batch[f"label_{HEAD}"].long()
        nll = functional.cross_entropy(logits.double(), labels, reduction="sum")
        self.counts += torch.stack([torch.tensor(float(len(labels))), nll, (logits.argmax(1) == labels).sum().double()])

    def state(self):
        return self.counts

    def load(self, state):
        self.counts = state

    def result(self):
        n, nll, hits = self.counts.tolist()
        return {"nll": nll / n if n else float("nan"), "accuracy": hits / n if n else float("nan")}

    def figures(self):
        n, _, hits = self.counts.tolist()
        return [Confusion("hits", "Samples that are hit, and others.", ("hit", "missed"), [[hits, n - hits], [0, 0]])]


class TaskToy:
    """See the module; `pause` is what each loss takes, in seconds."""

    DEFAULTS = MappingProxyType({"model": {"width": 16, "dropout": 0.2}, "pause": 0.0, "batch_size": 32, "epochs": 4})
    HEADLINES = (Headline("nll", False), Headline("accuracy", True, 0.5))
    LOSS = "nll"
    ANSWERED_ROW = 0

    def __init__(self, params, folder):
        self.params, self.folder = params, folder

    def build(self):
        width = self.params["model"]["width"]
        body = nn.Sequential(
            nn.Linear(8, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(self.params["model"]["dropout"])
        )
        return nn.Sequential(*body, nn.Linear(width, 5))

    def stream_settings(self, part):
        return {}

    def masked(self, model, batch):
        return model(batch["X"]).masked_fill(batch[f"mask_{HEAD}"] == 0, -torch.inf)

    def loss(self, model, batch):
        time.sleep(self.params["pause"])
        loss = functional.cross_entropy(self.masked(model, batch), batch[f"label_{HEAD}"].long())
        return loss, {"twice": 2 * loss.item()}

    def outputs(self, model, batch):
        return {HEAD: model(batch["X"]), "first": batch["X"][:, 0]}

    def meter(self):
        return ToyMeter(self)

    def baselines(self, train, part):
        masks = Processed(train).masks(part)[HEAD]
        return {"uniform": {"nll": float(np.log(masks.sum(1)).mean())}}

    def replay(self, model, folder, part):
        return {"model": {"won": 1.0}, "uniform": {"won": 0.5}, "other": {"won": 0.0}}


TASK = TaskToy
