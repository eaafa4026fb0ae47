"""CSV bytes of many games -> one table of small integers, at a fraction of a millisecond a game.

The games' rows are glued into one buffer; all separators are found at once, and the one or two digits before each
are taken as its value. The few fields that are neither (game ids, action types, -1) are decoded column by column.
Accepted are the three dialects of the logs: CRLF or LF line ends, a missing value empty or ``nan``, integers with
or without a trailing ``.0``. Anything else makes a game not plain: what other programs add is taken off then
(`spreadsheet`), and of what is not plain after that `explain` says where and why.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.core.errors import BadUnit
from stages.datasets.splendor.encode.spreadsheet import (
    EMPTY,
    restored,
    with_commas,
    without_blanks,
    without_cells_behind,
)
from stages.datasets.splendor.schema import (
    ACTION_COLUMN,
    ACTION_TYPES,
    GAME_COLUMN,
    N_COLUMNS,
    NOBLE_SELECTION_COLUMN,
    RAW_COLUMNS,
    TURN_COLUMN,
)

MISSING = -128  # below every value of the table
HEADER = ",".join(RAW_COLUMNS).encode()
COMMA, NEWLINE, RETURN, DOT, MINUS, ZERO, ONE, LETTER_N, LETTER_A = b",\n\r.-01na"
NUMBER_COLUMNS = (GAME_COLUMN, TURN_COLUMN)
LONGEST_NUMBER = 18  # digits that fit int64
PLACES = np.arange(LONGEST_NUMBER - 1, -1, -1)  # of the digits of a number, 0 for the last one
LONGEST_ACTION = max(map(len, ACTION_TYPES))
LOOK_BACK = LONGEST_NUMBER + 2
NUMBER = re.compile(rb"-?[0-9]{1,18}(\.0)?")


@dataclass(frozen=True)
class Table:
    """The rows of some games, columns first.

    Attributes
    ----------
    values
        int8 (403, N), `MISSING` where a field is empty. The columns game_id and turn_number are 0 here;
        action_type is an index into `ACTION_TYPES`.
    game_id, turn_number
        int64 (N,).
    offsets
        int64 (G+1,): the rows of game g are ``offsets[g]:offsets[g + 1]``.
    moved
        int64 (K,): the rows whose move stood in other columns, see `take3`.
    """

    values: np.ndarray
    game_id: np.ndarray
    turn_number: np.ndarray
    offsets: np.ndarray
    moved: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def body(content: bytes, where: str) -> bytes:
    """Return the rows of a file, its header checked and dropped; the last one ends in a newline.

    Raises
    ------
    BadUnit
        When the file is empty, its header is another one, or it has no row.
    """
    header, _, rows = content.partition(b"\n")
    if header.removesuffix(b"\r") != HEADER:
        rows = _rows_below(header.removesuffix(b"\r"), rows, where)
    if not rows.strip(EMPTY):
        raise BadUnit(f"{where}:2: no rows after the header, expected one per move; correct or remove the file")
    return rows if rows.endswith(b"\n") else rows + b"\n"


def _rows_below(header: bytes, rows: bytes, where: str) -> bytes:
    """Return the rows of a file whose header is not plain, in the form that the header says they have."""
    header, rows = with_commas(header, rows)
    if (without := without_blanks(header)) != header:
        header, rows = without, without_blanks(rows)
    header = restored(header)
    if (without := without_cells_behind(header)) != header:
        header, rows = without, without_cells_behind(restored(rows))
    if header != HEADER:
        raise BadUnit(_explain_header(header, where))
    return rows


def _explain_header(header: bytes, where: str) -> str:
    if not header:
        return f"{where}:1: empty, expected a header of {N_COLUMNS} columns; correct or remove the file"
    if header.startswith(b"sep="):
        return f"{where}:1: a line 'sep=' for spreadsheets, expected the header; remove that line"
    found = header.decode("utf-8", "replace").split(",")
    for column, (name, expected) in enumerate(zip(found, RAW_COLUMNS, strict=False), 1):
        if name != expected:
            return f"{where}:1: column {column} is {name[:40]!r}, expected {expected!r}; correct the header"
    return f"{where}:1: {len(found)} columns, expected {N_COLUMNS}; correct the header"


@dataclass(frozen=True)
class _Fields:
    """Fields of a buffer of bytes: field i is ``buffer[ends[i] - lengths[i] : ends[i]]``; both int64, of one shape."""

    buffer: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray

    def column(self, column: int) -> "_Fields":
        """Return one column, (N,), of the fields of N rows."""
        return _Fields(self.buffer, self.ends[:, column], self.lengths[:, column])

    def last_bytes(self, width: int) -> np.ndarray:
        """Return the `width` bytes before the end of each of n fields, uint8 (n, width)."""
        return self.buffer[self.ends[:, None] + np.arange(-width, 0)]


def parse(bodies: Sequence[bytes]) -> Table | None:
    """Parse the rows of some games, or return None when a field of one of them is not plain.

    Parameters
    ----------
    bodies
        Per game what `body` returned.
    """
    n_rows = np.array([rows.count(b"\n") for rows in bodies])
    fields = _cut(bodies, int(n_rows.sum()))
    if fields is None:
        return None
    # Nearly all fields are short, and decoded at once; then the columns that hold anything else.
    values, is_plain = _short_fields(fields)
    game_id, is_plain[:, GAME_COLUMN] = _numbers(fields.column(GAME_COLUMN))
    turn_number, is_plain[:, TURN_COLUMN] = _numbers(fields.column(TURN_COLUMN))
    values[:, GAME_COLUMN] = values[:, TURN_COLUMN] = 0
    values[:, ACTION_COLUMN], is_plain[:, ACTION_COLUMN] = _actions(fields.column(ACTION_COLUMN))
    rows = _minus_ones(fields.column(NOBLE_SELECTION_COLUMN), is_plain[:, NOBLE_SELECTION_COLUMN])
    values[rows, NOBLE_SELECTION_COLUMN] = -1
    is_plain[rows, NOBLE_SELECTION_COLUMN] = True
    if not is_plain.all():
        return None
    offsets = np.concatenate([[0], np.cumsum(n_rows)])
    return Table(np.ascontiguousarray(values.T), game_id, turn_number, offsets)


def _cut(bodies: Sequence[bytes], n_rows: int) -> _Fields | None:
    """Return the fields of all rows, (n_rows, 403), or None if a row has more or fewer of them."""
    # Newlines in front, so that every field may be looked at from its end backwards; the last one ends "field -1".
    buffer = np.frombuffer(b"\n" * LOOK_BACK + b"".join(bodies), np.uint8)
    separators = np.flatnonzero((buffer == COMMA) | (buffer == NEWLINE))[LOOK_BACK - 1 :]
    if len(separators) - 1 != n_rows * N_COLUMNS:
        return None
    ends = separators[1:].reshape(n_rows, N_COLUMNS)
    lengths = (np.diff(separators) - 1).reshape(n_rows, N_COLUMNS)
    # As many newlines as rows: where each 403rd separator is one, no other is.
    row_ends = ends[:, -1]
    if (buffer[row_ends] != NEWLINE).any():
        return None
    # The "\r" of CRLF is not of the last field.
    is_return = buffer[row_ends - 1] == RETURN
    ends[:, -1] -= is_return
    lengths[:, -1] -= is_return
    return _Fields(buffer, ends, lengths)


def _short_fields(fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """Decode fields of at most two digits and missing ones; return int8 values and which fields these are."""
    buffer, ends = fields.buffer, fields.ends
    lengths = np.minimum(fields.lengths, 255).astype(np.uint8)
    last, before = buffer[ends - 1], buffer[ends - 2]
    is_missing = lengths == 0
    if LETTER_N in last:
        is_nan = (lengths == 3) & (last == LETTER_N) & (before == LETTER_A) & (buffer[ends - 3] == LETTER_N)
        is_missing |= is_nan
    if DOT in buffer:
        last, before, lengths = _without_point_zero(buffer, ends, lengths, last, before)
    # What is below "0" wraps to above 9.
    units, tens = last - ZERO, before - ZERO
    has_one = (lengths == 1) & (units <= 9)
    has_two = (lengths == 2) & (units <= 9) & (tens <= 9)
    values = (units + tens * (has_two * np.uint8(10))).view(np.int8)
    values[is_missing] = MISSING
    return values, has_one | has_two | is_missing


def _without_point_zero(
    buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray, last: np.ndarray, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look past the ``.0`` of the fields that end in it."""
    pointed = np.nonzero((lengths >= 3) & (last == ZERO) & (before == DOT))
    ends_of_pointed = ends[pointed]
    last, before, lengths = last.copy(), before.copy(), lengths.copy()
    last[pointed] = buffer[ends_of_pointed - 3]
    before[pointed] = buffer[ends_of_pointed - 4]
    lengths[pointed] -= 2
    return last, before, lengths


