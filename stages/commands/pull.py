"""Get what others pushed: the command behind `make pull`.

Arrays and tracked raw data must all come, or it fails. A model need not: it may never have been trained, or not been
pushed, and then `make train` makes it. A bare `dvc pull` gets the same and ends with DVC's error about such a model.
"""

import sys

from stages.pipeline import dvc, internals
from stages.pipeline.verbs import TRAINING
from stages.runtime import cli

FAILURE = "dvc pull failed, see above; what came is kept, run the same command again"


def pull() -> None:
    """Get arrays, run cache and models from the remote; run nothing.

    Raises
    ------
    ExpectedError
        When no remote is set, DVC fails, or the remote lacks something that is no model.
    """
    internals.default_remote()
    dvc.complete_params()
    files = internals.stage_files()
    dvc.call("pull", "--run-cache", *(name for name in files if name != TRAINING), failure=FAILURE)
    if TRAINING in files:
        dvc.call("pull", "--allow-missing", TRAINING, failure=FAILURE)


def main() -> int:
    """Run the command."""
    cli.parser("commands.pull", "Get arrays, run cache and models from the remote; run nothing.").parse_args()
    return cli.run(pull)


if __name__ == "__main__":
    sys.exit(main())
