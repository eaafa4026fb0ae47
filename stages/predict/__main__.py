"""Print what a trained model says of a raw file: a table on a terminal, CSV where it is piped or written to a file."""

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.core.errors import ExpectedError
from stages.core.files import atomic
from stages.core.params import load
from stages.runtime import cli
from stages.runtime.text import printable
from stages.train import require_torch

Rows = Iterable[dict[str, list[str | int | float]]]


def table(rows: Rows) -> Iterator[str]:
    """Yield aligned lines of text, a head first; widths are those of the first rows."""
    widths: list[int] = []
    for columns in rows:
        lines = [[printable(_short(cell)) for cell in row] for row in zip(*columns.values(), strict=True)]
        if not widths:
            lines.insert(0, list(columns))
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"


def _short(cell: str | int | float) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def comma_separated(rows: Rows) -> Iterator[str]:
    """Yield lines of CSV, names of the columns first; numbers with all their digits."""
    is_first = True
    for columns in rows:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if is_first:
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        is_first = False
        yield text.getvalue()


def predict(dataset: str, path: Path, top: int, out: Path | None) -> None:
    """Write what the model of a dataset says of a raw file.

    Parameters
    ----------
    dataset, path
        The dataset, and a raw file of it or a folder of them.
    top
        How many classes of each head are named.
    out
        The CSV to write, None for stdout.

    Raises
    ------
    ExpectedError
        When torch or the model is missing, or the pipeline would refuse the file.
    """
    params = load().dataset(dataset)
    require_torch()
    if out is not None and out.is_dir():
        raise ExpectedError(f"--out: {out} is a folder, expected the name of a CSV file; correct it")
    from stages.predict.answers import answers
    from stages.training import load_model

    rows = answers(dataset, params, path, load_model(dataset), top)
    if out is not None:
        with atomic(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(comma_separated(rows))
        return
    sys.stdout.writelines(table(rows) if sys.stdout.isatty() else comma_separated(rows))
    sys.stdout.flush()


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, expected 1 or more")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = cli.parser("predict", "Say what the trained model of a dataset predicts for a raw file.")
    parser.add_argument("dataset", help="a dataset of params.yaml")
    parser.add_argument("file", type=Path, help="a raw file that the pipeline would accept, or a folder of them")
    parser.add_argument(
        "--top", type=_count, default=1, metavar="K", help="name the K most likely classes of each head"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write CSV there instead of to stdout")
    given = parser.parse_args(arguments)
    return cli.run(lambda: predict(given.dataset, given.file, given.top, given.out), lambda: "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
