"""Where the Splendor games lie: `{2,3,4}_games/<game id>.csv` below the raw folder, or `.csv.gz`, `.csv.zst`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.units import Unit
from stages.datasets.base.raw import file_units
from stages.datasets.base.raw_files import FileNames, raw_files
from stages.datasets.splendor.schema import FOLDERS, parse_options

MOST_BYTES = 8 << 20  # a game of 130 moves has 145 KB; one of 7,000 would be no game
NAMES = FileNames((".csv",), "2_games/17.csv", FOLDERS.__contains__)


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit per game, keyed by the file's path below the raw folder.

    A file above `MOST_BYTES`, or one that is no text, is a bad unit: it is not read further. Files of other names, such
    as `*.csv.backup` or a combined `all_games.csv` one level up, are named in a warning.

    Parameters
    ----------
    raw_dir
        The raw folder.
    options
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no game, or an option.
    """
    parse_options(options)
    files = raw_files(raw_dir, NAMES)
    if not files:
        raise ExpectedError(f"{raw_dir}: no games, expected files like 2_games/17.csv, 3_games/... or 4_games/...")
    return file_units(raw_dir, files, MOST_BYTES, "a game, one move a line")
