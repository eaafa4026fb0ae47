"""Build batches of a dataset together with other machines that share a remote.

Each worker goes through the batches in an order of its own. A batch whose run-cache entry and arrays are on the remote
has been built by somebody and is passed by. A batch that nobody has built is claimed by a small object on the remote,
built with `dvc repro --single-item`, and pushed: its arrays first, then its run-cache entry. A batch that another
worker has claimed is looked at again later; a claim older than `CLAIM_SECONDS` is that of a worker that died, and is
taken over. When all batches are built, `dvc repro --pull` on any of the machines takes them from the remote and runs
only merge and split.

Claims only save time: two workers that build one batch make the same bytes.
"""

import logging
import secrets
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stages.core import manifests, paths, units
from stages.pipeline import dvc, internals, verbs
from stages.runtime import cli

logger = logging.getLogger("batchwise")

CLAIM_SECONDS = 600.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Remote:
    """The remote, as far as workers meet there: run-cache entries and claims, both by a stage's run-cache key."""

    fs: Any
    root: str
    worker: str

    def is_built(self, key: str) -> bool:
        """Say whether the remote holds a run-cache entry of a stage and the outputs that the entry names.

        `dvc push --run-cache` sends entries first, and also those of outputs that it does not send.
        """
        self.fs.fs.invalidate_cache()
        folder = self.fs.join(self.root, *internals.run_cache_parts(key))
        try:
            entries = [yaml.safe_load(self.fs.cat_file(path)) for path in self.fs.find(folder)]
        except (FileNotFoundError, yaml.YAMLError):  # being written at this moment
            return False
        return any(self._has_outputs(entry) for entry in entries)

    def _has_outputs(self, entry: Any) -> bool:
        outputs = entry.get("outs", []) if isinstance(entry, dict) else []
        objects = [self.fs.join(self.root, *internals.object_parts(out["md5"])) for out in outputs]
        return bool(objects) and all(self.fs.exists(path) for path in objects)

    def claim(self, key: str) -> bool:
        """Claim a stage for this worker; say whether it is this worker's now."""
        path = self.fs.join(self.root, "claims", key)
        holder, since = self._read(path)
        if holder != self.worker and time.time() - since < CLAIM_SECONDS:
            return False
        self.fs.makedirs(self.fs.parent(path), exist_ok=True)
        self.fs.pipe_file(path, f"{self.worker} {time.time():.3f}".encode())
        return self._read(path)[0] == self.worker

    def release(self, key: str) -> None:
        """Give up this worker's claim."""
        path = self.fs.join(self.root, "claims", key)
        if self._read(path)[0] == self.worker:
            self.fs.rm_file(path)

    def publish(self, key: str, entries: Path) -> None:
        """Copy the run-cache entries of a stage, files of the folder `entries`, to the remote."""
        folder = self.fs.join(self.root, *internals.run_cache_parts(key))
        for path in sorted(entries.iterdir()):
            internals.upload(path, self.fs, self.fs.join(folder, path.name))

    def _read(self, path: str) -> tuple[str, float]:
        """Return who holds a claim and since when; nobody, and 0, without one."""
        try:
            holder, _, since = self.fs.cat_file(path).decode().partition(" ")
            return holder, float(since)
        except (FileNotFoundError, ValueError):
            return "", 0.0


def work(dataset: str) -> int:
    """Build batches until all of them are built; return how many this worker built.

    Raises
    ------
    ExpectedError
        When there is no remote, or a DVC command fails.
    """
    dvc.complete_params()
    remote = open_remote()
    bring_list_up_to_date(dataset)
    keys = run_cache_keys(dataset)
    n_built = build_all(remote, dataset, keys)
    logger.info(
        "work %s: all %d batches are built, %d of them here; next: dvc repro --pull", dataset, len(keys), n_built
    )
    return n_built


def bring_list_up_to_date(dataset: str) -> None:
    """Run discover and expand where they are out of date, without building a batch.

    When discover changed the list it leaves a note, and expand would build all batches by itself: the note is dropped,
    since the next DVC command reads the new list anyhow.
    """
    _dvc("repro", "--pull", "--quiet", verbs.stage_name("discover", dataset))
    paths.list_changed_marker(dataset).unlink(missing_ok=True)
    _dvc("repro", "--pull", "--quiet", verbs.stage_name("expand", dataset))


def build_all(remote: Remote, dataset: str, keys: Mapping[str, str]) -> int:
    """Build the batches that no other worker builds, until all are built; return how many were built here.

    Parameters
    ----------
    remote
        Where the workers meet.
    dataset
        Name of the dataset.
    keys
        Run-cache key of the process stage of each batch.
    """
    todo = deque(sorted(keys, key=lambda batch: units.key_hash(f"{remote.worker} {batch}")))
    n_waiting, n_built = 0, 0
    while todo:
        batch = todo.popleft()
        if remote.is_built(keys[batch]):
            n_waiting = 0
        elif remote.claim(keys[batch]):
            logger.info("work %s: building %s, %d of %d batches left", dataset, batch, len(todo) + 1, len(keys))
            n_built += _build(remote, verbs.stage_name("process", dataset, batch), keys[batch])
            n_waiting = 0
        else:
            todo.append(batch)
            n_waiting += 1
            if n_waiting == len(todo):
                logger.info("work %s: waiting for %d batches that others are building", dataset, len(todo))
            if n_waiting >= len(todo):
                time.sleep(POLL_SECONDS)
    return n_built


def _build(remote: Remote, stage: str, key: str) -> bool:
    """Build and push a stage that is claimed; say whether that was necessary, and not done since the last look."""
    try:
        if remote.is_built(key):
            return False
        _dvc("repro", "--pull", "--single-item", "--quiet", stage)
        _dvc("push", "--quiet", stage)
        remote.publish(key, internals.run_cache_entries(stage, key))
        return True
    finally:
        remote.release(key)


def run_cache_keys(dataset: str) -> dict[str, str]:
    """Return per batch the key under which DVC's run cache knows its process stage, with its inputs as they are now."""
    keys = internals.run_cache_keys(verbs.process_stages(dataset, manifests.read_batch_list(dataset)))
    return {verbs.parsed(stage).batch: key for stage, key in keys.items()}


def open_remote() -> Remote:
    """Open the default remote.

    Raises
    ------
    ExpectedError
        When no remote is set.
    """
    fs, root = internals.default_remote()
    return Remote(fs, root, secrets.token_hex(4))


def _dvc(*arguments: str) -> None:
    dvc.call(*arguments, failure=f"dvc {' '.join(arguments)} failed, see above; what was built is kept")


def main() -> int:
    """Run the command."""
    description = "Build batches together with other machines that share a remote."
    return cli.each_dataset("commands.work", description, lambda params, dataset: work(dataset))


if __name__ == "__main__":
    sys.exit(main())
