"""Make one `dvc repro` enough when the list of batches changed while it ran.

DVC reads dvc.yaml, and with it the batch list, before the first stage runs; batches that discover then adds are not in
the plan. If discover left its note, this stage runs `dvc repro --single-item` for the batches of the new list; the
outer run, and every later one, finds them in DVC's run cache. Otherwise it only copies the list.

In: data/manifests/<dataset>/batches.yaml. Out: data/manifests/<dataset>/expanded.yaml, the list that merge reads.
"""

import os
import subprocess
import sys

from stages import cli, paths, units
from stages.arrays import write_text
from stages.errors import ExpectedError
from stages.params import load


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
        if subprocess.run(command, env=environment, check=False).returncode:
            raise ExpectedError(
                f"{dataset}: the batches of the changed list failed, see above; correct it, `dvc repro`"
            )
        marker.unlink()
    write_text(paths.expanded(dataset), units.batch_list_text(dataset, batches))


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
