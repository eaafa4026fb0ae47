"""Where the files lie: `<any folders>/<any name>.csv` below the raw folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.units import Unit
from stages.datasets.base.raw import file_units
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.skeleton.schema import parse_options


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit per file, keyed by the file's path below the raw folder.

    Raises
    ------
    ExpectedError
        When there is no file.
    """
    parse_options(options)
    files = raw_files(raw_dir, FileNames((".csv",), "1.csv"))
    if not files:
        raise ExpectedError(f"{raw_dir}: no files, expected files like 1.csv; put some there")
    return file_units(raw_dir, files, content="one reading a line")
