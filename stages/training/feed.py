"""The batches of a training: those of train with where each one ends, and those of a part to evaluate."""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.part_files import PARTS
from stages.loader import Mixture, PartArrays, Settings, Share, Stream, layout, open_source
from stages.loader.stream import epoch_of
from stages.training.device import Device, n_samples
from stages.training.ranks import Ranks
from stages.training.settings import TrainSettings
from stages.training.task import Task, TensorBatch

EVALUATION_BATCH = 1024

StreamState = Mapping[str, Any]


@dataclass(frozen=True)
class Feed:
    """Where the samples of a training come from; every file is compared with its checksum when it is opened.

    `folder` is data/processed/<dataset>.
    """

    folder: Path
    task: Task
    settings: TrainSettings
    device: Device
    ranks: Ranks

    @cached_property
    def _shard(self) -> tuple[int, int]:
        return self.ranks.rank, self.ranks.n_ranks

    @cached_property
    def _of_train(self) -> Settings:
        settings = Settings(**self.task.stream_settings(PARTS[0]))
        of_loop: dict[str, Any] = {
            "batch_size": self.settings.batch_size,
            "shuffle_seed": self.settings.seed,
            "remainder": "drop",
        }
        return replace(settings, shard=self._shard, verify=True, **of_loop)

    @cached_property
    def source(self) -> PartArrays | Mixture:
        """The samples that are trained on."""
        shares = [
            Share(one.folder, one.weight, (one.rows[0], one.rows[1]) if one.rows else None)
            for one in self.settings.sources
        ]
        return open_source(shares or self.folder, PARTS[0], self._of_train)

    @cached_property
    def n_batches(self) -> int:
        """The number of batches of an epoch."""
        return epoch_of(self.source, self._of_train, layout.of_process(self._shard)).n_batches

    @contextmanager
    def train(self, n_epochs: int, state: StreamState | None) -> Iterator[Iterator[tuple[TensorBatch, StreamState]]]:
        """Give the batches of some epochs, each with the state of the stream behind it.

        Parameters
        ----------
        n_epochs
            How many there are, with those that are over.
        state
            Of the batch to go on behind; None begins.
        """
        settings = replace(self._of_train, epochs=n_epochs, resume_from=state)
        with Stream(self.source, settings) as stream:
            yield self._sent(stream)

    def _sent(self, stream: Stream) -> Generator[tuple[TensorBatch, StreamState]]:
        """Yield batches on the device; with a GPU the next one is on its way there when one is given."""
        waiting = None
        for batch in stream:
            sent = self.device.send(batch), stream.state()
            if self.device.kind == "cpu":
                yield sent
                continue
            if waiting is not None:
                yield waiting
            waiting = sent
        if waiting is not None:
            yield waiting

    @cached_property
    def _parts(self) -> dict[tuple[str, int | None], tuple[PartArrays | Mixture, Settings]]:
        """The parts that were opened, and so compared with their checksums, with the settings of their streams."""
        return {}

    def _opened(self, part: str, most: int | None) -> tuple[PartArrays | Mixture, Settings]:
        size = max(self.ranks.n_ranks, min(EVALUATION_BATCH, self.settings.micro_batch or EVALUATION_BATCH))
        options: dict[str, Any] = {"batch_size": size, "remainder": "keep", "shard": self._shard, "verify": True}
        settings = replace(Settings(**self.task.stream_settings(part)), **options)
        source = open_source(self.folder, part, settings)
        if most is None or most >= len(source):
            return source, settings
        settings = replace(settings, epoch_samples=most, shuffle_seed=self.settings.seed)
        return open_source(self.folder, part, settings), settings

    def part(self, part: str, most: int | None = None) -> Iterator[TensorBatch]:
        """Yield this rank's samples of a part, each once.

        Parameters
        ----------
        part
            "val" or "test".
        most
            So many samples of all ranks, drawn with the seed; None for all, in the order of the files.
        """
        if (part, most) not in self._parts:
            self._parts[part, most] = self._opened(part, most)
        with Stream(*self._parts[part, most]) as stream:
            for batch in stream:
                tensors = self.device.send(batch)
                if n_samples(tensors):
                    yield tensors
