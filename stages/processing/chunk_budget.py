"""Cut a batch's units into chunks, as large and as many in flight as the memory budget allows.

What a chunk needs is taken as its raw bytes times an expansion, at first a guess on the high side, then what was
measured. Chunks and their number in flight never change a byte of an output.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stages.core.errors import ExpectedError
from stages.datasets.base import reads_whole
from stages.datasets.base.raw import raw_mb
from stages.processing.chunks import Chunk
from stages.runtime.memory import TARGET_SHARE, Watch, available_mb
from stages.runtime.workers import Workers

FIRST_EXPANSION = 50  # Splendor needs 8 to 12 times its raw bytes
MARGIN = 1.5  # for chunks that need more than those before


def room_mb(watch: Watch, spool_mb: float) -> float:
    """Return what workers and chunks may take beside this process and the results that stay in memory."""
    target_mb = min(TARGET_SHARE * watch.budget_mb, watch.usage.pss_mb + TARGET_SHARE * available_mb())
    return target_mb - watch.usage.pss_mb - spool_mb


class Pacer:
    """The chunks of a batch, and the account of the memory they need.

    Parameters
    ----------
    whole
        All units of the batch as one chunk.
    most_units
        Most units in a chunk: above it, chunks leave the processor's cache.
    workers
        Who encodes the chunks.
    watch
        Of this process tree.
    room_mb
        Memory for workers and chunks.
    """

    def __init__(self, whole: Chunk, most_units: int, workers: Workers, watch: Watch, room_mb: float) -> None:
        self._whole, self._most_units, self._watch = whole, most_units, watch
        self._n_workers = workers.n_workers
        self._sizes = [raw_mb(whole.raw_dir, unit) for unit in whole.units]
        self._base_mb = watch.usage.pss_mb + workers.memory_mb
        self._free_mb = room_mb - workers.memory_mb
        self._held_mb = 0.0
        self._in_flight: list[Chunk] = []
        self._most_excess_mb = self._most_in_work_mb = 0.0
        self.expansion: float = FIRST_EXPANSION

    def __iter__(self) -> Iterator[Chunk]:
        """Yield the chunks in order; the size of each is decided when it is asked for."""
        first = 0
        while first < len(self._sizes):
            n_units = self._n_units(first)
            chosen = self._whole.units[first : first + n_units]
            chunk = replace(self._whole, units=chosen, first=first, raw_mb=sum(self._sizes[first : first + n_units]))
            self._refuse_too_large(chunk)
            yield chunk
            self._in_flight.append(chunk)
            self._most_in_work_mb = max(self._most_in_work_mb, _raw_mb(self._in_flight[: self._n_workers]))
            first += n_units

    def has_room(self, chunk: Chunk) -> bool:
        """Say whether `chunk` may be in flight beside those that are."""
        planned_mb = self.expansion * (_raw_mb(self._in_flight) + chunk.raw_mb)
        soon_mb = self._watch.estimate_mb + self.expansion * chunk.raw_mb
        return planned_mb <= self._free_mb and soon_mb <= TARGET_SHARE * self._watch.budget_mb

    def done(self, held_mb: float) -> Chunk:
        """Note that the oldest chunk in flight came back, and that the results so far hold `held_mb`; return it."""
        chunk = self._in_flight.pop(0)
        excess = self._watch.take_peak_mb() - self._base_mb - self._held_mb
        self._most_excess_mb = max(self._most_excess_mb, excess)
        self._held_mb = held_mb
        if self._most_in_work_mb:
            self.expansion = max(1.0, MARGIN * self._most_excess_mb / self._most_in_work_mb)
        return chunk

    def doing(self) -> str:
        """Say which units are in flight, for an error."""
        keys = [unit.key for chunk in self._in_flight for unit in chunk.units]
        if not keys:
            return ""
        others = f" and {len(keys) - 1} others" if len(keys) > 1 else ""
        return f" with {keys[0]}{others} in work ({_raw_mb(self._in_flight):,.1f} MB raw)"

    def _n_units(self, first: int) -> int:
        """Return how many units the next chunk has: as many as need at most half of what is free, at least one."""
        total = 0.0
        sizes = self._sizes[first : first + self._most_units]
        for n_units, size in enumerate(sizes):
            total += size * self.expansion
            if n_units and total > self._free_mb / 2:
                return n_units
        return len(sizes)

    def _refuse_too_large(self, chunk: Chunk) -> None:
        """Refuse a unit that cannot fit: its raw bytes alone, which are read as a whole, exceed what is free."""
        free_mb = self._watch.budget_mb - self._base_mb - self._held_mb
        if len(chunk.units) == 1 and chunk.raw_mb > free_mb and reads_whole(chunk.dataset):
            where = self._whole.raw_dir / chunk.units[0].sources[0].path
            raise ExpectedError(
                f"{where}: {chunk.units[0].key} needs more than its {chunk.raw_mb:,.0f} MB, expected at most "
                f"{max(free_mb, 0):,.0f} MB of a budget of {self._watch.budget_mb:,.0f} MB; raise MEMORY_GB"
            )


def _raw_mb(chunks: Sequence[Chunk]) -> float:
    return sum(chunk.raw_mb for chunk in chunks)
