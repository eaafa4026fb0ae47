"""The stream as a torch IterableDataset; torch is not among this package's own requirements.

Give it to `TorchLoader`, or to ``DataLoader(dataset, batch_size=None, num_workers=n)``: batches are made here, and each
of the n worker processes makes whole ones in turn. A pass over it is an epoch, and the next pass the next epoch, also
with ``persistent_workers=True``.
"""

# mypy: disable-error-code="import-not-found, misc"

import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from stages.core.errors import ExpectedError
from stages.loader import checkpoint, layout
from stages.loader.layout import Layout
from stages.loader.mixture import Mixture
from stages.loader.part_arrays import PartArrays
from stages.loader.settings import Batch, Settings
from stages.loader.stream import Place, Stream, epoch_of, first_of, identity_of
from stages.loader.torch_adapter.passes import Passes

ACCELERATE = "accelerate.data_loader"


class TensorBatch(dict[str, Any]):
    """One batch: tensors by field; arrays of text stay NumPy's."""


def _refuse(*_: object, **__: object) -> None:
    raise ExpectedError(
        "loader: DataLoader would make batches of batches, expected batch_size=None, as these are batches already; "
        "write DataLoader(dataset, batch_size=None), and set batch_size in Settings"
    )


default_collate_fn_map[TensorBatch] = _refuse  # of a DataLoader that has a batch_size; it is 1 if none is given


class TorchBatches(IterableDataset[TensorBatch]):
    """Batches of a source as dicts of tensors.

    Parameters
    ----------
    source
        What `open_source` gives.
    settings
        As for a `Stream`; epochs are passes here, and where to go on is said by `load_state_dict`.

    Raises
    ------
    ExpectedError
        When a setting does not go with it.
    """

    def __init__(self, source: PartArrays | Mixture, settings: Settings) -> None:
        _require_passes(settings)
        self._source: PartArrays | Mixture | None = source
        self._reopen: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
        self.settings = settings
        self.passes = Passes(Place(settings.epoch, 0))
        self._pinned: Layout | None = None  # where this is a copy in a worker process
        self._stream: Stream | None = None
        self._own: Place | None = None  # where this worker goes on
        self._data: Mapping[str, Mapping[str, str]] | None = None
        layout.tell(self.layout, epoch_of(source, settings, self.layout))

    @property
    def source(self) -> PartArrays | Mixture:
        """The source; a worker process opens it when it first asks, where a failure reaches the trainer in words."""
        if self._source is None and self._reopen is not None:
            open_again, arguments = self._reopen
            self._source = open_again(*arguments)
        return self._source  # type: ignore[return-value]

    @property
    def layout(self) -> Layout:
        """Rank and worker of this process."""
        worker = get_worker_info()
        if worker is None:  # a process that trains, perhaps a rank that this was sent to
            return layout.of_process(self.settings.shard)
        here = self._pinned or layout.of_process(self.settings.shard)
        return replace(here, worker=worker.id, n_workers=worker.num_workers)

    @property
    def epoch(self) -> int:
        """The epoch that the next pass is."""
        return self.passes.next.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be an epoch, from its begin."""
        self.passes.set(Place(epoch, 0))
        self._stream = None

    def __len__(self) -> int:
        """Return the number of batches of an epoch, the same for each rank."""
        return epoch_of(self.source, self.settings, self.layout).n_batches

    def __iter__(self) -> Iterator[TensorBatch]:
        """Begin the next pass, at once: its workers agree on it, and torchdata asks for its state before a batch.

        Raises
        ------
        ExpectedError
            When accelerate would lose samples, files were replaced, or worker 0 does not begin.
        """
        here, own = self.layout, self._own
        _require_own_share(here)
        source = self.source
        begin = self.passes.begin(own)
        start = own or Place(begin.epoch, begin.next + first_of(begin.epoch, self.settings, here).next)
        settings, is_ahead = replace(self.settings, epoch=begin.epoch), get_worker_info() is None
        self._own, self._stream = None, Stream(source, settings, here, start, is_ahead=is_ahead)
        return _Tensors(self._stream)

    def state_dict(self) -> checkpoint.State:
        """Return where this process is behind the batch that it gave last; in a worker, of its own share alone.

        It is what torchdata's StatefulDataLoader asks for. The state of a `TorchLoader` is that of all workers.
        """
        place = self._stream.place if self._stream is not None else self.passes.next
        return self.state_at(place)

    def state_at(self, place: Place) -> checkpoint.State:
        """Return the state of a trainer that has finished what comes before a place."""
        here, self._data = self.layout, self._data or self.source.digests({})
        content = {"epoch": place.epoch, "next": place.next, "data": self._data}
        settings = {**identity_of(self.source, self.settings), **_worker(here, self.settings)}
        return checkpoint.sealed({**content, "settings": settings})

    def load_state_dict(self, state: checkpoint.State) -> None:
        """Let the next pass go on where a state says.

        Raises
        ------
        ExpectedError
            When it is damaged, or of other arrays, another order, or one worker of several.
        """
        content, here = checkpoint.opened(state), self.layout
        self._data = self.source.digests(content["data"])
        settings = {"worker": None, **identity_of(self.source, self.settings), **_worker(here, self.settings)}
        checkpoint.require_same("loader: load_state_dict", content, self._data, settings)
        place, self._stream = Place(content["epoch"], content["next"]), None
        if here.n_workers > 1:
            self._own = place
        else:
            self.passes.set(place)

    def begin_of(self, place: Place) -> Place:
        """Return a place, or the begin of the next epoch if no batch follows it."""
        epoch = epoch_of(self.source, self.settings, self.layout)
        return place if place.next < epoch.end(place.next) else Place(place.epoch + 1, 0)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the stream in this process, and take its rank along, which a worker process could not ask for."""
        _require_own_share(self.layout)
        left = {"_source": None, "_stream": None, "_reopen": self.source.__reduce__()}
        return {**self.__dict__, **left, "_pinned": replace(self.layout, worker=0, n_workers=1)}


