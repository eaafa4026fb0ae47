"""The key of a unit, which find gives and encode reads: the file's path and the piece's first line, from 1.

It looks like `worker_0/games.trmph:000000501`; keys of one file sort by line.
"""

from stages.core.units import Unit


def key_of(path: str, line: int) -> str:
    """Return the key of the piece of a file that begins with a line."""
    return f"{path}:{line:09d}"


def first_line(unit: Unit) -> int:
    """Return the line of the file that a unit begins with."""
    return int(unit.key.rpartition(":")[2])
