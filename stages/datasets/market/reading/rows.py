"""The bytes of a CSV of bars, a piece at a time -> its rows, with what is wrong with each.

A row is a line that is not blank. pyarrow reads whole columns; a piece with a cell that is no number, or a line with
too few or too many cells, is read again cell by cell. Both ways agree on every cell, so it does not matter how a file
is cut into pieces.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

from stages.datasets.market.reading import times, zones
from stages.datasets.market.reading.header import CsvHeader
from stages.datasets.market.schema import VALUES

NUMBER = re.compile(rb"[ \t]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[ \t]*")
NEWLINE, RETURN = b"\n\r"
FEW_ROWS = 200  # below, cells one by one are as fast as cutting further

CELLS, TIME, SKIPPED, NOT_NUMBER, PRICE, VOLUME, RANGE = (1 << bit for bit in range(7))
REASONS = {
    CELLS: "too few or too many cells",
    TIME: "time not readable",
    SKIPPED: "time that the clocks of its zone skip",
    NOT_NUMBER: "value missing or no number",
    PRICE: "price not above 0",
    VOLUME: "volume below 0",
    RANGE: "open or close outside low to high",
}
NO_TIME = TIME | SKIPPED


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
        uint8 (N,): sum of the keys of `REASONS` that apply; 0 for a good row.
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


def parse(content: bytes, header: CsvHeader, is_month_first: bool = False) -> tuple[Rows, pa.Array]:
    """Read the rows of a piece of a file.

    Parameters
    ----------
    content
        Whole lines, without the header.
    header
        The file's columns.
    is_month_first
        How dates with slashes are read.

    Returns
    -------
    Rows
        Its rows.
    pa.Array
        The text of their times, binary (N,).
    """
    line, start = _lines(content)
    table, fault = _table(content, header, start)
    cells = _text(table, header)
    stamps = times.parse(cells, is_month_first)
    values = [_floats(table, column) for column in header.values]
    fault |= np.where(stamps.is_time, np.uint8(0), np.uint8(TIME))
    _judge(values, fault)
    columns = dict(zip(VALUES, values, strict=True))
    return Rows(start, line, stamps.ns, stamps.is_utc, stamps.is_slash, **columns, fault=fault), cells


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


def _table(content: bytes, header: CsvHeader, start: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Return the columns that are needed and the faults seen so far, uint8 (N,); rows begin at bytes `start`.

    What cannot be read whole is halved, so that a bad cell costs as much as some hundred rows.
    """
    fault = np.zeros(len(start), np.uint8)
    if not len(start):
        return _empty(header), fault
    try:
        table = _read(content, header)
        if table.num_rows == len(start):
            return table, fault
    except pa.ArrowInvalid:
        pass
    if len(start) > FEW_ROWS:
        middle = len(start) // 2
        cut = int(start[middle])
        first, first_fault = _table(content[:cut], header, start[:middle])
        second, second_fault = _table(content[cut:], header, start[middle:] - cut)
        return pa.concat_tables([first, second]), np.concatenate([first_fault, second_fault])
    lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    cells = [line.replace(b'"', b"").split(b",") for line in lines if line]
    fault[[len(row) != header.n_columns for row in cells]] = CELLS
    return _from_cells(cells, header), fault


def _names(header: CsvHeader) -> list[str]:
    return [str(column) for column in (*header.time, *header.values)]


def _types(header: CsvHeader) -> dict[str, pa.DataType]:
    return {name: pa.binary() if i < len(header.time) else pa.float64() for i, name in enumerate(_names(header))}


def _empty(header: CsvHeader) -> pa.Table:
    return pa.schema(list(_types(header).items())).empty_table()


def _read(content: bytes, header: CsvHeader) -> pa.Table:
    """Read the needed columns, named by their position, in one thread and as one chunk."""
    return pa.csv.read_csv(
        pa.BufferReader(content),
        pa.csv.ReadOptions(
            use_threads=False, block_size=len(content) + 1, column_names=[str(i) for i in range(header.n_columns)]
        ),
        pa.csv.ParseOptions(newlines_in_values=False),
        pa.csv.ConvertOptions(column_types=_types(header), include_columns=_names(header)),
    )


def _from_cells(cells: list[list[bytes]], header: CsvHeader) -> pa.Table:
    """Return the table of rows that were cut into cells; of a row with too few or too many only the time counts."""
    columns: dict[str, pa.Array] = {}
    for name, kind in _types(header).items():
        place = int(name)
        if kind == pa.binary():
            columns[name] = pa.array([row[place] if place < len(row) else b"" for row in cells], pa.binary())
        else:
            columns[name] = pa.array(
                [_number(row[place]) if len(row) == header.n_columns else np.nan for row in cells], pa.float64()
            )
    return pa.table(columns)


def _number(cell: bytes) -> float:
    return float(cell) if NUMBER.fullmatch(cell) else np.nan


def _text(table: pa.Table, header: CsvHeader) -> pa.Array:
    """Return the text of the times; date and time of day are joined by a blank."""
    columns = [table.column(str(column)).combine_chunks() for column in header.time]
    if len(columns) == 1:
        return columns[0]
    return pa.compute.binary_join_element_wise(*columns, pa.scalar(b" ", pa.binary()))


def _floats(table: pa.Table, column: int) -> np.ndarray:
    return table.column(str(column)).combine_chunks().to_numpy(zero_copy_only=False)


def _judge(values: Sequence[np.ndarray], fault: np.ndarray) -> None:
    """Add to `fault` what is wrong with the prices and the volume; a value that is no number is wrong in itself."""
    opened, high, low, close, volume = values
    is_finite = np.logical_and.reduce([np.isfinite(column) for column in values])
    least, most = np.minimum(opened, close), np.maximum(opened, close)
    checks = {
        PRICE: (np.minimum(least, np.minimum(low, high)) <= 0) & is_finite,
        VOLUME: (volume < 0) & is_finite,
        RANGE: ((low > least) | (high < most)) & is_finite,
        NOT_NUMBER: ~is_finite & (fault & CELLS == 0),
    }
    for reason, is_wrong in checks.items():
        if is_wrong.any():
            fault[is_wrong] |= reason


def utc(ns: np.ndarray, is_utc: np.ndarray, fault: np.ndarray, zone: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the time of each row in UTC, its faults with those of the clock, and where the clock shows it twice.

    Parameters
    ----------
    ns, is_utc, fault
        Of `Rows`.
    zone
        Zone of the times that name none.
    """
    on_wall = np.flatnonzero(~is_utc & (fault & TIME == 0))
    if zone == "UTC" or not len(on_wall):
        return ns, fault, np.zeros(len(ns), bool)
    time, fault, is_twice = ns.copy(), fault.copy(), np.zeros(len(ns), bool)
    time[on_wall], exists, is_twice[on_wall] = zones.to_utc(ns[on_wall], zone)
    fault[on_wall[~exists]] |= SKIPPED
    return time, fault, is_twice
