"""Batches made in a background thread, a bounded number ahead of the trainer.

What a trainer can rely on:

- each sample of an epoch exactly once, in an order that depends on the seed and the epoch alone (what becomes of those
  behind the last whole batch, and who takes what of a batch, `layout` says);
- the end is said by the thread, never guessed from an empty queue;
- a failure in the thread is raised, with its traceback, where the trainer asks for the next batch;
- at most `prefetch` batches are made or waiting, beside the one that the trainer holds;
- `close`, the end of a ``with`` block, and dropping the last reference stop the thread;
- a checkpoint says what the trainer has finished: a batch is finished when the next one is asked for.
"""

import json
import threading
import time
import weakref
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np

from stages.core.errors import ExpectedError
from stages.loader import checkpoint, layout
from stages.loader.layout import REPEATED, Epoch, Layout, Remainder
from stages.loader.mixture import Folders, Mixture, open_source
from stages.loader.order import randoms
from stages.loader.part_arrays import Digests, PartArrays
from stages.loader.samples import Samples
from stages.loader.settings import Batch, Settings
from stages.loader.sizes import Sizes


@dataclass(frozen=True, order=True)
class Place:
    """A position in the order of an epoch: where a global batch begins."""

    epoch: int
    next: int


@dataclass(frozen=True)
class Metrics:
    """What one finished batch cost.

    `epoch` and `first` say where it began, `size` how many samples of it this process had. `seconds` passed from asking
    for it to asking for the next one, `wait_s` of them before it was there; `read_s` is what the thread took to make
    it. `memory_mb` is the proportional size of the process tree at that time.
    """

    epoch: int
    first: int
    size: int
    seconds: float
    wait_s: float
    read_s: float
    memory_mb: float
    samples_per_s: float


@dataclass(frozen=True)
class _Made:
    """A batch on its way to the trainer: its place, the place of the next one, and how many samples it has."""

    batch: Batch
    place: Place
    after: Place
    size: int
    read_s: float
    memory_mb: float


_Given = _Made | BaseException | None  # a batch, why there is none, or the end


class _Maker:
    """Makes batches when they are asked for; it knows nothing of the stream, which can so be dropped."""

    def __init__(self, source: PartArrays | Mixture, settings: Settings, here: Layout, start: Place) -> None:
        self._source, self._settings, self._here, self._start = source, settings, here, start
        self._sizes = Sizes(settings.batch_size, settings.adaptive)
        self._batches = self._made()

    def take(self) -> _Given:
        """Return what comes next."""
        try:
            return next(self._batches, None)
        except BaseException as error:  # noqa: BLE001 - raised again by the stream
            return error

    def stop(self) -> None:
        """Make no more."""
        self._batches.close()

    def _may_make(self) -> bool:
        return True

    def _made(self) -> Generator[_Made, None, None]:
        place, settings = self._start, self._settings
        of_others = (self._here.n_workers - 1) * settings.batch_size
        while place.epoch < settings.epoch + settings.epochs:
            order = self._source.order(settings.shuffle_seed, place.epoch)
            epoch = Epoch(len(order), settings.batch_size, layout.remainder_of(self._here, settings.remainder))
            end = epoch.end(place.next)
            samples = Samples(order, epoch, self._here, end, is_steady=settings.adaptive is None)
            while place.next < end:
                if not self._may_make():
                    return
                started = time.perf_counter()
                behind = min(place.next + self._sizes.next(), end)
                batch, size = self._batch(place, *samples.of(place.next, behind), epoch.remainder)
                after = Place(place.epoch, behind + of_others)
                yield _Made(batch, place, after, size, time.perf_counter() - started, self._sizes.used_mb)
                place = after
            place = first_of(place.epoch + 1, settings, self._here)

    def _batch(
        self, place: Place, samples: np.ndarray, is_repeated: np.ndarray, remainder: Remainder
    ) -> tuple[Batch, int]:
        """Return this rank's slice of the global batch at a place, and its size."""
        batch = self._source.read(samples)
        if self._settings.transform is not None:
            batch = self._settings.transform(batch, randoms(self._settings.shuffle_seed, place.epoch, samples))
        if remainder == "pad":
            batch[REPEATED] = is_repeated
        return batch, len(samples)


