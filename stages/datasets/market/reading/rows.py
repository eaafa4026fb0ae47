"""The bytes of a file of bars, a piece at a time -> its rows, with what is wrong with each.

A row is a line that is not blank, and neither the header once more, nor a note of the vendor, nor a time without any
price, where nothing was traded (`NO_ROWS`). pyarrow reads whole columns; a piece with a cell that is no plain number,
or a line with too few or too many cells, is read again cell by cell, as RFC 4180 has it: there a number may have marks
between thousands, and what else the dialect allows. Both ways agree on every cell, so it does not matter how a file is
cut into pieces.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from stages.datasets.market.reading import bar_faults, times, zones
from stages.datasets.market.reading.dialect import NO_COLUMN, FileDialect
from stages.datasets.market.schema import VALUES
from stages.datasets.market.schema.time_formats import pattern_of

THOUSANDS = {".": r"[,' \u00a0]", ",": r"[.' \u00a0]"}  # marks between thousands, by the mark before decimals
NUMBERS = {
    mark: re.compile(
        rf"[+-]?(?:\d{{1,3}}(?:{thousands}\d{{3}})+(?:{re.escape(mark)}\d*)?|\d+(?:{re.escape(mark)}\d*)?"
        rf"|{re.escape(mark)}\d+)(?:[eE][+-]?\d+)?",
        re.ASCII,
    )
    for mark, thousands in THOUSANDS.items()
}
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
BLANKS = " \t\u00a0"
NEWLINE, RETURN = b"\n\r"
FEW_ROWS = 200  # below, cells one by one are as fast as cutting further

HEADER, NOTE, NO_BAR = 1, 2, 3
NO_ROWS = {
    HEADER: "header again, no bar",
    NOTE: "note of the vendor or empty line, no bar",
    NO_BAR: "time without a price, no bar",
}
# "Source of the data", in UTF-8 and in GBK, as `line_of` reads both.
SOURCE = "数据来源|" + "数据来源".encode("gbk").decode("utf-8", "surrogateescape")
NOTES = re.compile(
    rf"[\s\"']*(?:#|//|downloaded\b|total\b|source\b|notes?\b|disclaimer\b|copyright\b|highest:|{SOURCE}|[\s,;\"']*$)",
    re.IGNORECASE,
)
# What stands for no number: as pyarrow has it, and a dash.
NONE = frozenset(["", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "n/a", "na"])
NONE |= {"nan", "null", "-"}


@dataclass(frozen=True)
class Rows:
    """N rows, in the order of the file.

    Attributes
    ----------
    start
        int64 (N,): first byte of the row in the piece.
    line
        int32 (N,): line of the piece, from 0.
    ns
        int64 (N,): time; UTC where `is_utc`, else on the wall clock of the file's zone.
    is_utc, is_slash
        bool (N,): the time names its offset from UTC; its date has slashes.
    open, high, low, close, volume
        float64 (N,); NaN where there is no number.
    fault
        uint16 (N,): sum of the keys of `REASONS` that apply; 0 for a good row.
    is_repaired
        bool (N,): open or close were a rounding outside low to high, which were moved there.
    """

    start: np.ndarray
    line: np.ndarray
    ns: np.ndarray
    is_utc: np.ndarray
    is_slash: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    fault: np.ndarray
    is_repaired: np.ndarray

    def at(self, place: np.ndarray) -> "Rows":
        """Return the rows at some places."""
        return Rows(**{name: column[place] for name, column in vars(self).items()})


@dataclass(frozen=True)
class NoRows:
    """M lines of a piece that have cells and are no rows.

    Attributes
    ----------
    start, line
        int64 (M,), int32 (M,), as in `Rows`.
    why
        uint8 (M,): a key of `NO_ROWS`.
    """

    start: np.ndarray
    line: np.ndarray
    why: np.ndarray


def join(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one at least, behind each other."""
    if len(parts) == 1:
        return parts[0]
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def parse(content: bytes, dialect: FileDialect, is_month_first: bool | None = None) -> tuple[Rows, pa.Array, NoRows]:
    """Read the rows of a piece of a file.

    Parameters
    ----------
    content
        Whole lines, without the header.
    dialect
        How the file is read.
    is_month_first
        How dates with slashes are read; None for what the dialect says.

    Returns
    -------
    Rows
        Its rows, in the order of the file.
    pa.Array
        The text of their times, binary (N,).
    NoRows
        The other lines that are not blank.
    """
    line, start = _lines(content)
    table, fault = _table(content, dialect, start)
    cells = _text(table, dialect)
    stamps = stamps_of(cells, dialect, dialect.is_month_first if is_month_first is None else is_month_first)
    values = _values(table, dialect)
    if not stamps.is_time.all():
        fault[~stamps.is_time] |= bar_faults.TIME
    why = _no_rows(content, start, dialect, fault, values[:4])
    left = np.flatnonzero(why)
    no_rows = NoRows(start[left], line[left], why[left])
    if len(left):
        is_row = why == 0
        start, line, fault, cells = start[is_row], line[is_row], fault[is_row], cells.filter(pa.array(is_row))
        values = [column[is_row] for column in values]
        stamps = times.Stamps(*(column[is_row] for column in vars(stamps).values()))
    is_repaired = bar_faults.judge(values, fault, dialect.has_negative)
    columns = dict(zip(VALUES, values, strict=True))
    texts = {"ns": stamps.ns, "is_utc": stamps.is_utc, "is_slash": stamps.is_slash}
    return Rows(start=start, line=line, **texts, **columns, fault=fault, is_repaired=is_repaired), cells, no_rows


