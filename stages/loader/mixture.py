"""Several processed folders as one source: older and newer data, in proportions that are chosen.

Without weights an epoch is every sample of every folder once. With weights w_i, which are scaled to sum to 1, an epoch
takes m_i = floor(w_i M) of the n_i samples of folder i. M is `Settings.epoch_samples` or, where that is None, the
largest number for which no m_i exceeds n_i. The next epoch goes on where this one ended in each folder, so that each of
a folder's samples comes once before any comes again. Shuffled, the folders are mixed at random; in the order of the
files, they are interleaved evenly.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.loader.agreement import require_alike
from stages.loader.form import Form, Left
from stages.loader.integrity import require_as_written
from stages.loader.mapped_file import MappedFile, keep_small
from stages.loader.order import Mixed, Order, firsts
from stages.loader.part_arrays import Digests, PartArrays
from stages.loader.reopening import Seal, reopened
from stages.loader.settings import Batch, Settings


@dataclass(frozen=True)
class Share:
    """One folder of a mixture.

    `weight` is its share of an epoch, relative to the other weights: all folders have one or none has. `rows` is the
    range of samples to take: fractions of the folder, as (0.5, 1.0), or two whole numbers, as (0, 100_000), from the
    first to before the second. None is all of them. Windows count like rows.
    """

    folder: str | Path
    weight: float | None = None
    rows: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < math.inf:
            raise ExpectedError(f"{self.folder}: weight is {self.weight!r}, expected more than 0; correct the Share")

    def range(self, n_samples: int) -> tuple[int, int]:
        """Return the range of samples in a folder that has so many.

        Raises
        ------
        ExpectedError
            When it is empty or exceeds the folder.
        """
        if self.rows is None:
            return 0, n_samples
        start, stop = self.rows
        is_counted = isinstance(start, Integral) and isinstance(stop, Integral)
        most = n_samples if is_counted else 1
        if not 0 <= start < stop <= most:
            raise ExpectedError(
                f"{self.folder}: rows is {self.rows!r}, expected 0 <= start < stop <= {most}, as there are {n_samples} "
                "samples; correct the Share (two whole numbers count samples, others are fractions)"
            )
        if not is_counted:
            start, stop = (math.floor(_exact(end) * n_samples) for end in (start, stop))
        if start == stop:
            raise ExpectedError(f"{self.folder}: rows {self.rows!r} of {n_samples} samples are none; widen them")
        return int(start), int(stop)


Folder = str | Path | Share
Folders = Folder | Sequence[Folder]


class Mixture:
    """Samples of several sources, see the module; it is used as a `PartArrays` is.

    Parameters
    ----------
    shares
        The folders with their weights and ranges.
    part, settings
        As for `batches`; of the settings those that say what a sample is, and `epoch_samples`.

    Attributes
    ----------
    part, window_rows
        As of a `PartArrays`.
    mixture
        Weight, range and samples of an epoch of each folder, as plain JSON: this decides the order with the settings.

    Raises
    ------
    ExpectedError
        When a weight is missing, a range empty, or folders do not fit together.
    """

    def __init__(self, shares: Sequence[Share], part: str, settings: Settings) -> None:
        self._recipe = shares, part, settings
        self._sources = [_source(share.folder, part, settings) for share in shares]
        require_alike(self._sources)
        self.part, self.window_rows = part, self._sources[0].window_rows
        ranges = [share.range(len(source)) for share, source in zip(shares, self._sources, strict=True)]
        self._sizes = np.array([stop - start for start, stop in ranges], np.int64)
        self._starts = np.array([start for start, _ in ranges], np.int64)
        self._takes = _takes(shares, self._sizes.tolist(), settings.epoch_samples)
        self.mixture: list[Mapping[str, Any]] = [
            {"weight": share.weight, "rows": list(rows), "samples": n}
            for share, rows, n in zip(shares, ranges, self._takes, strict=True)
        ]
        keep_small(self.files)

    def __reduce__(self) -> tuple[object, ...]:
        """Open the files anew where this is unpickled, and refuse others than these."""
        return reopened, (Mixture, self._recipe, self.seals)

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return sum(self._takes)

    @property
    def files(self) -> Collection[MappedFile]:
        """The files in use."""
        return [file for source in self._sources for file in source.files]

    @property
    def seals(self) -> tuple[Seal, ...]:
        """By what the files are known again where they are opened anew."""
        return tuple(seal for source in self._sources for seal in source.seals)

    @property
    def left(self) -> Left:
        """What the form leaves to be done.

        Raises
        ------
        ExpectedError
            When it is not the same for all folders.
        """
        first, *others = self._sources
        for other in others:
            if not other.left.is_as(first.left):
                raise ExpectedError(
                    f"{other.folder}: standardised or packed otherwise than {first.folder}, expected the same where "
                    "that is done for both at once; read them with standardised=True and packed=False"
                )
        return first.left

    def order(self, seed: int | None, epoch: int) -> Order:
        """Return the order of the samples in an epoch."""
        return Mixed(self._sizes.tolist(), self._takes, seed, epoch)

    def read(self, samples: np.ndarray) -> Batch:
        """Return some samples, by the numbers that `order` gives, as `PartArrays.read` does."""
        numbers = samples % self._sizes.sum()
        sources = np.searchsorted(np.cumsum(self._sizes), numbers, side="right")
        numbers += (self._starts - firsts(self._sizes))[sources]
        if not len(samples):
            return self._sources[0].read(samples)
        batch: Batch = {}
        for i in np.unique(sources).tolist():
            here = np.flatnonzero(sources == i)
            for name, values in self._sources[i].read(numbers[here]).items():
                if name not in batch:
                    batch[name] = np.empty((len(samples), *values.shape[1:]), values.dtype)
                batch[name][here] = values
        return batch

    def digests(self, known: Digests) -> Digests:
        """Return the digests of all files, see `PartArrays.digests`; names begin with ``source <i>/``, from 1."""
        digests: dict[str, Mapping[str, str]] = {}
        for i, source in enumerate(self._sources, 1):
            prefix = f"source {i}/"
            own = {name.removeprefix(prefix): digest for name, digest in known.items() if name.startswith(prefix)}
            digests |= {prefix + name: digest for name, digest in source.digests(own).items()}
        return digests


def open_source(folders: Folders, part: str, settings: Settings) -> PartArrays | Mixture:
    """Open what `batches` streams: a folder, or several that are mixed; check the files if the settings say so."""
    source = _opened(folders, part, settings)
    if settings.verify:
        require_as_written(source.files)
    return source


def _opened(folders: Folders, part: str, settings: Settings) -> PartArrays | Mixture:
    is_one = isinstance(folders, str | Path | Share)
    listed: Sequence[Folder] = [folders] if is_one else folders  # type: ignore[list-item, assignment]
    if not listed:
        raise ExpectedError("loader: no folder, expected at least one; give data/processed/<dataset>")
    if is_one and not isinstance(folders, Share) and settings.epoch_samples is None:
        return _source(folders, part, settings)  # type: ignore[arg-type]
    shares = [folder if isinstance(folder, Share) else Share(folder) for folder in listed]
    return Mixture(shares, part, settings)


def _source(folder: str | Path, part: str, settings: Settings) -> PartArrays:
    form = Form(settings.packed, settings.standardised, settings.ahead)
    return PartArrays(folder, part, settings.fields, settings.window, form)


def _takes(shares: Sequence[Share], sizes: Sequence[int], epoch_samples: int | None) -> list[int]:
    """Return the samples that an epoch takes from each source, which has so many, see the module."""
    if any((share.weight is None) != (shares[0].weight is None) for share in shares):
        missing = next(share.folder for share in shares if share.weight is None)
        raise ExpectedError(f"{missing}: no weight, expected one as others have it; give each Share a weight, or none")
    weights = [_exact(n if share.weight is None else share.weight) for share, n in zip(shares, sizes, strict=True)]
    weights = [weight / sum(weights) for weight in weights]
    total = min(n / weight for n, weight in zip(sizes, weights, strict=True))
    if epoch_samples is not None:
        total = Fraction(epoch_samples)
    takes = [math.floor(weight * total) for weight in weights]
    if 0 in takes:
        raise ExpectedError(
            f"{shares[takes.index(0)].folder}: an epoch of {math.floor(total)} samples has none of it, expected at "
            "least one; raise its weight or epoch_samples"
        )
    return takes


def _exact(number: float) -> Fraction:
    """Return a number as it is written: 0.1 is a tenth, not the binary number beside it."""
    return Fraction(str(number))
