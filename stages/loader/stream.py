"""Batches made in a background thread, a bounded number ahead of the trainer.

What a trainer can rely on:

- each sample of an epoch exactly once, in an order that depends on the seed and the epoch alone;
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import numpy as np

from stages.loader import checkpoint
from stages.loader.mixture import Folders, Mixture, open_source
from stages.loader.order import randoms, shared
from stages.loader.part_arrays import Digests, PartArrays
from stages.loader.settings import Batch, Settings
from stages.loader.sizes import Sizes


@dataclass(frozen=True, order=True)
class Place:
    """A position in the order of an epoch."""

    epoch: int
    next: int


@dataclass(frozen=True)
class Metrics:
    """What one finished batch cost.

    `epoch` and `first` say where it began, `size` how many samples it had. `seconds` passed from asking for it to
    asking for the next one, `wait_s` of them before it was there; `read_s` is what the thread took to make it.
    `memory_mb` is the proportional size of the process tree at that time.
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
    """A batch on its way to the trainer: its place, and the place after it."""

    batch: Batch
    place: Place
    after: Place
    read_s: float
    memory_mb: float


class _Maker:
    """What the thread does; it knows nothing of the stream, which can so be dropped while the thread runs."""

    def __init__(self, source: PartArrays | Mixture, settings: Settings, start: Place) -> None:
        self._source, self._settings, self._start = source, settings, start
        self._sizes = Sizes(settings.batch_size, settings.adaptive)
        self._is_stopped = False
        self.slots = threading.Semaphore(settings.prefetch)
        self.made: SimpleQueue[_Made | BaseException | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End the thread, wherever it is, and wait for it."""
        self._is_stopped = True
        self.slots.release()
        if threading.current_thread() is not self.thread:  # as when the collector drops the stream in this thread
            self.thread.join()

    def _run(self) -> None:
        try:
            for made in self._batches():
                self.made.put(made)
        except BaseException as error:  # noqa: BLE001 - raised again where the trainer is
            self.made.put(error)
        else:
            self.made.put(None)

    def _batches(self) -> Iterator[_Made]:
        place, settings = self._start, self._settings
        while place.epoch < settings.epoch + settings.epochs:
            order = shared(self._source.order(settings.shuffle_seed, place.epoch), settings.shard)
            while place.next < len(order):
                self.slots.acquire()  # before the batch is made: what waits is bounded
                if self._is_stopped:
                    return
                started = time.perf_counter()
                size = min(self._sizes.next(), len(order) - place.next)
                after = Place(place.epoch, place.next + size)
                batch = self._batch(place.epoch, order.at(np.arange(place.next, after.next)))
                yield _Made(batch, place, after, time.perf_counter() - started, self._sizes.used_mb)
                place = after
            place = Place(place.epoch + 1, 0)

    def _batch(self, epoch: int, samples: np.ndarray) -> Batch:
        batch = self._source.read(samples)
        if self._settings.transform is None:
            return batch
        return self._settings.transform(batch, randoms(self._settings.shuffle_seed, epoch, samples))


class Stream:
    """An iterator over batches; use it in a ``with`` statement, see `batches`.

    Attributes
    ----------
    source
        Where the samples come from.
    metrics
        Of the batch that was finished last, None before.
    """

    metrics: Metrics | None = None

    def __init__(self, source: PartArrays | Mixture, settings: Settings) -> None:
        self.source, self._settings = source, settings
        of_source = {"window_rows": source.window_rows, "mixture": source.mixture}
        self._identity = {"part": source.part, **settings.identity, **of_source}
        self._data: Digests | None = None
        self._finished = self._given = self._saved = self._start()
        self._maker = _Maker(source, settings, self._given)
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

    def state(self) -> checkpoint.State:
        """Return where the stream is behind the batch in hand, for `Settings.resume_from`.

        It is plain JSON. A trainer that saves it together with its own state, when it is done with the batch, goes on
        with both exactly.
        """
        return self._state(self._given)

    def _start(self) -> Place:
        """Return where to begin: where the given or the newest state says, but not before the first epoch."""
        settings, folder = self._settings, self._settings.checkpoint_dir
        state = checkpoint.newest(folder) if folder else None
        if settings.resume_from is not None:
            state = checkpoint.opened(settings.resume_from)
        if folder and state is None:
            self._data = self.source.digests({})
        first = Place(settings.epoch, 0)
        if state is None:
            return first
        self._data = self.source.digests(state["data"])
        where = "loader: resume_from" if settings.resume_from is not None else folder
        checkpoint.require_same(where, state, self._data, self._identity)
        return max(first, Place(state["epoch"], state["next"]))

    def _take(self) -> None:
        asked = time.perf_counter()
        made = self._maker.made.get()
        if isinstance(made, _Made):
            self._now = made, asked, time.perf_counter()
            self._given = made.after
            self._maker.slots.release()
        else:
            self._is_at_end, self._failure = made is None, made
            self.close()

    def _finish(self) -> None:
        """Note that the trainer is done with the batch in hand."""
        if self._now is None:
            return
        made, asked, given = self._now
        self._now, self._finished, self._n_finished = None, made.after, self._n_finished + 1
        seconds, size = time.perf_counter() - asked, made.after.next - made.place.next
        self.metrics = Metrics(
            epoch=made.place.epoch,
            first=made.place.next,
            size=size,
            seconds=seconds,
            wait_s=given - asked,
            read_s=made.read_s,
            memory_mb=made.memory_mb,
            samples_per_s=size / seconds,
        )
        if self._settings.log:
            with Path(self._settings.log).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self.metrics)) + "\n")
        if self._n_finished % self._settings.checkpoint_frequency == 0:
            self._save()

    def _save(self) -> None:
        """Write a checkpoint of what is finished, if there is a folder for it and something new to say."""
        if self._settings.checkpoint_dir and self._finished != self._saved:
            checkpoint.save(Path(self._settings.checkpoint_dir), self._state(self._finished))
            self._saved = self._finished

    def _state(self, place: Place) -> checkpoint.State:
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
    return Stream(open_source(folder, part, settings), settings)
