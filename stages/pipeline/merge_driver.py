"""git's merge driver for ``.dvc`` files: git runs it when both sides of a merge, pull or rebase changed one.

    python -m stages.pipeline.merge_driver BASE OURS THEIRS PATH

In: the three versions of the file at PATH, in temporary files. Out: the merge in OURS, and exit code 0. If anything is
in the way, exit code 1 and OURS as it was: the command that `make setup` gives git then lets git write its conflict
markers, with which no tool takes the file for whole. It does so too where Python or this module is missing.
"""

import os
import sys
from pathlib import Path

from stages.pipeline import folders
from stages.runtime import cli


def merge(base: Path, ours: Path, theirs: Path, where: str) -> None:
    """Write the merge of three versions into `ours`.

    Raises
    ------
    ExpectedError
        When they cannot be merged without a word from the user.
    """
    texts = [path.read_text(encoding="utf-8") for path in (base, ours, theirs)]
    ours.write_text(folders.merge_texts(texts[0], texts[1], texts[2], where), encoding="utf-8")


def main() -> int:
    """Run the driver."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]  # git's own, of the merge that is under way
    base, ours, theirs, where = sys.argv[1:]
    return cli.run(lambda: merge(Path(base), Path(ours), Path(theirs), where), lambda: f"{where} is not merged")


if __name__ == "__main__":
    sys.exit(main())