class _Ahead(_Maker):
    """Makes them in a thread, some ahead."""

    def __init__(self, source: PartArrays | Mixture, settings: Settings, here: Layout, start: Place) -> None:
        super().__init__(source, settings, here, start)
        self._is_stopped = False
        self._slots = threading.Semaphore(settings.prefetch)
        self._ready: SimpleQueue[_Given] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self._thread.start()

    def take(self) -> _Given:
        given = self._ready.get()
        if isinstance(given, _Made):
            self._slots.release()
        return given

    def stop(self) -> None:
        """End the thread, wherever it is, and wait for it."""
        self._is_stopped = True
        self._slots.release()
        if threading.current_thread() is not self._thread:  # as when the collector drops the stream in this thread
            self._thread.join()

    def _may_make(self) -> bool:
        self._slots.acquire()  # before the batch is made: what waits is bounded
        return not self._is_stopped

    def _run(self) -> None:
        try:
            for made in self._batches:
                self._ready.put(made)
        except BaseException as error:  # noqa: BLE001 - raised again where the trainer is
            self._ready.put(error)
        else:
            self._ready.put(None)


def first_of(epoch: int, settings: Settings, here: Layout) -> Place:
    """Return where an epoch begins for this process."""
    return Place(epoch, here.worker * settings.batch_size)


