"""Make one `dvc repro` enough when the list of batches changed while it ran.

DVC reads dvc.yaml, and with it the batch list, before the first stage runs; batches that discover then adds are not in
the plan. If discover left its note, this stage runs `dvc repro --single-item` for the batches of the new list; the
outer run, and every later one, finds them in DVC's run cache. It also takes the batches that are no more out of
dvc.lock and puts the other entries into one order, so that the file does not depend on history. Then it copies the
list.

In: data/manifests/<dataset>/batches.yaml. Out: data/manifests/<dataset>/expanded.yaml, the list that merge reads.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core import manifests, paths
from stages.core.errors import ExpectedError
from stages.core.files import write_text
from stages.core.params import load
from stages.runtime import cli
from stages.runtime.signals import die_with_parent

LOCK = Path("dvc.lock")
LOCK_ORDER = ("simulate", "discover", "process", "expand", "merge", "split")  # that of a first run
EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"  # of the placeholder that process leaves for a batch that is no more


def expand(dataset: str) -> None:
    """Build the batches that the running DVC does not know of, then copy the batch list.

    Raises
    ------
    ExpectedError
        When the nested run fails.
    """
    batches = manifests.read_batch_list(dataset)
    marker = paths.list_changed_marker(dataset)
    tidy_lock(dataset, batches)  # before the nested run, which must not take a placeholder from the run cache
    if marker.exists():
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        stages = [f"process@{dataset}-{batch}" for batch in batches]
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", *stages]
        if subprocess.run(command, env=environment, check=False, preexec_fn=die_with_parent).returncode:
            raise ExpectedError(
                f"{dataset}: the batches of the changed list failed, see above; correct it, `dvc repro`"
            )
        marker.unlink()
    tidy_lock(dataset, batches)
    write_text(paths.expanded(dataset), manifests.batch_list_text(dataset, batches))


def tidy_lock(dataset: str, batches: Collection[str]) -> None:
    """Make dvc.lock independent of history: drop batches that are no more, put the rest into the order of a first run.

    DVC keeps the entries of such batches, and reads them, for ever. It reads the file anew after each stage, so it may
    be changed while a stage runs.

    Placeholders are forgotten in DVC's run cache as well: they were made from the manifest of a batch that may come
    back, and DVC would take them for its arrays.
    """
    text = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    names = re.findall(r"^  (\S+@\S+):$", text, re.MULTILINE)
    rank = _rank(list(load().datasets))
    gone = [name for name in names if _batch(name, dataset) not in (None, *batches)]
    if not gone and EMPTY_MD5 not in text and names == sorted(names, key=rank):
        return
    from dvc.utils.serialize import modify_yaml  # DVC's import costs 0.4 s

    with modify_yaml(LOCK) as lock:
        stages = lock["stages"]
        placeholders = [name for name in stages if _batch(name, dataset) and _is_placeholder(stages[name])]
        _forget([stages[name] for name in placeholders])
        for name in {*gone, *placeholders}:
            del stages[name]
        for name in sorted(stages, key=rank):
            stages[name] = stages.pop(name)


def _batch(stage: str, dataset: str) -> str | None:
    """Return the batch of a process stage of the dataset, None for any other stage."""
    match = re.fullmatch(rf"process@{re.escape(dataset)}-(b[01]*)", stage)
    return match and match[1]


def _rank(datasets: Sequence[str]) -> Callable[[str], tuple[int, int, str]]:
    """Return the sort key of stage names in dvc.lock: verb, then dataset as in params.yaml, then batch."""

    def rank(stage: str) -> tuple[int, int, str]:
        verb, _, item = stage.partition("@")
        owner = item.rpartition("-")[0] if verb == "process" else item
        places = ((*LOCK_ORDER, verb).index(verb), (*datasets, owner).index(owner))
        return (*places, item)

    return rank


def _is_placeholder(entry: Mapping[str, Any]) -> bool:
    return any(out.get("md5") == EMPTY_MD5 for out in entry["outs"])


def _forget(entries: Sequence[Mapping[str, Any]]) -> None:
    """Remove entries of dvc.lock from DVC's run cache."""
    if not entries:
        return
    from dvc.repo import Repo
    from dvc.stage.cache import _get_cache_hash  # internal; dvc is pinned, and a test shrinks and grows with it

    with Repo() as repo:
        for entry in entries:
            key = _get_cache_hash(dict(entry), key=True)
            shutil.rmtree(Path(repo.stage_cache.cache_dir, key[:2], key), ignore_errors=True)


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.parser("expand", "Build the batches that were added while dvc repro was running.")
    arguments = parser.parse_args()

    def action() -> None:
        load().dataset(arguments.dataset)
        expand(arguments.dataset)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
