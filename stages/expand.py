"""Make one `dvc repro` enough when the list of batches changed while it ran.

DVC reads dvc.yaml, and with it the batch list, before the first stage runs; batches that discover then adds are not in
the plan. If discover left its note, this stage runs `dvc repro --single-item` for the batches of the new list; the
outer run, and every later one, finds them in DVC's run cache. It also takes the batches that are no more out of
dvc.lock, so that the file does not depend on history. Then it copies the list.

In: data/manifests/<dataset>/batches.yaml. Out: data/manifests/<dataset>/expanded.yaml, the list that merge reads.
"""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from stages import cli, paths, units
from stages.arrays import write_text
from stages.errors import ExpectedError
from stages.params import load
from stages.signals import die_with_parent

LOCK = Path("dvc.lock")


def expand(dataset: str) -> None:
    """Build the batches that the running DVC does not know of, then copy the batch list.

    Raises
    ------
    ExpectedError
        When the nested run fails.
    """
    batches = units.read_batch_list(dataset)
    marker = paths.list_changed_marker(dataset)
    if marker.exists():
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DVC_")}
        stages = [f"process@{dataset}-{batch}" for batch in batches]
        command = [sys.executable, "-m", "dvc", "repro", "--single-item", *stages]
        if subprocess.run(command, env=environment, check=False, preexec_fn=die_with_parent).returncode:
            raise ExpectedError(
                f"{dataset}: the batches of the changed list failed, see above; correct it, `dvc repro`"
            )
        marker.unlink()
    prune_lock(dataset, batches)
    write_text(paths.expanded(dataset), units.batch_list_text(dataset, batches))


def prune_lock(dataset: str, batches: Collection[str]) -> None:
    """Remove the entries of batches that are no more from dvc.lock: DVC keeps them, and reads them, for ever.

    DVC reads the file anew after each stage, so it may be changed while a stage runs.
    """
    from dvc.utils.serialize import modify_yaml  # DVC's import costs 0.4 s

    prefix = f"process@{dataset}-"
    if not LOCK.is_file():
        return
    with modify_yaml(LOCK) as lock:
        stages = lock.get("stages", {})
        for name in [name for name in stages if name.startswith(prefix)]:
            if name.removeprefix(prefix) not in batches:
                del stages[name]


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
