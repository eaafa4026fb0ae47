"""Mend what a kill left half written of DVC's own files: `make repair`, and what the other commands do first."""

import logging
import sys
from collections.abc import Sequence

from stages.core.params import Params
from stages.pipeline import repair, special_files
from stages.runtime import cli

logger = logging.getLogger("batchwise")


def look_first(params: Params, datasets: Sequence[str]) -> list[str]:
    """Make sure that DVC can work: mend its files, and refuse raw folders in which it would hang.

    Returns
    -------
    list of str
        What was done, one line each; told on stderr too.

    Raises
    ------
    ExpectedError
        When a raw folder holds a FIFO, a socket or a device.
    """
    raw_dirs = [params.datasets[dataset].raw_dir for dataset in datasets]
    for folder in raw_dirs:
        special_files.refuse(folder)
    done = repair.mend(raw_dirs)
    for line in done:
        logger.warning(line)
    return done


def main() -> int:
    """Run the command."""

    def action(params: Params, datasets: Sequence[str]) -> None:
        if not look_first(params, datasets):
            sys.stdout.write("nothing to repair\n")

    return cli.on_datasets("commands.repair", "Mend what a kill left half written of DVC's own files.", action)


if __name__ == "__main__":
    sys.exit(main())
