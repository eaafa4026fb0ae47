"""Get what others pushed: the command behind `make pull`.

Arrays and tracked raw data must all come, or it fails. A model or a generation need not: it may never have been made,
or not been pushed, and then `make train` or `make iterate` makes it. A bare `dvc pull` gets the same and ends with
DVC's error about what is missing.
"""

import sys

from stages.pipeline import dvc, internals
from stages.pipeline.verbs import GENERATIONS, TRAINING
from stages.runtime import cli

FAILURE = "dvc pull failed, see above; what came is kept, run the same command again"


def pull() -> None:
    """Get arrays, run cache, models and generations from the remote; run nothing.

    Raises
    ------
    ExpectedError
        When no remote is set, DVC fails, or the remote lacks something that is neither model nor generation.
    """
    internals.default_remote()
    dvc.complete_params()
    files = internals.stage_files()
    made_elsewhere = [name for name in files if name in (TRAINING, GENERATIONS)]
    dvc.call("pull", "--run-cache", *(name for name in files if name not in made_elsewhere), failure=FAILURE)
    if made_elsewhere:
        dvc.call("pull", "--allow-missing", *made_elsewhere, failure=FAILURE)


def main() -> int:
    """Run the command."""
    cli.parser("commands.pull", "Get arrays, run cache and models from the remote; run nothing.").parse_args()
    return cli.run(pull)


if __name__ == "__main__":
    sys.exit(main())
