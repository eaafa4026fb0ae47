"""Where the Splendor games lie: `{2,3,4}_games/<game id>.csv` below the raw folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.units import Unit
from stages.datasets.base.raw import file_units
from stages.datasets.splendor.schema import FOLDERS, parse_options

MOST_BYTES = 8 << 20  # a game of 130 moves has 145 KB; one of 7,000 would be no game


def find(raw_dir: Path, options: Mapping[str, Any]) -> list[Unit]:
    """Return one unit per game, keyed by the file's path below the raw folder.

    A file above `MOST_BYTES` is a bad unit: it is not read.

    Only names that end in `.csv` count, so `*.csv.backup` files and a combined `all_games.csv` one level up do not.

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
    files = [
        f"{folder}/{name}"
        for folder in FOLDERS
        if (raw_dir / folder).is_dir()
        for name in os.listdir(raw_dir / folder)
        if name.endswith(".csv")
    ]
    if not files:
        raise ExpectedError(f"{raw_dir}: no games, expected files like 2_games/17.csv, 3_games/... or 4_games/...")
    return file_units(raw_dir, files, MOST_BYTES)
