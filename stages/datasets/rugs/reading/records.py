"""Records, more than memory holds: kept in a file without a name, and given back sorted, each once.

They are sorted in runs as they come, and the runs are merged session by session; so memory holds one run, or a block of
each. A run has 65,536 records, some 5 MB; of a small store 1 MB stays in memory before a file is made.
"""

import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from stages.core.files import write_all

RUN_RECORDS: Final = 1 << 16
BLOCK_RECORDS: Final = 1 << 15  # read at a time, of all runs together
LEAST_BLOCK: Final = 512  # of one run
MEMORY_BYTES: Final = 1 << 20
TEMPORARY_DIR: Final = Path(".dvc/tmp")  # on the disk of the data; elsewhere TMPDIR says where


class Records:
    """Records of one dtype, in the order they were added; the file goes with the object."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        folder = str(TEMPORARY_DIR) if TEMPORARY_DIR.is_dir() else None
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=folder)  # noqa: SIM115 - closed with the object
        weakref.finalize(self, self._file.close)
        self._n_records = 0

    def __len__(self) -> int:
        """Return how many records there are."""
        return self._n_records

    def add(self, records: np.ndarray) -> None:
        """Append records."""
        self._file.seek(0, 2)
        write_all(self._file, np.ascontiguousarray(records).view(np.uint8).data)
        self._n_records += len(records)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the records `start` to `stop`."""
        self._file.seek(start * self.dtype.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self.dtype.itemsize), self.dtype)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yield the records `start` to `stop`, all of them by default, some at a time."""
        stop = len(self) if stop is None else stop
        for first in range(start, stop, BLOCK_RECORDS):
            yield self.read(first, min(first + BLOCK_RECORDS, stop))


class Sorter:
    """Sorts records by session, seq and further keys; of those with the same keys the one that came first stays.

    Parameters
    ----------
    dtype
        Of a record; has the fields `session`, code of it, and `seq`.
    keys
        Names of the further keys.
    """

    def __init__(self, dtype: np.dtype, keys: Sequence[str] = ()) -> None:
        self._records, self._keys = Records(dtype), ("session", "seq", *keys)
        self._waiting, self._n_waiting = list[np.ndarray](), 0
        self._slices: dict[int, list[tuple[int, int]]] = defaultdict(list)

    def __len__(self) -> int:
        """Return how many records were added."""
        return len(self._records) + self._n_waiting

    def add(self, records: np.ndarray) -> None:
        """Take records."""
        self._waiting.append(records)
        self._n_waiting += len(records)
        if self._n_waiting >= RUN_RECORDS:
            self._write_run()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all records, in some order."""
        self._write_run()
        return self._records.blocks()

    def merged(self, sessions: Iterable[int], left_out: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Yield the records session by session, each once; those whose `file` is left out are as if never added."""
        self._write_run()
        waiting, n_waiting = list[np.ndarray](), 0
        for session in sessions:
            for block in self._merged_session(self._slices.get(session, [])):
                kept = block[~np.isin(block["file"], left_out)] if left_out else block
                waiting.append(kept[_is_first(kept, self._keys)])
                n_waiting += len(waiting[-1])
                if n_waiting >= BLOCK_RECORDS:
                    yield np.concatenate(waiting)
                    waiting, n_waiting = [], 0
        if n_waiting:
            yield np.concatenate(waiting)

    def _write_run(self) -> None:
        """Sort what waits and append it to the file; note where each session lies in it."""
        if not self._n_waiting:
            return
        run = np.concatenate(self._waiting)
        self._waiting, self._n_waiting = [], 0
        run = run[np.lexsort([run[key] for key in self._keys[::-1]])]
        starts = np.flatnonzero(np.diff(run["session"], prepend=-1))
        stops = np.append(starts[1:], len(run))
        for code, start, stop in zip(run["session"][starts].tolist(), starts.tolist(), stops.tolist(), strict=True):
            self._slices[code].append((len(self._records) + start, len(self._records) + stop))
        self._records.add(run)

    def _merged_session(self, slices: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
        """Yield the records of one session in order; those with the same seq come together."""
        size = usual = max(LEAST_BLOCK, BLOCK_RECORDS // max(1, len(slices)))
        places = [start for start, _ in slices]
        heads = [np.empty(0, self._records.dtype) for _ in slices]
        while True:
            # Fill up what is at hand of each run.
            for i, (_, stop) in enumerate(slices):
                missing = min(size - len(heads[i]), stop - places[i])
                if missing > 0:
                    heads[i] = np.concatenate([heads[i], self._records.read(places[i], places[i] + missing)])
                    places[i] += missing
            # Below the lowest end of a run that goes on, all records are at hand.
            ends = [
                head["seq"][-1] for head, place, (_, stop) in zip(heads, places, slices, strict=True) if place < stop
            ]
            cuts = [np.searchsorted(head["seq"], min(ends)) if ends else len(head) for head in heads]
            parts = [head[:cut] for head, cut in zip(heads, cuts, strict=True) if cut]
            heads = [head[cut:] for head, cut in zip(heads, cuts, strict=True)]
            if parts:
                yield self._sorted(parts)
            size = usual if parts else 2 * size
            if not ends:
                return

    def _sorted(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        if len(parts) == 1:
            return parts[0]
        joined = np.concatenate(parts)
        return joined[np.lexsort([joined[key] for key in self._keys[::-1]])]


def _is_first(records: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Tell which sorted records differ from the one before in a key, bool (N,)."""
    result = np.ones(len(records), bool)
    result[1:] = np.logical_or.reduce([records[key][1:] != records[key][:-1] for key in keys])
    return result
