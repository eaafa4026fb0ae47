"""The stream as a torch IterableDataset; torch is not among this package's own requirements.

Give it to ``DataLoader(dataset, batch_size=None, num_workers=n)``: batches are made here, and each of the n worker
processes gives its share of the samples. Set `epoch` before each pass over the loader.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from stages.core.errors import ExpectedError
from stages.loader.mixture import Mixture
from stages.loader.part_arrays import PartArrays
from stages.loader.settings import Settings
from stages.loader.stream import Stream


class TorchBatches(IterableDataset[dict[str, Any]]):
    """Batches of a source as dicts of tensors; arrays of text stay NumPy's."""

    def __init__(self, source: PartArrays | Mixture, settings: Settings) -> None:
        self.source, self.settings, self.epoch = source, settings, settings.epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with Stream(self.source, self._settings()) as stream:
            for batch in stream:
                yield {
                    name: values if values.dtype.kind in "SU" else torch.from_numpy(values)
                    for name, values in batch.items()
                }

    def _settings(self) -> Settings:
        """Return the settings of this process: its share of the samples."""
        settings, worker = replace(self.settings, epoch=self.epoch), get_worker_info()
        if worker is None:
            return settings
        if settings.checkpoint_dir or settings.resume_from:
            raise ExpectedError(
                "loader: checkpoints with DataLoader workers, which fetch ahead of the trainer, expected none; "
                "use num_workers=0"
            )
        i, n = settings.shard
        return replace(settings, shard=(i + n * worker.id, n * worker.num_workers))
