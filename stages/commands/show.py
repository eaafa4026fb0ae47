"""Show rows of the processed arrays as a table: the command behind `make show`.

For each row raw file and line, keys, labels by name, legal actions, the features that lie farthest from their mean,
and what the dataset's own `show` draws. Without a dataset it lists what there is. Files are mapped, rows are read one
by one, and a condition is evaluated stretch by stretch (stages/look/condition.py), so that size costs little.

In: data/processed/<dataset>/, the manifests, and where the raw file is to be named a part of it.
"""

import sys

from stages.commands import show_table
from stages.core import part_files, paths
from stages.core.errors import ExpectedError
from stages.core.params import DatasetParams, Params, load
from stages.core.part_files import PARTS
from stages.look import Condition, PartRows
from stages.look.pick import pick
from stages.runtime import cli

N_ROWS = "10"


def show(settings: DatasetParams, part: PartRows, rows: str = N_ROWS, where: str = "", seed: str = "0") -> None:
    """Print some rows of a part, and how many it has; see `pick` for `rows` and `Condition` for `where`.

    Raises
    ------
    ExpectedError
        When there are no such rows, or the condition cannot be read.
    """
    if not seed.isdecimal():
        raise ExpectedError(f"SEED is {seed!r}, expected a whole number from 0")
    dataset = part.data.folder.name
    condition = Condition(where, part) if where.strip() else None
    picked = pick(part, rows.replace(" ", ""), condition, int(seed))
    if len(picked.rows):
        show_table.print_rows(settings, part, picked.rows)
    told = f"{len(picked.rows):,} of {part.n_rows:,} rows of {dataset} {part.part}"
    if condition is not None:
        told = f"{len(picked.rows):,} of {picked.n_matching:,} rows where {where.strip()}, of {part.n_rows:,}"
    sys.stdout.write(f"{told}\n")


def show_all(params: Params) -> None:
    """Print what there is of each dataset, and how to look at it."""
    for dataset in sorted(params.datasets):
        is_there = (paths.processed_dir(dataset) / part_files.STATS).is_file()
        lines = show_table.describe(dataset) if is_there else ["no finished arrays; `make preprocess` makes them"]
        sys.stdout.write("\n  ".join([dataset, *lines]) + "\n")
    sys.stdout.write(f'\nmake show DATASET=NAME PART={"|".join(PARTS)} ROWS=10|:10|5:15|3,7 WHERE="turn_number > 20"\n')


def main() -> int:
    """Run the command."""
    parser = cli.parser("commands.show", "Show rows of the processed arrays; without a dataset, list what there is.")
    parser.add_argument("dataset", nargs="?", default="", help="a dataset of params.yaml")
    parser.add_argument("part", nargs="?", default=PARTS[0], choices=PARTS, help="the part of the split")
    parser.add_argument("rows", nargs="?", default=N_ROWS, help="10 (random), :10, 5:15 or 3,7; default: 10")
    parser.add_argument("where", nargs="?", default="", help="a condition, as \"action_type == 'build'\"")
    parser.add_argument("seed", nargs="?", default="0", help="of the random rows")
    given = parser.parse_args()

    def action() -> None:
        params = load()
        if not given.dataset:
            show_all(params)
            return
        settings, part = params.dataset(given.dataset), PartRows(given.dataset, given.part)
        show(settings, part, given.rows or N_ROWS, given.where, given.seed or "0")

    return cli.run(action)


if __name__ == "__main__":
    sys.exit(main())