class _Tensors(Iterator[TensorBatch]):
    """The batches of a stream as tensors; the stream is closed when this is dropped, even before its first batch."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        weakref.finalize(self, stream.close)

    def __next__(self) -> TensorBatch:
        return tensors(next(self._stream))


def tensors(batch: Batch) -> TensorBatch:
    """Return a batch as tensors on the memory of its arrays."""
    is_text = {name: values.dtype.kind in "SU" for name, values in batch.items()}
    return TensorBatch((name, values if is_text[name] else torch.from_numpy(values)) for name, values in batch.items())


def _worker(here: Layout, settings: Settings) -> dict[str, Any]:
    """Return what a state says of the worker that it is of; nothing where there is only one.

    The places of several workers fit together for one size of batches only.
    """
    return {"worker": [here.worker, here.n_workers, settings.batch_size]} if here.n_workers > 1 else {}


def _require_own_share(here: Layout) -> None:
    """Refuse a pass that accelerate's own loaders begin, or the start of workers for it.

    Of several ranks they would share out the first rank's share alone. A dataset does not know who iterates it, but the
    calls that led here do, also in a forked worker.
    """
    if here.n_ranks == 1:
        return
    if any(frame.f_globals.get("__name__") == ACCELERATE for frame, _ in traceback.walk_stack(None)):
        raise ExpectedError(
            f"loader: accelerate prepared a DataLoader of a dataset that gives rank {here.rank} of {here.n_ranks} its "
            "share, expected a TorchLoader: the other ranks' samples would be lost; write TorchLoader(dataset) instead "
            "of DataLoader(dataset, batch_size=None)"
        )


def _require_passes(settings: Settings) -> None:
    if settings.checkpoint_dir or settings.resume_from:
        raise ExpectedError(
            "loader: checkpoint_dir or resume_from for torch, whose workers fetch ahead of the trainer, expected "
            "neither; save TorchLoader.state_dict() beside the model and give it to load_state_dict"
        )
    if settings.adaptive:
        raise ExpectedError(
            "loader: adaptive for torch, whose workers each know where the others' batches begin, expected a fixed "
            "batch_size; leave adaptive out"
        )
    if settings.epochs != 1:
        raise ExpectedError(
            f"loader: epochs is {settings.epochs}, expected 1, as each pass over the dataset is one epoch; "
            "iterate as often as you want"
        )
