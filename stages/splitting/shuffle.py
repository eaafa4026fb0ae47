"""Put the rows of every part into the order of a hash, in bounded memory: a bucket shuffle in two passes.

A row's hash is 64 bits, made of (seed, group id, row within the group). Within a part rows come by rising hash; rows of
one hash by group id, then row. Buckets are the leading bits of the hash, so one after the other, each in order, they
are the whole part in order:

1. A counting pass over the group table alone gives each row's bucket, and so the size and place of each bucket.
2. A field is read in the merged order, a chunk at a time. Each chunk is sorted by bucket, and its rows are written, as
   the bytes they are, to their buckets' regions of one temporary file, in runs as long as memory allows.
3. The file is read bucket by bucket, from front to back. A bucket's rows are put in order by a permutation that was
   made once, from the hashes themselves, which went the same way; then they are given to split like merged rows.

**Same bytes.** The order is a function of (seed, group ids, numbers of rows) alone: hash, group id and row within the
group tell any two rows apart, and none of them depends on where a row lay before. So the bytes are the same for any
memory budget, number of buckets, chunk size, JOBS, and for any batch_size of the stages before. (Only the standardised
columns of float features may differ in a last digit with batch_size: their mean is taken in merged order.) A group that
is added or removed leaves all others in their order.

**Killed and run again.** Nothing is carried from one run to the next, so there is no state from which a second run
could go on wrongly. The temporary files have no name: the system frees them with the process that opened them, however
it ends. What was written lies in the folder of `arrays.atomic_dir`, which takes the place of the old one when all is
done.

**Spread.** The hash is a fixed function that behaves like a random number, drawn for each row apart from all others. So
of a group's k rows a given 1 % of a part is expected to hold k / 100, and holds more than m with the probability that a
binomial variable of (k, 1/100) exceeds m: of 60 rows more than 5 once in 32,000. That is what a random shuffle gives,
and no more: no least distance is promised, two rows of one game may be neighbours, and of millions of groups some are
as uneven as one in millions is. The order is the same in every epoch; the loader shuffles anew.

**Memory.** Beside the group table, the buffers of one chunk or of one bucket: about `working_bytes` each. A bucket
takes more only when a part has more rows than 2**14 buckets can hold, 500 GB for 64 MB. Disk, while it runs: 6 bytes a
row, and a copy of one field, or 16 bytes a row, at a time.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np

from stages.core import arrays, merged_files
from stages.core.errors import ExpectedError
from stages.core.files import read_fully, write_all
from stages.core.hashing import GOLDEN, mix, numbers, seeded
from stages.core.part_files import PARTS
from stages.splitting.parts import SCALAR_CHUNK_ROWS, Merged

BUDGET_SHARE = 0.2  # of the memory budget, for one bucket
MOST_BYTES = 64 << 20  # 20 million rows of 52 bytes took 7.0 s of CPU, with 128 MB 8.8 s, with 512 MB 12.9 s
MOST_BITS = 14  # with the part, a bucket's number is 16 bits, which NumPy sorts by radix: 5 ns a row
RECORD = np.dtype([("hash", np.uint64), ("row", np.int64)])
ORDER_BYTES = 40  # a row's, while its bucket is put in order: record, hash, argsort, flags, place
CHUNK_BYTES = 64  # a row's, beside its own bytes, while a chunk is hashed or dealt


def working_bytes(budget_mb: float) -> int:
    """Return how many bytes the buffers of one bucket may take."""
    return max(1, min(int(BUDGET_SHARE * budget_mb * 2**20), MOST_BYTES))


def group_states(group_id: np.ndarray, seed: int) -> np.ndarray:
    """Return where each group's stream of hashes begins, uint64 (G,).

    Mixed once more than for the part of a group, so that within a part, too, the hashes take all values.
    """
    return mix(mix(seeded(group_id, seed)) + np.uint64(GOLDEN))


def row_hashes(states: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the hashes of rows.

    Parameters
    ----------
    states
        uint64 (N,), the state of each row's group.
    row
        int64 (N,), from 0 within the group.

    Returns
    -------
    ndarray
        uint64 (N,).
    """
    return numbers(states, row)


def first_out_of_order(group_id: np.ndarray, row: np.ndarray, seed: int) -> int | None:
    """Return the first row of a part that does not come after the one before it; None if all do.

    Parameters
    ----------
    group_id
        uint64 (N,).
    row
        int64 (N,), within the group.
    """
    hashes = row_hashes(group_states(group_id, seed), row)
    for before in np.flatnonzero(hashes[1:] <= hashes[:-1]).tolist():
        first, second = ((hashes[i], group_id[i], row[i]) for i in (before, before + 1))
        if first >= second:
            return int(before) + 1
    return None


