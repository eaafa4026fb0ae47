"""Which pieces of `.trmph` files the raw folder holds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.datasets.hex.schema import options
from stages.datasets.hex.schema.pieces import pieces
from stages.errors import ExpectedError
from stages.units import Unit

logger = logging.getLogger("batchwise")


def find(raw_dir: Path, entry: Mapping[str, Any]) -> list[Unit]:
    """Return the pieces of all files, keyed like ``worker_0/games.trmph:000000501``.

    Parameters
    ----------
    raw_dir
        The raw folder; files lie in it or in folders below. Names that begin with a dot do not count.
    entry
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no line, a line is too long, or a name is not UTF-8.
    BadUnit
        When a file cannot be read.
    """
    checked = options(entry)
    files = _files(raw_dir)
    units = []
    for path in files:
        found = list(pieces(raw_dir, path, checked.games_per_unit))
        if not found:
            logger.warning("%s: empty, expected one game a line; fill or remove the file", raw_dir / path)
        units += found
    if not units:
        raise ExpectedError(f"{raw_dir}: no games in {len(files)} files, expected files like selfplay.trmph; add some")
    return units


def _files(raw_dir: Path) -> list[str]:
    """Return the paths of all files, relative to the raw folder, sorted."""
    paths = (path.relative_to(raw_dir) for path in raw_dir.rglob("*.trmph"))
    names = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None
    return names
