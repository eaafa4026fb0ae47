"""Say what differs between two versions of the datasets: what `make diff` runs.

In: of a commit its dvc.lock and what that names, from DVC's cache or the remote; of a folder, or of the workspace, its
data/. The workspace is left as it is. stages/differences/README.md says what is compared.
"""

import json
import os
import sys
from collections.abc import Sequence

from stages.core.errors import ExpectedError
from stages.differences import words
from stages.differences.compare import Difference, compare
from stages.differences.places import DataVersion, opened
from stages.runtime import cli
from stages.runtime.text import printable

DEFAULT = "HEAD"


def differences(first: str, second: str, datasets: Sequence[str]) -> tuple[list[Difference], list[str]]:
    """Compare two versions.

    Parameters
    ----------
    first, second
        Commits or folders; an empty text is the workspace.
    datasets
        Which; none are those of either version.

    Returns
    -------
    tuple
        What differs in each dataset that both have, and a line for each that one of them lacks.

    Raises
    ------
    ExpectedError
        When a version, or a dataset in both, is not there.
    """
    with opened(first, datasets) as before, opened(second, datasets) as after:
        if before.alone and after.alone:
            return [compare(before, after, *before.datasets(), *after.datasets())], []
        alone = [name for version in (before, after) if version.alone for name in version.datasets()]
        chosen = datasets or alone or sorted({*before.datasets(), *after.datasets()})
        found, lines = [], []
        for dataset in chosen:
            lacking = [version.name for version in (before, after) if not version.has(dataset)]
            if lacking:
                lines.append(_lacking(dataset, lacking, [before, after]))
            else:
                found.append(compare(before, after, dataset))
    return found, lines


def _lacking(dataset: str, lacking: Sequence[str], versions: Sequence[DataVersion]) -> str:
    if len(lacking) == len(versions):
        known = sorted({name for version in versions for name in version.datasets()})
        raise ExpectedError(f"DATASET: {dataset!r} is in neither version, expected one of: {', '.join(known)}")
    return f"{dataset}: not in {lacking[0]}"


def versions(typed: str) -> tuple[str, str]:
    """Return the two versions that REV names; the second is the workspace where it names one.

    Raises
    ------
    ExpectedError
        When it names more.
    """
    names = typed.split() or [DEFAULT]
    if len(names) > 2:
        raise ExpectedError(f"REV: {typed!r} names {len(names)} versions, expected one or two; quote both together")
    return names[0], (names[1] if len(names) > 1 else "")


def wants_json() -> bool:
    """Say whether the environment variable ``JSON`` is yes.

    Raises
    ------
    ExpectedError
        When it is neither yes, no nor empty.
    """
    value = os.environ.get("JSON", "") or "no"
    if value not in ("yes", "no"):
        raise ExpectedError(f"JSON: {value!r}, expected yes or no")
    return value == "yes"


def main() -> int:
    """Run the command."""
    parser = cli.parser("commands.diff", "Say what differs between two versions of the datasets.")
    parser.add_argument("rev", nargs="?", default=DEFAULT, help="a commit or folder, or two with a blank between")
    parser.add_argument("dataset", nargs="*", help="datasets; default: all")
    parser.add_argument("--json", action="store_true", help="as JSON, with all names and columns; as JSON=yes")
    arguments = parser.parse_args()

    def action() -> None:
        is_json = arguments.json or wants_json()
        datasets = [name for typed in arguments.dataset for name in typed.split()]
        found, lines = differences(*versions(arguments.rev), datasets)
        if is_json:
            content = {"datasets": [one.to_json() for one in found], "notes": lines}
            sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
            return
        told = [*(line for one in found for line in words.text(one).splitlines()), *lines]
        sys.stdout.writelines(f"{printable(line)}\n" for line in told)

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