def _numbers(fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """Decode whole numbers of up to 18 digits; return int64 values and which fields these are."""
    # Look past the ".0" of the fields that end in it.
    is_pointed = (fields.lengths >= 3) & (fields.last_bytes(2) == (DOT, ZERO)).all(1)
    n_skipped = 2 * is_pointed
    digits_of = _Fields(fields.buffer, fields.ends - n_skipped, fields.lengths - n_skipped)
    # The 18 bytes before the end, of which those in front of a shorter field are not its own.
    digits = digits_of.last_bytes(LONGEST_NUMBER).astype(np.int64) - ZERO
    n_digits = digits_of.lengths
    is_own = n_digits[:, None] > PLACES
    is_digit = (digits >= 0) & (digits <= 9)
    is_number = (is_digit | ~is_own).all(1) & (n_digits >= 1) & (n_digits <= LONGEST_NUMBER)
    return np.where(is_own, digits, 0) @ 10**PLACES, is_number


def _actions(fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """Decode action types; return their indices and which fields are one."""
    window = fields.last_bytes(LONGEST_ACTION)
    values = np.full(len(window), MISSING, np.int8)
    for index, name in enumerate(ACTION_TYPES):
        text = np.frombuffer(name.encode(), np.uint8)
        values[(fields.lengths == len(text)) & (window[:, -len(text) :] == text).all(1)] = index
    return values, values != MISSING


def _minus_ones(fields: _Fields, is_plain: np.ndarray) -> np.ndarray:
    """Return the rows of a column, of those that are not plain, whose field is ``-1`` or ``-1.0``."""
    rows = np.flatnonzero(~is_plain)
    lengths = fields.lengths[rows]
    window = _Fields(fields.buffer, fields.ends[rows], lengths).last_bytes(4)
    is_short = (lengths == 2) & (window[:, 2:] == (MINUS, ONE)).all(1)
    is_pointed = (lengths == 4) & (window == (MINUS, ONE, DOT, ZERO)).all(1)
    return rows[is_short | is_pointed]


def explain(rows: bytes, where: str) -> str:
    """Say why `parse` could not take this game: the first field that is not plain.

    Parameters
    ----------
    rows
        What `body` returned.
    where
        The file.
    """
    lines = rows.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate((line.removesuffix(b"\r") for line in lines), 2):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            column = line[: error.start].count(b",")
            found = line.split(b",")[column][:20]
            return f"{where}:{number}: {_name(column)} is {found!r}, which is not UTF-8; correct the file"
        found_fields = line.split(b",")
        if not line:
            return f"{where}:{number}: blank line, expected {N_COLUMNS} columns; remove it"
        if len(found_fields) != N_COLUMNS:
            hint = "the file looks truncated" if number == len(lines) + 1 else "correct the row"
            return f"{where}:{number}: {len(found_fields)} columns, expected {N_COLUMNS}; {hint}"
        for column, cell in enumerate(found_fields):
            if not _is_plain(column, cell):
                return f"{where}:{number}: {_name(column)} is {cell[:40].decode()!r}, expected {_expected(column)}"
    raise AssertionError(f"{where}: every field is plain")


def _name(column: int) -> str:
    return RAW_COLUMNS[column] if column < N_COLUMNS else f"column {column + 1}"


def _is_plain(column: int, field: bytes) -> bool:
    if column == ACTION_COLUMN:
        return field.decode() in ACTION_TYPES
    if field in (b"", b"nan"):
        return column not in NUMBER_COLUMNS
    if not NUMBER.fullmatch(field):
        return False
    if column in NUMBER_COLUMNS:
        return not field.startswith(b"-")
    digits = field.removesuffix(b".0")
    return (digits == b"-1" and column == NOBLE_SELECTION_COLUMN) or (len(digits) <= 2 and digits.isdigit())


def _expected(column: int) -> str:
    if column == ACTION_COLUMN:
        return f"one of {', '.join(ACTION_TYPES)}; correct the file"
    if column in NUMBER_COLUMNS:
        return f"a whole number of at most {LONGEST_NUMBER} digits; correct the file"
    return "a whole number of at most two digits, or nothing; correct the file"
