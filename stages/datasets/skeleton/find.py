"""Where the files lie: `<any folders>/<any name>.csv` below the raw folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.units import Unit
from stages.datasets.base.raw import file_units
from stages.datasets.skeleton.schema import parse_options


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit per file, keyed by the file's path below the raw folder.

    Raises
    ------
    ExpectedError
        When there is no file, or one that is no CSV.
    """
    parse_options(options)
    files = [path.relative_to(raw_dir).as_posix() for path in raw_dir.rglob("*") if not path.is_dir()]
    if not files:
        raise ExpectedError(f"{raw_dir}: no files, expected files like 1.csv; put some there")
    for name in sorted(files):
        if not name.endswith(".csv"):
            raise ExpectedError(f"{raw_dir / name}: not a CSV file, expected files like 1.csv; remove it")
    return file_units(raw_dir, files)