def is_note(line: str) -> bool:
    """Say whether a line without a time is a note of the vendor below the bars, or has empty cells only."""
    return bool(NOTES.match(line))


def _no_rows(
    content: bytes, start: np.ndarray, dialect: FileDialect, fault: np.ndarray, prices: Sequence[np.ndarray]
) -> np.ndarray:
    """Say which lines, beginning at bytes `start`, are no rows, and why, uint8 (N,); `fault` is what is seen so far."""
    why = np.zeros(len(start), np.uint8)
    if np.isnan(prices[3]).any():
        is_empty = np.logical_and.reduce([np.isnan(price) for price in prices])
        why[is_empty & (fault == 0)] = NO_BAR
    headers = {*dialect.header, *dialect.again}
    for row in np.flatnonzero(fault & bar_faults.TIME).tolist():
        line = line_of(content, int(start[row]))
        why[row] = HEADER if line in headers else NOTE if is_note(line) else 0
    return why


def line_of(content: bytes, start: int = 0) -> str:
    """Return the line that begins at a byte, without blanks around it and a mark of the byte order."""
    stop = content.find(b"\n", start)
    text = content[start : stop if stop >= 0 else len(content)].decode("utf-8", "surrogateescape")
    return text.strip("\ufeff \t\r\n")


def n_lines(content: bytes) -> int:
    """Return how many lines end in some bytes; `bytes.count` takes six times as long."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == NEWLINE))


def stamps_of(cells: pa.Array, dialect: FileDialect, is_month_first: bool) -> times.Stamps:
    """Return the times that cells say, by the dialect of their file."""
    stamps = times.parse(cells, _manner(dialect, is_month_first))
    if not dialect.is_days and not dialect.shift_ns:
        return stamps
    ns = stamps.ns + np.where(stamps.is_time, dialect.shift_ns, 0)
    return times.Stamps(ns, stamps.is_time, stamps.is_utc | dialect.is_days, stamps.is_slash)


def _manner(dialect: FileDialect, is_month_first: bool) -> times.Manner:
    """Return how times of a dialect are read."""
    pattern, day_ns = times.LAYOUT, 0
    if dialect.time_format:
        pattern = pattern_of(dialect.time_format) or pattern
    elif dialect.day:
        pattern, day_ns = times.SINCE_MIDNIGHT, int(np.datetime64(dialect.day, "ns").astype(np.int64))
    return times.Manner(pattern, is_month_first, dialect.is_days, dialect.zone, day_ns)


def _lines(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the number and the first byte of each line that is not blank."""
    data = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(data == NEWLINE)
    if len(data) and data[-1] != NEWLINE:
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    widths = ends - starts
    if widths.min(initial=2) > 1:
        return np.arange(len(starts), dtype=np.int32), starts
    lines = np.flatnonzero((widths > 1) | ((widths == 1) & (data[starts % len(data)] != RETURN)))
    return lines.astype(np.int32), starts[lines]


