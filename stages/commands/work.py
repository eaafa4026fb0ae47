"""Build batches of a dataset together with other machines that share a remote.

Each worker goes through the batches in an order of its own. A batch whose run-cache entry and arrays are on the remote
has been built by somebody and is passed by. A batch that nobody has built is claimed by a small object on the remote,
built, and sent while the next one is built: its arrays first, then its run-cache entry. A batch that another
worker has claimed is looked at again later. A worker renews its claim while it builds, however long that takes; a claim
that stayed as it was for `CLAIM_SECONDS`, by the clock of the one who looks, is that of a worker that died, and is
taken over. When all batches are built, dvc.lock has all of them, in the order of a run on one machine, and `dvc repro
--pull` on any of the machines takes the arrays from the remote and runs only merge and split.

Claims only save time: two workers that build one batch make the same bytes.
"""

import contextlib
import logging
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stages.commands.repair import look_first
from stages.commands.work_batches import Builder, Sender
from stages.core import manifests, paths, units
from stages.core.params import Params
from stages.pipeline import dvc, internals, lock, verbs
from stages.pipeline.remote import RemoteStore
from stages.runtime import cli

logger = logging.getLogger("batchwise")

CLAIM_SECONDS = 60.0
RENEW_SECONDS = 10.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Remote:
    """The remote, as far as workers meet there: run-cache entries and claims, both by a stage's run-cache key.

    Attributes
    ----------
    seen
        By key what a claim said when it was last found changed, and when that was: machines' clocks differ.
    """

    fs: Any
    root: str
    worker: str
    seen: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def is_built(self, key: str) -> bool:
        """Say whether the remote holds a run-cache entry of a stage and the outputs that the entry names.

        `dvc push --run-cache` sends entries first, and also those of outputs that it does not send.
        """
        return self.entry(key) is not None

    def entry(self, key: str) -> dict[str, Any] | None:
        """Return the run-cache entry of a stage of which the remote has the outputs; None without one."""
        self.fs.fs.invalidate_cache()
        folder = self.fs.join(self.root, *internals.run_cache_parts(key))
        try:
            texts = [(path, self.fs.cat_file(path)) for path in sorted(self.fs.find(folder))]
        except FileNotFoundError:  # being written at this moment
            return None
        entries = [internals.parsed_entry(text, path) for path, text in texts]
        return next((entry for entry in entries if entry is not None and self._has_outputs(entry)), None)

    def _has_outputs(self, entry: Mapping[str, Any]) -> bool:
        """Say whether the remote has all bytes of what an entry names: a push that was killed may leave a part."""
        objects = [self.fs.join(self.root, *internals.object_parts(out["md5"])) for out in entry["outs"]]
        sizes = [out["size"] for out in entry["outs"]]
        return [internals.remote_size(self.fs, path) for path in objects] == sizes

    def claim(self, key: str) -> bool:
        """Claim a stage for this worker; say whether it is this worker's now."""
        if not self._is_mine(key) and self._is_renewed(key):
            return False
        self.fs.makedirs(self.fs.parent(self._path(key)), exist_ok=True)
        self._write(key)
        return self._is_mine(key)

    def release(self, key: str) -> None:
        """Give up this worker's claim."""
        if self._is_mine(key):
            self.fs.rm_file(self._path(key))

    @contextlib.contextmanager
    def renewing(self, key: str) -> Iterator[None]:
        """Renew this worker's claim in a thread, so that a batch that takes long is not built twice."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(key, is_over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _renew_until(self, key: str, is_over: threading.Event) -> None:
        while not is_over.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):  # the remote cannot be reached; it is tried again
                if self._is_mine(key):
                    self._write(key)

    def publish(self, key: str, entries: Path) -> None:
        """Copy the run-cache entries of a stage, files of the folder `entries`, to the remote."""
        folder = self.fs.join(self.root, *internals.run_cache_parts(key))
        for path in sorted(entries.iterdir()):
            internals.upload(path, self.fs, self.fs.join(folder, path.name))

    def store(self) -> RemoteStore:
        """Return the same remote as one that holds objects."""
        return RemoteStore(internals.remote_name(), self.fs, self.root)

    def _path(self, key: str) -> str:
        return str(self.fs.join(self.root, "claims", key))

    def _read(self, key: str) -> bytes | None:
        """Return what a claim says, which is nothing while it is being written; None without one."""
        try:
            return bytes(self.fs.cat_file(self._path(key)))
        except FileNotFoundError:
            return None

    def _write(self, key: str) -> None:
        self.fs.pipe_file(self._path(key), f"{self.worker} {time.time():.3f}".encode())

    def _is_mine(self, key: str) -> bool:
        return (self._read(key) or b"").startswith(f"{self.worker} ".encode())

    def _is_renewed(self, key: str) -> bool:
        """Say whether somebody holds a claim and renewed it within the last `CLAIM_SECONDS`, as seen from here."""
        claim, now = self._read(key), time.monotonic()
        if claim is None:
            return False
        before, since = self.seen.get(key, (None, now))
        if claim != before:
            self.seen[key] = (claim, now)
            return True
        return now - since < CLAIM_SECONDS


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
    record_all(remote, dataset, keys)
    logger.info(
        "work %s: all %d batches are built, %d of them here; next: dvc repro --pull", dataset, len(keys), n_built
    )
    return n_built


def bring_list_up_to_date(dataset: str) -> None:
    """Run discover and expand where they are out of date, without building a batch.

    When discover changed the list it leaves a note, and expand would build all batches by itself: the note is dropped,
    since the next DVC command reads the new list anyhow.
    """
    _dvc("repro", "--pull", verbs.stage_name("discover", dataset))
    paths.list_changed_marker(dataset).unlink(missing_ok=True)
    _dvc("repro", "--pull", verbs.stage_name("expand", dataset))


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
    with Builder(verbs.process_stages(dataset, keys)) as builder, Sender(remote.store()) as sender:
        while todo:
            batch = todo.popleft()
            if remote.is_built(keys[batch]):
                n_waiting = 0
            elif remote.claim(keys[batch]):
                logger.info("work %s: building %s, %d of %d batches left", dataset, batch, len(todo) + 1, len(keys))
                n_built += _build(remote, builder, sender, verbs.stage_name("process", dataset, batch), keys[batch])
                n_waiting = 0
            else:
                todo.append(batch)
                n_waiting += 1
                if n_waiting == len(todo):
                    logger.info("work %s: waiting for %d batches that others are building", dataset, len(todo))
                if n_waiting >= len(todo):
                    builder.rest()
                    time.sleep(POLL_SECONDS)
    return n_built


def _build(remote: Remote, builder: Builder, sender: Sender, stage: str, key: str) -> bool:
    """Build a stage that is claimed, and have it sent; say whether that was necessary, not done since the last look."""
    with contextlib.ExitStack() as held:
        held.callback(remote.release, key)
        if remote.is_built(key):
            return False
        held.enter_context(remote.renewing(key))
        built = builder.build(stage, key)
        later = held.pop_all()  # the claim is held until all is sent
    sender.send(built, partial(remote.publish, key), later)
    return True


def record_all(remote: Remote, dataset: str, keys: Mapping[str, str]) -> None:
    """Record in dvc.lock also the batches that others built, and put all into the order of a run on one machine."""
    entries = {verbs.stage_name("process", dataset, batch): remote.entry(key) for batch, key in keys.items()}
    with internals.locked():
        lock.add({stage: entry for stage, entry in entries.items() if entry is not None})
    lock.tidy(dataset, keys)
    lock.keep_copy()


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
    failure = f"dvc {' '.join(arguments)} failed, see above; what was built is kept"
    dvc.call(*arguments, failure=failure, shows_errors_only=True)


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        look_first(params, datasets)
        for dataset in datasets:
            work(dataset)

    description = "Build batches together with other machines that share a remote."
    return cli.on_datasets("commands.work", description, action)


if __name__ == "__main__":
    sys.exit(main())
