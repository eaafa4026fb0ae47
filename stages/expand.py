"""Make one `dvc repro` enough when the list of batches changed while it ran.

DVC reads dvc.yaml, and with it the batch list, before the first stage runs; batches that discover then adds are not in
the plan. If discover left its note, this stage runs `dvc repro --single-item` for the batches of the new list; the
outer run, and every later one, finds them in DVC's run cache. It also takes the batches that are no more out of
dvc.lock, puts the other entries into one order, and gives those of the stages that follow for the first time their
places in it, so that the file does not depend on history. Then it copies the list.

In: data/manifests/<dataset>/batches.yaml. Out: data/manifests/<dataset>/expanded.yaml, the list after which merge may
run.
"""

import sys

from stages.core import manifests, paths
from stages.core.files import write_text
from stages.core.params import Params
from stages.pipeline import dvc, lock, verbs
from stages.runtime import cli


def expand(dataset: str) -> None:
    """Build the batches that the running DVC does not know of, then copy the batch list.

    Raises
    ------
    ExpectedError
        When the nested run fails.
    """
    batches = manifests.read_batch_list(dataset)
    marker = paths.list_changed_marker(dataset)
    lock.tidy(dataset, batches)  # before the nested run, which must not take a placeholder from the run cache
    lock.reserve(dataset, batches)
    if marker.exists():
        failure = f"{dataset}: the batches of the changed list failed, see above; correct it, `dvc repro`"
        dvc.nested_repro(*verbs.process_stages(dataset, batches), failure=failure)
        marker.unlink()
    lock.tidy(dataset, batches)
    write_text(paths.expanded(dataset), manifests.batch_list_text(dataset, batches))


def main() -> int:
    """Run the verb from the command line."""

    def action(params: Params, dataset: str) -> None:
        params.dataset(dataset)
        expand(dataset)

    return cli.on_dataset("expand", "Build the batches that were added while dvc repro was running.", action)


if __name__ == "__main__":
    sys.exit(main())
