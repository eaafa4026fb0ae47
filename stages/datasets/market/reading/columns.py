"""Which columns of a file of bars are its time, prices and volume, by the names in its header line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.datasets.market.reading.dialect import NO_COLUMN
from stages.datasets.market.reading.first_lines import FirstLines
from stages.datasets.market.reading.layouts import BarLayout
from stages.datasets.market.schema import VALUES, Format

TIMES = ("timestamp", "datetime", "date", "time")


@dataclass(frozen=True)
class BarColumns:
    """The names, none without a header; where the time stands, one column or two, and where `VALUES` do.

    `added` is a column that is added to the volume, or `NO_COLUMN`; `has_ticks` as in `FileDialect`.
    """

    header: list[str]
    time: tuple[int, ...]
    values: tuple[int, ...]
    added: int = NO_COLUMN
    has_ticks: bool = False


def plain_columns(header: list[str], refuse: Callable[[str], None], wanted: Format) -> BarColumns:
    """Find the columns of a header line by their names."""
    text = ",".join(header)[:200]
    needed = VALUES[:4] if wanted.volume == "none" else VALUES
    has_ticks = wanted.volume == "tick" and any(map(_is_ticks, header))
    if has_ticks:
        header = ["volume" if _is_ticks(cell) else "" if cell == "volume" else cell for cell in header]
    for name in needed:
        if name == "volume" and name not in header:
            refuse(no_volume(text))
        if header.count(name) != 1:
            number = "twice or more" if name in header else "missing"
            refuse(f"column {name!r} is {number} in {text!r}, expected it once")
    places = [header.index(name) for name in needed]
    values = (*places, *[NO_COLUMN] * (len(VALUES) - len(places)))
    return BarColumns(header, _time_columns(header, refuse), values, has_ticks=has_ticks)


def _is_ticks(cell: str) -> bool:
    return cell.replace("_", " ") in ("tick volume", "tickvol", "ticks")


def no_volume(text: str) -> str:
    """Return what is said of a header line without a column of the volume."""
    return (
        f"column 'volume' is missing in {text!r}, expected it once; set volume: none for the instrument, or in a "
        "format, to have 0 in its place, and features of volume that say nothing"
    )


def _time_columns(header: list[str], refuse: Callable[[str], None]) -> tuple[int, ...]:
    if "date" in header and "time" in header:
        return header.index("date"), header.index("time")
    for name in TIMES:
        if name in header:
            return (header.index(name),)
    if header[0] != "":
        refuse(f"no column of times, expected one of {', '.join(TIMES)}")
    return (0,)


def place_of(header: Sequence[str], column: str | int) -> int | None:
    """Return where a column stands; of a name like ``a or b`` the first that is there."""
    if isinstance(column, int):
        return column
    names = [column, *column.split(" or ")]
    return next((header.index(name) for name in names if name in header), None)


def volume_of(
    layout: BarLayout, lines: FirstLines, header: list[str], n_header: int, wanted: Format
) -> tuple[int, int] | None:
    """Return the column of the volume and one that is added to it; None where there is none."""
    if wanted.volume == "none":
        return NO_COLUMN, NO_COLUMN
    body = lines.lower[n_header:]
    unwanted = {"tick": "<vol>", "real": "<tickvol>"}.get(wanted.volume or "")
    names: list[str | int] = [name for name in layout.volume if name != unwanted]
    names = names or list(layout.volume)
    if layout.id == "cryptodatadownload":
        symbol = body[0][header.index("symbol")] if body and len(body[0]) == len(header) else ""
        volumes = [cell for cell in header if cell.startswith("volume ")]
        names = [cell for cell in volumes if symbol.startswith(cell[7:])] or [*volumes[:1]]
    if layout.id == "tradestation" and "up" in header:
        return header.index("up"), header.index("down")
    places = [at for at in (place_of(header, name) for name in names) if at is not None]
    traded = [at for at in places if any(at < len(row) and row[at].strip("0.") != "" for row in body)]
    return ((traded or places[-1:])[0], NO_COLUMN) if places else None
