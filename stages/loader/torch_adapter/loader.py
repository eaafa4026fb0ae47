"""A DataLoader of batches that knows where its trainer is.

Workers fetch ahead, so that only this side knows what the trainer got. The state is one place in the order of the
global batches: saved with any number of ranks and workers, it goes on with any other.

accelerate shares out a DataLoader's batches anew: of one that takes its rank's share itself it would give each rank a
part of the first rank's share alone, and lose the others', without a word. Two attributes that it looks for tell it to
leave a `TorchLoader` as it is, and to keep its state in ``save_state``.
"""

# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from stages.core.errors import ExpectedError
from stages.loader import checkpoint
from stages.loader.stream import Place
from stages.loader.torch_adapter import handover
from stages.loader.torch_adapter.batches import TensorBatch, TorchBatches

MADE_BY_SETTINGS = ("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last", "collate_fn")
N_IN_HAND = 2  # batches that a trainer has when it takes one: that one, and the one before until it is dropped
INSTEAD = "Settings has batch_size, shuffle_seed, remainder and transform"


class TorchLoader(DataLoader[TensorBatch]):
    """A `torch.utils.data.DataLoader` whose state can be saved and loaded.

    Parameters
    ----------
    dataset
        What is read; each pass over the loader is its next epoch.
    **options
        Of `DataLoader`, such as ``num_workers``, ``persistent_workers``, ``pin_memory`` and ``prefetch_factor``.

    Raises
    ------
    ExpectedError
        When an option would make batches or an order of its own.
    """

    _is_accelerate_prepared = True
    use_stateful_dataloader = True

    def __init__(self, dataset: TorchBatches, **options: Any) -> None:
        if given := [name for name in MADE_BY_SETTINGS if options.pop(name, None)]:
            raise ExpectedError(f"loader: TorchLoader got {', '.join(given)}, expected none of them; {INSTEAD}")
        if options.get("in_order") is False:
            raise ExpectedError("loader: in_order is False, expected True, as a state is one place; leave it out")
        super().__init__(dataset, batch_size=None, **options)
        self._at: Place | None = None  # behind the batch in hand; None before the first pass and behind the last batch
        self._n_set = 0  # what `n_set` was then

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be an epoch, from its begin."""
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[TensorBatch]:
        begin, size = self.dataset.passes.next, self.dataset.settings.batch_size
        for number, batch in enumerate(super().__iter__(), 1):
            self._at, self._n_set = Place(begin.epoch, begin.next + number * size), self.n_set
            yield batch
        self._at = None

    @property
    def collate_fn(self) -> Callable[[TensorBatch], Any]:
        """What is done with a batch where it was made; DataLoader asks each time that it starts workers."""
        if self.num_workers and handover.IS_POSSIBLE:
            return handover.HandOver(self.num_workers, self.prefetch_factor + N_IN_HAND)
        return self._plain_collate_fn

    @collate_fn.setter
    def collate_fn(self, collate_fn: Callable[[TensorBatch], Any]) -> None:
        self._plain_collate_fn = collate_fn

    @property
    def n_set(self) -> int:
        """How often it was set where the next pass begins, here or on the dataset."""
        return self.dataset.passes.n_set

    @property
    def place(self) -> Place:
        """Where the batch begins that comes behind the one in hand, or the next pass if that was set since."""
        at = self._at if self._n_set == self.n_set else None
        return at or self.dataset.passes.next

    def state_dict(self) -> checkpoint.State:
        """Return where the trainer is behind the batch in hand, as plain JSON; the same for each rank."""
        return self.state_at(self.place)

    def state_at(self, place: Place) -> checkpoint.State:
        """Return the state of a trainer that has finished what comes before a place."""
        return self.dataset.state_at(place)

    def load_state_dict(self, state: checkpoint.State) -> None:
        """Let the next pass go on where a state says, in whatever layout it was saved.

        Raises
        ------
        ExpectedError
            When it is damaged, or of other arrays or another order.
        """
        self.dataset.load_state_dict(state)
        self.dataset.passes.set(self.dataset.begin_of(self.dataset.passes.next))
