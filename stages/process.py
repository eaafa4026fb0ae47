"""Turn the raw units of one batch into one NPZ of typed arrays.

In: data/manifests/<dataset>/batches/<batch>.json and the raw files it names.
Out: data/intermediate/<dataset>/<batch>.npz with one array per field of the dataset (rows in the order of the units'
keys, then as in the unit), and

- ``group_id`` uint64 (G,), ``group_offsets`` int64 (G+1,): the groups, whose rows are contiguous;
- ``source`` int32 (G,): the unit of each group, an index into the units of ``meta``;
- ``meta`` uint8: JSON with the batch, its units, the units left out with reasons, and the fields as in fields.json.

Units are encoded in chunks by workers of this process; results come back in order, so the bytes depend on neither
workers nor timing. With ``BACKEND=dask`` whole batches are made by the workers of a cluster.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stages.core import manifests, paths, units
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, load
from stages.processing import batch as batches
from stages.processing.batch import Advances, Bench, PlannedBatch
from stages.processing.cluster import Cluster, check_digest, is_asked_for
from stages.runtime import cli
from stages.runtime.display import Display, WorkerProgress
from stages.runtime.memory import Watch, share_heaps
from stages.runtime.memory_log import MemoryLog
from stages.runtime.workers import Threads, Workers, job_count

logger = logging.getLogger("batchwise")


def process(dataset: str, batch: str, params: DatasetParams) -> None:
    """Make the NPZ of one batch in this process.

    Raises
    ------
    BadUnit, ExpectedError
        As `stages.processing.batch.make`.
    """
    share_heaps()
    chosen = batches.read(dataset, batch, params)
    with MemoryLog("process", f"{dataset}-{batch}") as log:
        bench = Bench(log, lambda batch, room_mb: _shown(batch, room_mb, log.watch))
        batches.make(chosen, paths.intermediate(dataset, batch), bench, logger.warning)


@contextmanager
def _shown(batch: PlannedBatch, room_mb: float, watch: Watch) -> Iterator[tuple[Workers, Advances]]:
    """Give the workers of this process, and show what they do."""
    n_units = len(batch.whole.units)
    threads = Threads(job_count()) if is_asked_for() else None  # a cluster makes whole batches only
    with Workers("threading", room_mb, threads) as workers:
        progress = WorkerProgress(batch.title, units.noun(batch.whole.units), n_units, workers)
        with Display(progress, watch):
            yield workers, progress


def process_on_cluster(dataset: str, todo: Sequence[str], params: DatasetParams) -> Iterator[str]:
    """Have the workers of a cluster make some batches, all of them in flight at once; yield the name of each when done.

    Raises
    ------
    BadUnit, ExpectedError
        As `stages.processing.batch.make`; also when the cluster is lost.
    """
    what = f"{len(todo)} batches" if len(todo) > 1 else f"batch {todo[0]}"
    with Cluster({dataset: params}) as cluster:
        running = [cluster.begin(dataset, batch) for batch in todo]
        title = f"Processing {what} of {dataset} on a cluster"
        progress = WorkerProgress(title, "batches", len(todo), cluster)
        watch = Watch(str, lambda _: None, only_looks=True)
        with Display(progress, watch):
            for batch, one in zip(todo, running, strict=True):
                check_digest(paths.intermediate(dataset, batch), one.take())
                progress.advance(1, 0)
                yield batch


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.verb_parser("process", "Turn the raw units of a batch into data/intermediate/<dataset>/<batch>.npz.")
    parser.add_argument("batch", nargs="?", help="a batch id such as b01; default: every listed batch")
    arguments = parser.parse_args()
    dataset, finished = arguments.dataset, set[str]()

    def action() -> None:
        params = load().dataset(dataset)
        listed = manifests.read_batch_list(dataset)
        if arguments.batch and arguments.batch not in listed and "DVC_STAGE" in os.environ:
            _leave_placeholder(dataset, arguments.batch)
            return
        if not arguments.batch and not listed:
            where = paths.batch_list(dataset)
            raise ExpectedError(f"{where}: no batches, expected at least one; run discover first")
        todo = [arguments.batch] if arguments.batch else listed
        finished.update(batch for batch in listed if batch not in todo and paths.intermediate(dataset, batch).is_file())
        for batch in process_on_cluster(dataset, todo, params) if is_asked_for() else _each(dataset, todo, params):
            finished.add(batch)

    def kept() -> str:
        n_listed = len(manifests.read_batch_list(dataset))
        return f"{len(finished)} of {n_listed} batches of {dataset} are finished and kept"

    return cli.run(action, kept)


def _each(dataset: str, todo: Sequence[str], params: DatasetParams) -> Iterator[str]:
    """Make some batches in this process, one after the other; yield the name of each when done."""
    for batch in todo:
        process(dataset, batch, params)
        yield batch


def _leave_placeholder(dataset: str, batch: str) -> None:
    """Give DVC an empty file for a batch that the list named when this run began and no longer does.

    Merge removes it at the end of the same run.
    """
    logger.info("process %s-%s: no longer in the batch list, nothing to do", dataset, batch)
    path = paths.intermediate(dataset, batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


if __name__ == "__main__":
    sys.exit(main())
