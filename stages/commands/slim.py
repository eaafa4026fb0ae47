"""Drop the workspace copies of intermediate and merged arrays that DVC's cache still holds.

A later `dvc repro` runs nothing for them: it takes them from the cache when a stage needs them. A file that the cache
does not hold is kept, and named.
"""

import argparse
import logging
import shutil
import subprocess
import sys

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.runtime import cli

logger = logging.getLogger("batchwise")


def slim(dataset: str) -> None:
    """Remove the intermediate and merged arrays of a dataset if DVC says they are as in its cache.

    Raises
    ------
    ExpectedError
        When the arrays are not those of the last `dvc repro`; nothing is removed then.
    """
    folders = [paths.intermediate_dir(dataset), paths.merged_dir(dataset)]
    command = [sys.executable, "-m", "dvc", "status", "--quiet", f"merge@{dataset}"]
    if subprocess.run(command, check=False).returncode:
        raise ExpectedError(f"{dataset}: arrays are not those of the last run, DVC may lack them; run `dvc repro`")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("slim %s: removed %s", dataset, folder)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.commands.slim", description="Drop arrays that DVC's cache holds."
    )
    parser.add_argument("dataset", nargs="*", help="datasets of params.yaml; default: all of them")
    chosen = parser.parse_args().dataset

    def action() -> None:
        params = load()
        for dataset in chosen or sorted(params.datasets):
            params.dataset(dataset)
            slim(dataset)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
