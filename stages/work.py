"""Build the batches of a dataset together with other machines that share a remote.

Each worker goes through the batches in an order of its own. A batch whose run-cache entry is on the remote has been
built by somebody and is passed by. A batch that nobody has built is claimed by a small object on the remote, built with
`dvc repro --single-item`, and pushed with its run-cache entry. A batch that another worker has claimed is looked at
again later; a claim older than `CLAIM_SECONDS` is that of a worker that died, and is taken over. When all batches are
built, `dvc repro --pull` on any machine takes them from the remote and runs only merge and split.

Claims only save time: two workers that begin one batch at the same moment make the same bytes.
"""

import argparse
import logging
import secrets
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from stages import cli, units
from stages.errors import ExpectedError
from stages.params import load

logger = logging.getLogger("batchwise")

CLAIM_SECONDS = 600.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Board:
    """The remote, as far as workers meet there: run-cache entries and claims, both by a stage's run-cache key."""

    fs: Any
    root: str
    worker: str

    def is_built(self, key: str) -> bool:
        """Say whether somebody has pushed the run-cache entry of a stage."""
        return bool(self.fs.exists(self.fs.join(self.root, "runs", key[:2], key)))

    def claim(self, key: str) -> bool:
        """Claim a stage for this worker; say whether it is this worker's now."""
        path = self.fs.join(self.root, "claims", key)
        holder, since = self._read(path)
        if holder != self.worker and time.time() - since < CLAIM_SECONDS:
            return False
        self.fs.makedirs(self.fs.parent(path), exist_ok=True)
        self.fs.pipe_file(path, f"{self.worker} {time.time():.3f}".encode())
        return self._read(path)[0] == self.worker

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
    _dvc("repro", "--pull", "--quiet", f"expand@{dataset}")
    keys = run_cache_keys(dataset)
    board = open_board()
    order = sorted(keys, key=lambda batch: units.key_hash(f"{board.worker} {batch}"))
    todo, n_waiting, n_built = deque(order), 0, 0
    while todo:
        batch = todo.popleft()
        if board.is_built(keys[batch]):
            n_waiting = 0
            continue
        if not board.claim(keys[batch]):
            todo.append(batch)
            n_waiting += 1
            if n_waiting >= len(todo):
                time.sleep(POLL_SECONDS)
            continue
        logger.info("work %s: building %s, %d of %d batches left", dataset, batch, len(todo), len(keys))
        _dvc("repro", "--single-item", "--quiet", f"process@{dataset}-{batch}")
        _dvc("push", "--run-cache", "--quiet", f"process@{dataset}-{batch}")
        n_built, n_waiting = n_built + 1, 0
    logger.info(
        "work %s: all %d batches are built, %d of them here; next: dvc repro --pull", dataset, len(keys), n_built
    )
    return n_built


def run_cache_keys(dataset: str) -> dict[str, str]:
    """Return per batch the key under which DVC's run cache knows its process stage, with its inputs as they are now."""
    from dvc.repo import Repo  # DVC's import costs 0.4 s, which --help need not pay
    from dvc.stage.cache import _get_stage_hash  # internal; dvc is pinned, and a test builds with it

    keys = {}
    with Repo() as repo:
        for batch in units.read_batch_list(dataset):
            stage = repo.stage.load_one("dvc.yaml", f"process@{dataset}-{batch}")
            stage.save_deps()
            keys[batch] = _get_stage_hash(stage)
    return keys


def open_board() -> Board:
    """Open the default remote.

    Raises
    ------
    ExpectedError
        When no remote is set, or it cannot hold a run cache.
    """
    from dvc.config import RemoteConfigError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            odb = repo.cloud.get_remote_odb(None, "work", hash_name="md5-dos2unix")
    except RemoteConfigError as error:
        raise ExpectedError(f"no remote that workers can share ({error}); set one with `make remote URL=...`") from None
    return Board(odb.fs, odb.path, secrets.token_hex(4))


def _dvc(*arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode:
        raise ExpectedError(f"dvc {' '.join(arguments)} failed, see above; what was built is kept")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.work", description="Build batches together with other machines that share a remote."
    )
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        for dataset in chosen or sorted(params.datasets):
            params.dataset(dataset)
            work(dataset)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
