"""Forget what was made from a file that turned out to be damaged, so that `dvc repro` makes it anew.

DVC records of a stage the digests of what it read, and trusts a file whose size and times are as before. So arrays that
were made from a damaged file stand in dvc.lock, and in the run cache, as made from the right one. Both forget what
stages that read the file have made; what comes after them follows, if what they make now differs. Until they ran again,
verify says that they are missing from dvc.lock, where only their places are left. Nothing is deleted from the workspace
or from the cache of objects.
"""

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.pipeline import internals, lock
from stages.runtime import cli

logger = logging.getLogger("batchwise")


def readers(entries: Mapping[str, lock.Entry], path: Path) -> list[str]:
    """Return the stages that depend on a file, or on a folder that it is in."""
    names = {path, *path.parents}
    return [stage for stage, entry in entries.items() if any(Path(dep["path"]) in names for dep in entry["deps"])]


def forget(paths: Iterable[Path]) -> list[str]:
    """Forget the stages that read some files, in the run cache and in dvc.lock; return their names."""
    entries = lock.read()
    stages = sorted({stage for path in paths for stage in readers(entries, path)})
    if stages:
        internals.forget([entries[stage] for stage in stages])
        lock.forget(stages)
    return stages


def main() -> int:
    """Run the command."""
    parser = cli.parser("commands.forget", "Forget what was made from a file, so that `dvc repro` makes it anew.")
    parser.add_argument("path", type=Path, nargs="+", help="a file that `make verify` named")
    paths = parser.parse_args().path

    def action() -> None:
        logger.info("forgot %s, made from %s", ", ".join(forget(paths)) or "nothing", ", ".join(map(str, paths)))

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