class Stream:
    """An iterator over batches; use it in a ``with`` statement, see `batches`.

    Parameters
    ----------
    source, settings
        Where the samples come from, and how.
    here, start
        The place of this process among all, and where to begin; None is as `settings` say.
    is_ahead
        Whether batches are made in a thread, ahead of the trainer; else when they are asked for.

    Attributes
    ----------
    source
        Where the samples come from.
    metrics
        Of the batch that was finished last, None before.
    """

    metrics: Metrics | None = None

    def __init__(
        self,
        source: PartArrays | Mixture,
        settings: Settings,
        here: Layout | None = None,
        start: Place | None = None,
        *,
        is_ahead: bool = True,
    ) -> None:
        self._here = here or layout.of_process(settings.shard)
        _require_batches(source, settings, self._here)
        self.source, self._settings = source, settings
        self._identity = identity_of(source, settings)
        self._data: Digests | None = None
        self._finished = self._given = self._saved = start or self._start()
        maker = _Ahead if is_ahead else _Maker
        self._maker = maker(source, settings, self._here, self._given)
        self._stop = weakref.finalize(self, self._maker.stop)
        self._now: tuple[_Made, float, float] | None = None  # the batch in hand, when it was asked for and given
        self._n_finished, self._is_at_end = 0, False
        self._failure: BaseException | None = None

    def __iter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Batch:
        self._finish()
        if self._stop.alive:
            self._take()
        if self._now:
            return self._now[0].batch
        if self._failure:
            raise self._failure
        if self._is_at_end:
            raise StopIteration
        raise ValueError("the stream is closed before its end, expected it open; make a new one")

    def close(self) -> None:
        """Stop the thread and write a checkpoint of what was finished, which the batch in hand is not."""
        self._stop()
        self._now = None
        self._save()

    @property
    def place(self) -> Place:
        """Where the batch begins that comes behind the one in hand."""
        return self._given

    @property
    def has_checkpoints(self) -> bool:
        """Whether it writes down by itself what was finished."""
        return self._settings.checkpoint_dir is not None

    def state(self) -> checkpoint.State:
        """Return where the stream is behind the batch in hand, for `Settings.resume_from`.

        It is plain JSON, and the same for each rank: any number of ranks goes on from it. A trainer that saves it
        together with its own state, when it is done with the batch, goes on with both exactly.
        """
        return self.state_at(self._given)

    def _start(self) -> Place:
        """Return where to begin: where the given or the newest state says, but not before the first epoch."""
        settings, folder = self._settings, self._settings.checkpoint_dir
        state = checkpoint.newest(folder) if folder else None
        if settings.resume_from is not None:
            state = checkpoint.opened(settings.resume_from)
        if folder and state is None:
            self._data = self.source.digests({})
        first = first_of(settings.epoch, settings, self._here)
        if state is None:
            return first
        self._data = self.source.digests(state["data"])
        where = "loader: resume_from" if settings.resume_from is not None else folder
        checkpoint.require_same(where, state, self._data, self._identity)
        return max(first, Place(state["epoch"], state["next"]))

    def _take(self) -> None:
        asked = time.perf_counter()
        made = self._maker.take()
        if isinstance(made, _Made):
            self._now = made, asked, time.perf_counter()
            self._given = made.after
        else:
            self._is_at_end, self._failure = made is None, made
            self.close()

    def _finish(self) -> None:
        """Note that the trainer is done with the batch in hand."""
        if self._now is None:
            return
        made, asked, given = self._now
        self._now, self._finished, self._n_finished = None, made.after, self._n_finished + 1
        seconds = time.perf_counter() - asked
        self.metrics = Metrics(
            epoch=made.place.epoch,
            first=made.place.next,
            size=made.size,
            seconds=seconds,
            wait_s=given - asked,
            read_s=made.read_s,
            memory_mb=made.memory_mb,
            samples_per_s=made.size / seconds,
        )
        if self._settings.log:
            with Path(self._settings.log).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self.metrics)) + "\n")
        if self._n_finished % self._settings.checkpoint_frequency == 0:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of what is finished, if there is a folder for it and something new to say.

        All ranks stand at the same place: the first one writes for all of them.
        """
        if self._settings.checkpoint_dir and self._here.rank == 0 and self._finished != self._saved:
            checkpoint.save(Path(self._settings.checkpoint_dir), self.state_at(self._finished))
            self._saved = self._finished

    def state_at(self, place: Place) -> checkpoint.State:
        """Return the state of a trainer that has finished what comes before a place."""
        if self._data is None:
            self._data = self.source.digests({})
        return checkpoint.sealed({**asdict(place), "data": self._data, "settings": self._identity})


def batches(folder: Folders, part: str, settings: Settings | None = None, **options: Any) -> Stream:
    """Stream one part of a dataset.

    Parameters
    ----------
    folder
        data/processed/<dataset>, or several of them, which are mixed: see `Share`.
    part
        "train", "val" or "test".
    settings
        See `Settings`.
    **options
        Its attributes one by one, over those of `settings`: ``batches(folder, "train", batch_size=256)``.

    Returns
    -------
    Stream
        Of dicts of arrays: per field (k, ...) for k rows, (k, window, ...) for k windows. They are the trainer's own.

    Raises
    ------
    ExpectedError
        When there is no such part, field or window, folders to mix do not fit together, or the checkpoint is of other
        arrays or another order.
    DamagedFile
        When a file is not complete.
    """
    settings = replace(settings or Settings(), **options)
    source, here = open_source(folder, part, settings), layout.of_process(settings.shard)
    layout.tell(here, epoch_of(source, settings, here))
    return Stream(source, settings, here)


def identity_of(source: PartArrays | Mixture, settings: Settings) -> checkpoint.State:
    """Return what decides which samples come in which order, beside the arrays and the batch size; as plain JSON."""
    of_source = {"window_rows": source.window_rows, "mixture": source.mixture}
    return {"part": source.part, **settings.identity, **of_source}


def epoch_of(source: PartArrays | Mixture, settings: Settings, here: Layout) -> Epoch:
    """Return how an epoch of a source is cut into batches."""
    return Epoch(len(source), settings.batch_size, layout.remainder_of(here, settings.remainder))


def _require_batches(source: PartArrays | Mixture, settings: Settings, here: Layout) -> None:
    """Refuse epochs of no batch, ranks whose batches would differ, and an end that no fixed size defines.

    Raises
    ------
    ExpectedError
        When a batch is larger than the epoch that drops it or smaller than the number of ranks, or when its size may
        change and there are several ranks or no last samples.
    """
    epoch = epoch_of(source, settings, here)
    if epoch.n_batches == 0:
        raise ExpectedError(
            f"loader: batch_size is {settings.batch_size} and part {source.part!r} has {epoch.n_samples} samples an "
            "epoch, of which remainder drop leaves no batch; lower it, or set remainder to keep or pad"
        )
    if settings.batch_size < here.n_ranks:
        raise ExpectedError(
            f"loader: batch_size is {settings.batch_size} for {here.n_ranks} ranks, which share each batch, expected "
            "at least a sample for each; raise it"
        )
    if not settings.adaptive:
        return
    if here.n_ranks > 1 or settings.remainder in ("drop", "pad"):
        raise ExpectedError(
            f"loader: adaptive with {here.n_ranks} ranks and remainder {settings.remainder!r}, expected one rank that "
            "keeps the remainder, as the size of a batch follows this process's memory; leave adaptive out"
        )
