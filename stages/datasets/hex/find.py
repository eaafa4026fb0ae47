"""Which pieces of `.trmph` files the raw folder holds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Source, Unit
from stages.datasets.hex.reading.pieces import pieces
from stages.datasets.hex.schema import parse_options

logger = logging.getLogger("batchwise")


def find(raw_dir: Path, entry: Mapping[str, Any]) -> list[Unit]:
    """Return the pieces of all files, keyed like ``worker_0/games.trmph:000000501``.

    A file that cannot be read is a unit of its own, keyed by its path, without a digest; discover counts it as bad.

    Parameters
    ----------
    raw_dir
        The raw folder; files lie in it or in folders below. Names that begin with a dot do not count.
    entry
        See `schema.Options`.

    Raises
    ------
    ExpectedError
        When there is no line, a line is too long, a name is not UTF-8, or a folder is a link.
    """
    checked = parse_options(entry)
    files = _files(raw_dir)
    units = []
    for path in files:
        found = _units(raw_dir, path, checked.games_per_unit)
        if not found:
            logger.warning("%s: empty, expected one game a line; fill or remove the file", raw_dir / path)
        units += found
    if not units:
        raise ExpectedError(f"{raw_dir}: no games in {len(files)} files, expected files like selfplay.trmph; add some")
    return units


def _units(raw_dir: Path, path: str, n_lines: int) -> list[Unit]:
    """Return the pieces of a file, or the file as a unit without a digest if it cannot be read."""
    try:
        return list(pieces(raw_dir, path, n_lines))
    except BadUnit:
        return [Unit(path, (Source(path),), "")]


def _files(raw_dir: Path) -> list[str]:
    """Return the paths of all files, relative to the raw folder, sorted."""
    paths = [path.relative_to(raw_dir) for path in raw_dir.rglob("*") if path.suffix == ".trmph" or path.is_symlink()]
    shown = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    for name in shown:
        if (raw_dir / name).is_symlink() and (raw_dir / name).is_dir():  # the search does not go into it
            raise ExpectedError(f"{raw_dir / name}: a link to a folder, expected a folder; copy it there")
    names = [name for name in shown if name.endswith(".trmph")]
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ExpectedError(f"{raw_dir}: file name {name!r} is not UTF-8; rename the file") from None
    return names
