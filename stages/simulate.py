"""Make small real raw data of a dataset with its simulator, so that a fresh clone has something to run on.

In: `simulate.<dataset>` of params.yaml. Out: data/sample/<dataset>/, a function of these settings alone.
"""

import sys
from pathlib import Path

from stages import cli
from stages.datasets import base
from stages.errors import ExpectedError
from stages.params import load

SAMPLE_DIR = Path("data/sample")


def main() -> int:
    """Run the verb from the command line."""
    parser = cli.parser("simulate", "Make small real raw data of a dataset in data/sample/<dataset>.")
    arguments = parser.parse_args()

    def action() -> None:
        settings = load().simulate
        if arguments.dataset not in settings:
            raise ExpectedError(f"params.yaml: simulate has no {arguments.dataset!r}, expected its settings; add them")
        base.simulator(arguments.dataset).write(SAMPLE_DIR / arguments.dataset, settings[arguments.dataset])

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
