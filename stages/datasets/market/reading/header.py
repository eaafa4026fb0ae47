"""The header line of a file of bars, and the instrument in its name."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from stages.core.errors import BadUnit, ExpectedError
from stages.datasets.market.schema import NAME_BYTES, VALUES

ALIASES = {"llow": "low"}
TIMES = ("timestamp", "datetime", "date", "time")


@dataclass(frozen=True)
class CsvHeader:
    """The columns of a file: how many there are, where the time stands (one or two) and where `VALUES` do."""

    n_columns: int
    time: tuple[int, ...]
    values: tuple[int, ...]


def instrument_of(path: str) -> str:
    """Return the instrument that a file holds.

    Raises
    ------
    ExpectedError
        When the name is not 1 to 16 ASCII characters.

    Examples
    --------
    >>> instrument_of("futures/@CL - 30 min - ETH.csv")
    'CL'
    """
    words = PurePosixPath(path).stem.lstrip("@").split()
    name = words[0] if words else ""
    if not (name.isascii() and 1 <= len(name) <= NAME_BYTES):
        raise ExpectedError(
            f"{path}: instrument {name!r}, expected 1 to {NAME_BYTES} ASCII characters before the first blank; "
            "rename the file"
        )
    return name


def header_of(line: bytes, where: str) -> CsvHeader:
    """Find the columns in a header line.

    Parameters
    ----------
    line
        The first line of a file.
    where
        The file, for errors.

    Raises
    ------
    BadUnit
        When a column is missing or there twice.
    """
    text = line.decode("utf-8-sig", "replace").strip("\r\n")
    found = [name.strip(' "').lower() for name in text.split(",")]
    names = [ALIASES.get(name, name) for name in found]
    for name in VALUES:
        if names.count(name) != 1:
            number = "twice or more" if name in names else "missing"
            raise BadUnit(f"{where}:1: column {name!r} is {number} in {text[:200]!r}, expected it once; correct it")
    return CsvHeader(len(names), _time_columns(names, where), tuple(names.index(name) for name in VALUES))


def _time_columns(names: list[str], where: str) -> tuple[int, ...]:
    if "date" in names and "time" in names:
        return names.index("date"), names.index("time")
    for name in TIMES:
        if name in names:
            return (names.index(name),)
    if names[0] == "":
        return (0,)
    raise BadUnit(f"{where}:1: no column of times, expected one of {', '.join(TIMES)}; correct the header")
