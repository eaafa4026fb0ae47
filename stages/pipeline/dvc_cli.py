"""Run DVC's command line without two lines that mean nothing here: ``python -m stages.pipeline.dvc_cli repro``.

Left out are ``'data/plots/hex/masks' is empty``, since a dataset without masks has that folder empty on purpose, and
``Use `dvc push```, which is said whether there is a remote or not; README.md tells of `make push`.
"""

import logging
import re
import sys
from typing import Any


def means_something(record: logging.LogRecord) -> bool:
    """Say whether a record of DVC's about an output is more than that a folder of plots is empty."""
    return not re.search(r"^'data/plots/.*' is empty\.$", record.getMessage())


def main() -> int:
    """Run the command that the command line names, as DVC does."""
    from dvc.cli import main as run
    from dvc.ui import ui

    logging.getLogger("dvc.output").addFilter(means_something)
    write = ui.write

    def write_the_rest(*objects: Any, **options: Any) -> None:
        if not (objects and str(objects[0]).startswith("Use `dvc push`")):
            write(*objects, **options)

    ui.write = write_the_rest
    return int(run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
