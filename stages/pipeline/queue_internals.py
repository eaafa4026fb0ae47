"""DVC's queue of experiments, through its private API; `stages.pipeline.experiments` is what the rest knows of it."""

import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class QueuedExperiment:
    """An entry of DVC's queue of experiments.

    Attributes
    ----------
    name, revision
        Its name, and the commit in which DVC keeps what is to be tried.
    status
        ``queued``, ``running`` or ``failed``; one that ended well is a git reference. What was in work when its worker
        was killed is "running" for ever.
    process
        Process id of what runs it, None before it begins.
    folder
        The temporary folder in which it runs, None before there is one.
    log
        What it says, if it has begun.
    """

    name: str
    revision: str
    status: str
    process: int | None
    folder: Path | None
    log: Path


def experiments_in_queue() -> list[QueuedExperiment]:
    """Return the entries of the queue that have not ended well; `dvc queue status` takes two seconds to say less."""
    from dvc.repo import Repo

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        # in the order in which one goes through them, so that none is in none of them
        entries = [("queued", entry) for entry in queue.iter_queued()]
        entries += [("running", entry) for entry in queue.iter_active()]
        entries += [("failed", done.entry) for done in queue.iter_failed()]
        runs = Path(repo.tmp_dir, "exps", "run")
    return [_queued(runs, status, entry) for status, entry in entries]


def _queued(runs: Path, status: str, entry: Any) -> QueuedExperiment:
    """Return an entry, with what the files of its run say."""
    files = runs / entry.stash_rev / entry.stash_rev
    process, folder = _json(files.with_suffix(".json")).get("pid"), _json(files.with_suffix(".run")).get("root_dir")
    place = Path(folder) if folder else None
    return QueuedExperiment(entry.name or "", entry.stash_rev, status, process, place, files.with_suffix(".out"))


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove_from_queue(revisions: Collection[str]) -> None:
    """Remove entries of the queue, also those that DVC calls running and that no process runs; no command does that."""
    from dvc.repo import Repo
    from dvc.repo.experiments.queue.remove import remove_tasks

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        chosen = []
        for message, entry in [*queue._iter_queued(), *queue._iter_processed()]:
            if entry.stash_rev not in revisions:
                continue
            chosen.append(entry)
            task = message.headers["id"]
            if not queue.celery.AsyncResult(task).ready():
                queue.celery.backend.mark_as_failure(task, None)
        remove_tasks(queue, chosen)


def let_worker_end() -> None:
    """Ask the worker of the queue to begin no other experiment; it ends behind the present one."""
    from dvc.repo import Repo

    with Repo() as repo:
        control = repo.experiments.celery_queue.celery.control
        logging.getLogger("kombu.connection").setLevel(logging.ERROR)  # it warns that no host was named
        control.shutdown()
