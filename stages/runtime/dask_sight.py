"""What the scheduler of a Dask cluster says of its workers at one moment: which are heard of, and what they have.

A worker that runs sends the scheduler a heartbeat, every half second on a small cluster and every 11 s on one of 2,000.
One that was stopped, hangs or is cut off does not, and the scheduler itself waits five minutes before it gives its work
to others. So a worker whose last heartbeat is `SILENT_S` older than the newest of all is taken for silent here. Both
times are the scheduler's own: no clock of another machine counts, and after a pause of the scheduler nobody is blamed.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

SILENT_S = 15.0

Key = tuple[str, int, str]  # of a task: the run, a number, what tells its item from others


@dataclass(frozen=True)
class Sight:
    """The workers of a cluster, by address.

    Attributes
    ----------
    last_seen
        When the scheduler last heard of each, in s since the epoch by its clock.
    processing
        The run's tasks that each was given and has not done, in the order of their numbers.
    held
        The run's tasks whose results lie in the memory of each.
    """

    last_seen: Mapping[str, float]
    processing: Mapping[str, list[Key]]
    held: Mapping[str, list[Key]]

    def newest(self, left_out: Collection[str] = ()) -> float:
        """Return the latest heartbeat of any worker but some; 0 without one."""
        return max((seen for worker, seen in self.last_seen.items() if worker not in left_out), default=0.0)

    def silence(self) -> dict[str, float]:
        """Return the silent workers, and for how many s nothing was heard of each."""
        newest = self.newest()
        return {worker: newest - seen for worker, seen in self.last_seen.items() if newest - seen > SILENT_S}

    def tasks(self, worker: str) -> list[Key]:
        """Return the run's tasks that nobody but one worker can answer for."""
        return [*self.processing.get(worker, ()), *self.held.get(worker, ())]


async def look(scheduler: Any, run: str) -> Sight:
    """Ask a scheduler; tasks of others on the same cluster are none of our business.

    Parameters
    ----------
    scheduler
        A client's connection to it.
    run
        The first word of the keys of the run's tasks.
    """
    identity, processing, held = await asyncio.gather(
        scheduler.identity(n_workers=-1), scheduler.processing(workers=None), scheduler.has_what(workers=None)
    )
    last_seen = {worker: float(about["last_seen"]) for worker, about in sorted(identity["workers"].items())}
    return Sight(last_seen, _ours(processing, run), _ours(held, run))


def _ours(keys_of: Mapping[str, Collection[Any]], run: str) -> dict[str, list[Key]]:
    return {
        worker: sorted(tuple(key) for key in keys if isinstance(key, tuple | list) and key[0] == run)
        for worker, keys in sorted(keys_of.items())
    }
