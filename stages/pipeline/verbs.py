"""The verbs of the pipeline in their order, and the names that DVC gives their stages.

`dvc.yaml` makes a stage of each verb and dataset, ``merge@splendor``, and of process one a batch,
``process@splendor-b01``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

VERBS = ("simulate", "discover", "expand", "process", "merge", "split")
# That of dvc.lock: a first run writes what expand's nested run processed before it writes expand itself.
LOCK_ORDER = ("simulate", "discover", "process", "expand", "merge", "split")
TRAINING = "stages/training/dvc.yaml"  # a pipeline of its own, of models
GENERATIONS = "data/generations/dvc.yaml"  # and one of what a network learns from its own games
BATCH_ITEM = re.compile(r"(?P<dataset>.+)-(?P<batch>b[01]*)")


@dataclass(frozen=True)
class StageName:
    """What a stage's name says; `batch` is empty for all verbs but process."""

    verb: str
    dataset: str
    batch: str = ""

    def __str__(self) -> str:
        return f"{self.verb}@{self.dataset}-{self.batch}" if self.batch else f"{self.verb}@{self.dataset}"


def stage_name(verb: str, dataset: str, batch: str = "") -> str:
    """Return the name of a stage: ``split@splendor``, or of process with its batch ``process@splendor-b01``."""
    return str(StageName(verb, dataset, batch))


def train_stage(dataset: str) -> str:
    """Return the name of the stage that trains the model of a dataset: ``stages/training/dvc.yaml:train@hex``."""
    return f"{TRAINING}:{StageName('train', dataset)}"


def process_stages(dataset: str, batches: Iterable[str]) -> list[str]:
    """Return the names of the process stages of some batches."""
    return [stage_name("process", dataset, batch) for batch in batches]


def stage_names(verbs: Iterable[str], dataset: str, batches: Iterable[str]) -> list[str]:
    """Return the names of a dataset's stages of some verbs, in the order of the verbs."""
    names = []
    for verb in verbs:
        names += process_stages(dataset, batches) if verb == "process" else [stage_name(verb, dataset)]
    return names


def command(name: str) -> str:
    """Return the command that dvc.yaml gives a stage."""
    stage = parsed(name)
    return " ".join(filter(None, (f"python -m stages.{stage.verb}", stage.dataset, stage.batch)))


def parsed(name: str) -> StageName:
    """Return what the name of a stage says.

    A dataset's name may hold hyphens: ``process@a-bars-b01`` is batch b01 of a-bars, ``merge@a-bars`` is of a-bars.
    """
    verb, _, item = name.partition("@")
    match = BATCH_ITEM.fullmatch(item) if verb == "process" else None
    return StageName(verb, match["dataset"], match["batch"]) if match else StageName(verb, item)
