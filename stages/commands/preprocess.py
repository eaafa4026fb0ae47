"""Run the whole pipeline and print what it made: the command behind `make preprocess`.

It makes the sample data that params.yaml asks for (with ``SIMULATE=no`` it takes the raw folders as they are), brings
the batch lists up to date, reads them again, so that the right batches are known, brings all stages behind them up to
date, and reads the table it prints from the logs of this run and from stats.json.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from stages.commands import witness
from stages.commands.repair import look_first
from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.merge_report import read_report
from stages.core.params import Params
from stages.discover import READ_AGAIN, refuse_missing, remove_vanished, vanished
from stages.pipeline import dvc, internals, lock, merges, side_by_side, verbs
from stages.processed import Processed
from stages.processing.cluster import Cluster, is_asked_for
from stages.report import cards
from stages.runtime import cli, memory_log
from stages.runtime.memory_log import LogEntry
from stages.runtime.text import printable

logger = logging.getLogger("batchwise")

COUNTS = ("units", "run", "reused", "train rows", "val rows", "test rows", "left out", "peak MB", "seconds")
COLUMNS = ("dataset", *COUNTS, "arrays")
NAMED = 20  # units left out that the terminal names
FAILURE = "dvc repro failed, see above; finished batches are kept, correct it and run again"


def preprocess(params: Params, datasets: Sequence[str]) -> None:
    """Bring the arrays of some datasets up to date.

    Raises
    ------
    ExpectedError
        When a stage fails; DVC and the stage have then said why.
    """
    merges.check()
    look_first(params, datasets)
    dvc.complete_params()
    witness.refuse_damaged()
    simulates = may_simulate()
    for dataset in datasets:
        if not (simulates and params.takes_sample(dataset)):
            refuse_missing(dataset, params.datasets[dataset])
        _begin_by_list(dataset)
    opens = partial(Cluster, params.datasets) if is_asked_for() else None
    with side_by_side.Reproducer(FAILURE, opens) as dvc_stages:
        with _lists_are_read_again():
            discovers = [verbs.stage_name("discover", dataset) for dataset in datasets]
            dvc_stages.repro(discovers, single_item=not simulates)
        for dataset in datasets:
            paths.list_changed_marker(dataset).unlink(missing_ok=True)  # of a `dvc repro` that did not end
            lock.tidy(dataset, manifests.read_batch_list(dataset))
        if simulates:
            dvc_stages.repro([verbs.stage_name("split", dataset) for dataset in datasets])
        else:
            stages = [stage for dataset in datasets for stage in _after_discover(dataset)]
            dvc_stages.repro(stages, single_item=True)
    for dataset in datasets:
        lock.tidy(dataset, manifests.read_batch_list(dataset))
    lock.keep_copy()
    witness.remember()


def _begin_by_list(dataset: str) -> None:
    """Remove what is of batches that are not listed; where there is no list, make an empty one, which DVC needs."""
    path = paths.batch_list(dataset)
    if not path.is_file():
        write_text(path, manifests.batch_list_text(dataset, {}))
    elif (batches := manifests.read_batch_list(dataset)) and vanished(dataset, batches):
        with contextlib.suppress(internals.DvcAtWork), internals.locked():  # another run may just be listing them
            remove_vanished(dataset, manifests.read_batch_list(dataset))  # a `dvc repro` keeps them until it is over


@contextlib.contextmanager
def _lists_are_read_again() -> Iterator[None]:
    """Let discover remove at once what vanished: no stage runs by the list of before."""
    os.environ[READ_AGAIN] = "yes"
    try:
        yield
    finally:
        del os.environ[READ_AGAIN]


def may_simulate() -> bool:
    """Say whether sample data may be made: the environment variable ``SIMULATE``, yes (or empty) or no.

    Raises
    ------
    ExpectedError
        When it is anything else.
    """
    value = os.environ.get("SIMULATE", "") or "yes"
    if value not in ("yes", "no"):
        raise ExpectedError(f"SIMULATE: {value!r}, expected yes or no; correct it")
    return value == "yes"


def _after_discover(dataset: str) -> list[str]:
    """Return the stages behind the list of a dataset, in order."""
    after = verbs.VERBS[verbs.VERBS.index("discover") + 1 :]
    return verbs.stage_names(after, dataset, manifests.read_batch_list(dataset))


def read_logs(since: float) -> list[LogEntry]:
    """Return the records of all stages that were written at or after `since` (s since the epoch)."""
    logs = sorted(paths.LOG_DIR.glob("*.jsonl"))
    return [record for path in logs for record in memory_log.records(path) if record.time >= since]


def table_row(dataset: str, entries: Sequence[LogEntry]) -> tuple[str, ...]:
    """Return what the table says of one dataset, as text, in the order of `COLUMNS`."""
    stats: dict[str, Any] = Processed(paths.processed_dir(dataset)).stats()
    mine = [entry for entry in entries if entry.name.partition("-")[0] == dataset]
    n_run = len({entry.name for entry in mine if entry.stage == "process" and entry.event == "end"})
    peak = f"{max(entry.number('peak_mb') or 0 for entry in mine):,.0f}" if mine else "-"
    where = f"{paths.processed_dir(dataset)}/"
    n_bad = f"{read_report(dataset)['bad_units']['count']:,}"
    n_reused = len(manifests.read_batch_list(dataset)) - n_run
    rows = [f"{count:,}" for count in stats["rows"].values()]
    return (
        dataset,
        f"{stats['units']:,}",
        str(n_run),
        str(n_reused),
        *rows,
        n_bad,
        peak,
        f"{_seconds(mine):.1f}",
        where,
    )


def left_out(dataset: str) -> list[str]:
    """Return the lines that say how many units of a dataset are left out, and why each is; none if none is."""
    bad = read_report(dataset)["bad_units"]
    if not bad["count"]:
        return []
    count = "1 unit is" if bad["count"] == 1 else f"{bad['count']:,} units are"
    lines = [f"{dataset}: {count} left out, see {paths.report(dataset)}:\n"]
    lines += [f"  {printable(one['unit'])}: {printable(one['reason'])}\n" for one in bad["list"][:NAMED]]
    n_more = len(bad["list"]) - NAMED
    return [*lines, f"  and {n_more:,} more\n"] if n_more > 0 else lines


def write_cards(datasets: Sequence[str]) -> None:
    """Bring the data card of each dataset up to date, so that none is committed that is of older arrays."""
    for dataset in datasets:
        path = paths.card(dataset)
        before = path.read_bytes() if path.is_file() else b""
        try:
            cards.write(dataset)
        except (ExpectedError, OSError) as error:
            logger.warning("preprocess: no data card: %s", error)
            continue
        if path.read_bytes() != before:
            logger.info("preprocess: %s is up to date now, commit it", path)


def planted(params: Params, dataset: str) -> list[str]:
    """Return the line that says that a sample holds defects on purpose, if it does."""
    simulated = params.simulate.get(dataset) or {}
    if not (params.takes_sample(dataset) and simulated.get("defects")):
        return []
    key = f"simulate.{dataset}.defects"
    return [
        f"{dataset}: its sample holds what goes wrong in real recordings, on purpose ({key}); lines above tell of it\n"
    ]


def _seconds(entries: Iterable[LogEntry]) -> float:
    """Return the seconds in which a stage was at work, one or several, from the first record of each to its last."""
    times: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        times.setdefault((entry.stage, entry.name), []).append(entry.time)
    return memory_log.busy_seconds((min(seen), max(seen)) for seen in times.values())


def layout(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first and the last to the left, the others, which are numbers, to the right."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0], cells[-1] = row[0].ljust(widths[0]), row[-1]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        started = time.time()
        preprocess(params, datasets)
        entries = read_logs(started)
        rows = [COLUMNS, *(table_row(dataset, entries) for dataset in datasets)]
        write_cards(datasets)
        total = time.time() - started
        sys.stdout.write(f"\n{layout(rows)}\n\n`run` and `reused` count batches, `left out` units. ")
        sys.stdout.write(f"In all {total:.1f} s, of which {total - _seconds(entries):.1f} s DVC and start-up.\n")
        sys.stdout.writelines(line for dataset in datasets for line in left_out(dataset))
        sys.stdout.writelines(line for dataset in datasets for line in planted(params, dataset))

    return cli.on_datasets("commands.preprocess", "Run the whole pipeline.", action)


if __name__ == "__main__":
    sys.exit(main())