@dataclass(frozen=True)
class Buckets:
    """The buckets of all parts, and the files that lead rows through them.

    Attributes
    ----------
    folder
        Where the temporary files of the fields go.
    working_bytes
        What a chunk may take.
    numbers
        File of uint16 (N,): the bucket of each row, in merged order.
    places
        File of uint32 (N,): which row of its bucket comes at each place, in the final order.
    sizes
        int64 (parts * buckets of a part,): the rows of each bucket, part by part.
    """

    folder: Path
    working_bytes: int
    numbers: IO[bytes]
    places: IO[bytes]
    sizes: np.ndarray

    def chunk_rows(self, kind: np.dtype) -> int:
        """Return how many rows of one kind may be dealt at once."""
        return max(1, self.working_bytes // (2 * kind.itemsize + CHUNK_BYTES))

    def dealt(self, chunks: Iterable[np.ndarray], kind: np.dtype) -> Iterator[np.ndarray]:
        """Yield the rows of each bucket, in merged order, in a buffer that is used again.

        Parameters
        ----------
        chunks
            All rows in merged order.
        kind
            Dtype and shape of a row.
        """
        with tempfile.TemporaryFile(dir=self.folder) as file:
            n_bytes = int(self.sizes.sum()) * kind.itemsize
            if n_bytes and hasattr(os, "posix_fallocate"):  # macOS has none
                os.posix_fallocate(file.fileno(), 0, n_bytes)  # a full disk shows before the work
            self._deal(file, chunks, kind)
            file.seek(0)
            buffer = np.empty(int(self.sizes.max()), kind)
            for size in self.sizes.tolist():
                _read(file, buffer[:size])
                yield buffer[:size]

    def in_order(
        self, chunks: Iterable[np.ndarray], kind: np.dtype, chunk_rows: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows in the final order, at most `chunk_rows` at a time, with the part of each row, uint8."""
        ordered, start = np.empty(int(self.sizes.max()), kind), 0
        for number, rows in enumerate(self.dealt(chunks, kind)):
            places = np.empty(len(rows), np.uint32)
            self.places.seek(start * places.itemsize)
            _read(self.places, places)
            ready = _take(rows, places, ordered)
            parts = np.full(min(chunk_rows, len(rows)), number * len(PARTS) // len(self.sizes), np.uint8)
            for low in range(0, len(rows), chunk_rows):
                chunk = ready[low : low + chunk_rows]
                yield chunk, parts[: len(chunk)]
            start += len(rows)

    def _deal(self, file: IO[bytes], chunks: Iterable[np.ndarray], kind: np.dtype) -> None:
        """Write each row into its bucket's region of the file, behind those that are there."""
        self.numbers.seek(0)
        ends = (np.cumsum(self.sizes) - self.sizes) * kind.itemsize
        buffer = np.empty(min(self.chunk_rows(kind), int(self.sizes.sum())), kind)
        for rows in chunks:
            numbers = np.empty(len(rows), np.uint16)
            _read(self.numbers, numbers)
            ready = _take(rows, np.argsort(numbers, kind="stable"), buffer)
            counts = np.bincount(numbers)
            low = 0
            for number in np.flatnonzero(counts).tolist():
                run = ready[low : low + int(counts[number])]
                file.seek(int(ends[number]))
                write_all(file, _bytes_of(run))
                ends[number] += run.nbytes
                low += len(run)


@dataclass(frozen=True)
class Shuffled(Merged):
    """A merged dataset whose rows come part by part in the order of their hash."""

    buckets: Buckets

    def chunks(self, name: str, chunk_rows: int = SCALAR_CHUNK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a field's rows, each chunk with the part of each of its rows, uint8."""
        path = self.folder / merged_files.array(name)
        header = arrays.npy_header(path)
        if header.shape[0] != int(self.offsets[-1]):
            found = f"{header.shape[0]:,} rows, expected {int(self.offsets[-1]):,} as in {merged_files.GROUPS}"
            raise arrays.DamagedFile(f"{path}: {found}; remove it and run `dvc repro`")
        kind = np.dtype((header.dtype, header.shape[1:]))
        chunks = self.stored(name, self.buckets.chunk_rows(kind))
        return self.buckets.in_order(chunks, kind, chunk_rows)

    def derived(self, name: str, chunk_rows: int = SCALAR_CHUNK_ROWS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield a key that the group table gives, as `chunks` does a field."""
        kind = self.derived_dtype(name)
        chunks = Merged.derived(self, name, self.buckets.chunk_rows(kind))
        return self.buckets.in_order((rows for rows, _ in chunks), kind, chunk_rows)


@contextmanager
def shuffled(merged: Merged, seed: int, folder: Path, working_bytes: int) -> Iterator[Shuffled]:
    """Give the rows of a merged dataset in the order of their hash.

    Units are numbered by their keys, since the merged order of units depends on the size of the batches.

    Parameters
    ----------
    merged
        The dataset, its parts assigned by group.
    seed
        Of the hash.
    folder
        Where temporary files may be.
    working_bytes
        What the buffers of a chunk or bucket may take.
    """
    by_key = np.argsort(merged.units)
    number = np.empty(len(by_key), merged.source.dtype)
    number[by_key] = np.arange(len(by_key))
    named = replace(merged, units=merged.units[by_key], source=number[merged.source])
    states = group_states(merged.group_id, seed)
    with tempfile.TemporaryFile(dir=folder) as numbers, tempfile.TemporaryFile(dir=folder) as places:
        sizes = _count(merged, states, _bits(merged, working_bytes), numbers)
        buckets = Buckets(folder, working_bytes, numbers, places, sizes)
        for records in buckets.dealt(_records(merged, states, buckets.chunk_rows(RECORD)), RECORD):
            write_all(places, _bytes_of(_places(merged, records)))
        yield Shuffled(**vars(named), buckets=buckets)


def _bits(merged: Merged, working_bytes: int) -> int:
    """Return how many leading bits of the hash are a bucket's number, so that a bucket's buffers fit."""
    bytes_per_row = max(ORDER_BYTES, *(2 * field.row_bytes + 4 for field in merged.fields))
    n_buckets = -(-max(merged.n_rows()) * bytes_per_row // working_bytes)
    return min(max(0, n_buckets - 1).bit_length(), MOST_BITS)


def _count(merged: Merged, states: np.ndarray, n_bits: int, numbers: IO[bytes]) -> np.ndarray:
    """Write the bucket of each row; return the rows of each bucket."""
    sizes = np.zeros(len(PARTS) << n_bits, np.int64)
    for start in range(0, int(merged.offsets[-1]), SCALAR_CHUNK_ROWS):
        group, row = merged.places(start, start + SCALAR_CHUNK_ROWS)
        leading = row_hashes(states[group], row) >> np.uint64(64 - n_bits)  # NumPy shifts by 64 to 0
        number = (merged.part[group].astype(np.uint16) << n_bits) + leading.astype(np.uint16)
        write_all(numbers, _bytes_of(number))
        sizes += np.bincount(number, minlength=len(sizes))
    return sizes


def _records(merged: Merged, states: np.ndarray, chunk_rows: int) -> Iterator[np.ndarray]:
    """Yield hash and merged row of all rows in merged order."""
    for start in range(0, int(merged.offsets[-1]), chunk_rows):
        group, row = merged.places(start, start + chunk_rows)
        records = np.empty(len(row), RECORD)
        records["hash"] = row_hashes(states[group], row)
        records["row"] = np.arange(start, start + len(row))
        yield records


def _places(merged: Merged, records: np.ndarray) -> np.ndarray:
    """Return the order of a bucket's rows, uint32: by hash, group id and row within the group."""
    order = np.argsort(records["hash"])
    hashes = records["hash"][order]
    is_same = hashes[1:] == hashes[:-1]
    if is_same.any():
        tied = np.flatnonzero(np.append(is_same, False) | np.append(False, is_same))
        among = order[tied]
        row = records["row"][among]
        group = np.searchsorted(merged.offsets, row, side="right") - 1
        order[tied] = among[np.lexsort((row - merged.offsets[group], merged.group_id[group], hashes[tied]))]
    return order.astype(np.uint32)


def _take(rows: np.ndarray, order: np.ndarray, buffer: np.ndarray) -> np.ndarray:
    """Return the rows in an order, in the buffer. Without clip NumPy takes them through a second buffer."""
    return np.take(rows, order, axis=0, out=buffer[: len(rows)], mode="clip")


def _bytes_of(rows: np.ndarray) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data


def _read(file: IO[bytes], rows: np.ndarray) -> None:
    """Fill the array from the file, which is the stage's own."""
    if read_fully(file, _bytes_of(rows)) != rows.nbytes:
        raise ExpectedError(f"shuffle: its own file ends early, expected {rows.nbytes:,} more bytes; run `dvc repro`")