def _table(content: bytes, dialect: FileDialect, start: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Return the columns that are needed and the faults seen so far, uint16 (N,); rows begin at bytes `start`.

    What cannot be read whole is halved, so that a bad cell costs as much as some hundred rows.
    """
    fault = np.zeros(len(start), np.uint16)
    if not len(start):
        return _empty(dialect), fault
    try:
        table = None if dialect.words else _read(content, dialect)
        if table is not None and table.num_rows == len(start):
            return table, fault
    except pa.ArrowInvalid:
        pass
    if len(start) > FEW_ROWS:
        middle = len(start) // 2
        cut = int(start[middle])
        first, first_fault = _table(content[:cut], dialect, start[:middle])
        second, second_fault = _table(content[cut:], dialect, start[middle:] - cut)
        return pa.concat_tables([first, second]), np.concatenate([first_fault, second_fault])
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    cells = [cells_of(line, dialect.separator) for line in lines if line]
    fault[[len(row) != dialect.n_columns for row in cells]] = bar_faults.CELLS
    fault[[_has_words(row, dialect) for row in cells]] |= bar_faults.NOT_NUMBER
    return _from_cells(cells, dialect), fault


def _has_words(row: Sequence[str], dialect: FileDialect) -> bool:
    """Say whether a price of a row is neither a number nor what stands for none."""
    if len(row) != dialect.n_columns:
        return False
    texts = (row[place] for place in dialect.values[:4])
    return any(math.isnan(number(text, dialect)) and text.strip(BLANKS).lower() not in NONE for text in texts)


def cells_of(line: bytes, separator: str) -> list[str]:
    """Return the cells of a line; quotes around one, doubled within, may hold separators, as RFC 4180 has it."""
    try:
        text = line.decode("utf-8", "surrogateescape").replace("\r", " ")
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:  # a cell of more than 128 KB
        return []


def _needed(dialect: FileDialect) -> list[int]:
    """Return the columns that are read, the time first."""
    optional = [column for column in (*dialect.values, dialect.adjusted, dialect.added) if column != NO_COLUMN]
    return [*dialect.time, *dict.fromkeys(column for column in optional if column not in dialect.time)]


def _types(dialect: FileDialect) -> dict[str, pa.DataType]:
    n_times = len(dialect.time)
    return {str(name): pa.binary() if i < n_times else pa.float64() for i, name in enumerate(_needed(dialect))}


def _empty(dialect: FileDialect) -> pa.Table:
    return pa.schema(list(_types(dialect).items())).empty_table()


def _read(content: bytes, dialect: FileDialect) -> pa.Table:
    """Read the needed columns, named by their position, in one thread and as one chunk."""
    types = _types(dialect)
    names = [str(i) for i in range(dialect.n_columns)]
    return pa.csv.read_csv(
        pa.BufferReader(content),
        pa.csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
        pa.csv.ParseOptions(newlines_in_values=False, delimiter=dialect.separator),
        pa.csv.ConvertOptions(column_types=types, include_columns=list(types), decimal_point=dialect.decimal),
    )


def _from_cells(cells: list[list[str]], dialect: FileDialect) -> pa.Table:
    """Return the table of rows that were cut into cells; of a row with too few or too many only the time counts."""
    columns: dict[str, pa.Array] = {}
    n_columns = dialect.n_columns
    for name, kind in _types(dialect).items():
        place = int(name)
        if kind == pa.binary():
            texts = [row[place] if place < len(row) else "" for row in cells]
            columns[name] = pa.array([text.encode("utf-8", "surrogateescape") for text in texts], pa.binary())
        else:
            numbers = [number(row[place], dialect) if len(row) == n_columns else np.nan for row in cells]
            columns[name] = pa.array(numbers, pa.float64())
    return pa.table(columns)


def number(cell: str, dialect: FileDialect) -> float:
    """Return the number that a cell says, NaN for none."""
    text, factor = cell.strip(BLANKS), 1.0
    if dialect.words:
        text = text.replace("$", "").replace("%", "") if "$" in dialect.words else text
        factor = FACTORS.get(text[-1:].upper(), 1.0) if text[-1:].upper() in dialect.words else 1.0
        text = text[:-1] if factor != 1.0 else text
        text = "0" if text == "-" else text
    if not NUMBERS[dialect.decimal].fullmatch(text):
        return np.nan
    plain = re.sub(THOUSANDS[dialect.decimal], "", text).replace(dialect.decimal, ".")
    return float(plain) * factor if factor != 1.0 else float(plain)


def _text(table: pa.Table, dialect: FileDialect) -> pa.Array:
    """Return the text of the times; date and time of day are joined by a blank."""
    columns = [_column(table, column) for column in dialect.time]
    if len(columns) == 1:
        return columns[0]
    return pa.compute.binary_join_element_wise(*columns, pa.scalar(b" ", pa.binary()))


def _values(table: pa.Table, dialect: FileDialect) -> list[np.ndarray]:
    """Return open, high, low, close and volume, float64 (N,) each, as a user means them."""
    values = [np.zeros(table.num_rows) if i == NO_COLUMN else _floats(table, i) for i in dialect.values]
    if dialect.added != NO_COLUMN:
        values[4] = values[4] + _floats(table, dialect.added)
    if dialect.lot != 1.0:
        values[4] = values[4] * dialect.lot
    if dialect.adjusted != NO_COLUMN:
        ratio = _floats(table, dialect.adjusted) / np.where(values[3] == 0, np.nan, values[3])
        values[:4] = [column * ratio for column in values[:4]]
    if dialect.scale != 1.0:
        values[:4] = [_scaled(column, dialect.scale) for column in values[:4]]
    return values


def _scaled(column: np.ndarray, factor: float) -> np.ndarray:
    """Multiply a column; by a factor such as 0.0001 it divides, which rounds once: 514000 / 10000 is 51.4."""
    divisor = round(1 / factor)
    return column / divisor if math.isclose(divisor * factor, 1) else column * factor


def _floats(table: pa.Table, column: int) -> np.ndarray:
    return _column(table, column).to_numpy(zero_copy_only=False)


def _column(table: pa.Table, column: int) -> pa.Array:
    """Return a column as one array; `combine_chunks` would copy one that lies in a piece already."""
    chunked = table.column(str(column))
    return chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()


def utc(ns: np.ndarray, is_utc: np.ndarray, fault: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the time of each row in UTC, its faults with those of the clock, and where the clock shows it twice.

    Parameters
    ----------
    ns, is_utc, fault
        Of `Rows`.
    zone
        Zone of the times that name none.
    """
    on_wall = np.flatnonzero(~is_utc & (fault & bar_faults.TIME == 0))
    if zone == "UTC" or not len(on_wall):
        return ns, fault, np.zeros(len(ns), bool)
    time, fault, is_twice = ns.copy(), fault.copy(), np.zeros(len(ns), bool)
    time[on_wall], exists, is_twice[on_wall] = zones.to_utc(ns[on_wall], zone)
    fault[on_wall[~exists]] |= bar_faults.SKIPPED
    return time, fault, is_twice
