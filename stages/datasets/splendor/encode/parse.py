"""CSV bytes of many games -> one table of small integers, at a fraction of a millisecond a game.

The games' rows are glued into one buffer; all separators are found at once, and the one or two digits before each
are taken as its value. The few fields that are neither (game ids, action types, -1) are decoded column by column.
Accepted are the three dialects of the logs: CRLF or LF line ends, a missing value empty or ``nan``, integers with
or without a trailing ``.0``. Anything else makes a game not plain, and `explain` then says where and why.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.errors import BadUnit
from stages.datasets.splendor.schema import ACTION_COLUMN, ACTION_TYPES, N_COLUMNS, NOBLE_SELECTION_COLUMN, RAW_COLUMNS

MISSING = -128  # below every value of the table
HEADER = ",".join(RAW_COLUMNS).encode()
COMMA, NEWLINE, RETURN, DOT, MINUS, ZERO, LETTER_N, LETTER_A = b",\n\r.-0na"
TURN_COLUMN = 2
LONGEST_NUMBER = 18  # digits that fit int64
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
    """

    values: np.ndarray
    game_id: np.ndarray
    turn_number: np.ndarray
    offsets: np.ndarray


def body(content: bytes, where: str) -> bytes:
    """Return the rows of a file, its header checked and dropped; the last one ends in a newline.

    Raises
    ------
    BadUnit
        When the file is empty, its header is another one, or it has no row.
    """
    header, _, rows = content.partition(b"\n")
    if header.removesuffix(b"\r") != HEADER:
        raise BadUnit(_explain_header(header.removesuffix(b"\r"), where))
    if not rows:
        raise BadUnit(f"{where}:2: no rows after the header, expected one per move; correct or remove the file")
    return rows if rows.endswith(b"\n") else rows + b"\n"


def _explain_header(header: bytes, where: str) -> str:
    if not header:
        return f"{where}:1: empty, expected a header of {N_COLUMNS} columns; correct or remove the file"
    found = header.decode("utf-8", "replace").split(",")
    for column, (name, expected) in enumerate(zip(found, RAW_COLUMNS, strict=False), 1):
        if name != expected:
            return f"{where}:1: column {column} is {name[:40]!r}, expected {expected!r}; correct the header"
    return f"{where}:1: {len(found)} columns, expected {N_COLUMNS}; correct the header"


def parse(bodies: Sequence[bytes]) -> Table | None:
    """Parse the rows of some games, or return None when a field of one of them is not plain.

    Parameters
    ----------
    bodies
        Per game what `body` returned.
    """
    buffer = np.frombuffer(b"\n" * LOOK_BACK + b"".join(bodies), np.uint8)
    ends = np.flatnonzero((buffer == COMMA) | (buffer == NEWLINE))[LOOK_BACK - 1 :]
    ends, lengths = ends[1:], np.diff(ends) - 1
    n_rows = np.array([rows.count(b"\n") for rows in bodies])
    is_whole = len(ends) == n_rows.sum() * N_COLUMNS and (buffer[ends[N_COLUMNS - 1 :: N_COLUMNS]] == NEWLINE).all()
    if not is_whole:
        return None
    is_return = buffer[ends[N_COLUMNS - 1 :: N_COLUMNS] - 1] == RETURN
    ends[N_COLUMNS - 1 :: N_COLUMNS] -= is_return
    lengths[N_COLUMNS - 1 :: N_COLUMNS] -= is_return
    values, plain = _short_fields(buffer, ends, np.minimum(lengths, 255).astype(np.uint8))
    values, plain = values.reshape(-1, N_COLUMNS), plain.reshape(-1, N_COLUMNS)
    ends, lengths = ends.reshape(-1, N_COLUMNS), lengths.reshape(-1, N_COLUMNS)
    numbers = {}
    for column in (0, TURN_COLUMN):
        numbers[column], plain[:, column] = _numbers(buffer, ends[:, column], lengths[:, column])
        values[:, column] = 0
    values[:, ACTION_COLUMN], plain[:, ACTION_COLUMN] = _actions(
        buffer, ends[:, ACTION_COLUMN], lengths[:, ACTION_COLUMN]
    )
    _minus_one(buffer, ends, lengths, values, plain)
    if not plain.all():
        return None
    offsets = np.concatenate([[0], np.cumsum(n_rows)])
    return Table(np.ascontiguousarray(values.T), numbers[0], numbers[TURN_COLUMN], offsets)


def _short_fields(buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode fields of at most two digits and missing ones; return int8 values and which fields these are."""
    last, before = buffer[ends - 1], buffer[ends - 2]
    missing = lengths == 0
    if LETTER_N in last:
        missing |= (lengths == 3) & (last == LETTER_N) & (before == LETTER_A) & (buffer[ends - 3] == LETTER_N)
    if DOT in buffer:
        last, before, lengths = _without_point_zero(buffer, ends, lengths, last, before)
    units, tens = last - ZERO, before - ZERO
    one, two = (lengths == 1) & (units <= 9), (lengths == 2) & (units <= 9) & (tens <= 9)
    values = (units + tens * (two * np.uint8(10))).view(np.int8)
    values[missing] = MISSING
    return values, one | two | missing


def _without_point_zero(
    buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray, last: np.ndarray, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look past the ``.0`` of the fields that end in it."""
    pointed = (lengths >= 3) & (last == ZERO) & (before == DOT)
    last, before = last.copy(), before.copy()
    last[pointed] = buffer[ends[pointed] - 3]
    before[pointed] = buffer[ends[pointed] - 4]
    return last, before, np.where(pointed, lengths - 2, lengths).astype(np.uint8)


def _window(buffer: np.ndarray, ends: np.ndarray, width: int) -> np.ndarray:
    """Return the `width` bytes before each of `ends`, uint8 (n, width)."""
    return buffer[ends[:, None] + np.arange(-width, 0)]


def _numbers(buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode whole numbers of up to 18 digits; return int64 values and which fields these are."""
    tail = _window(buffer, ends, 2)
    pointed = (lengths >= 3) & (tail[:, 0] == DOT) & (tail[:, 1] == ZERO)
    ends, lengths = ends - 2 * pointed, lengths - 2 * pointed
    digits = _window(buffer, ends, LONGEST_NUMBER).astype(np.int64) - ZERO
    inside = np.arange(LONGEST_NUMBER, 0, -1) <= lengths[:, None]
    good = (((digits >= 0) & (digits <= 9)) | ~inside).all(1) & (lengths >= 1) & (lengths <= LONGEST_NUMBER)
    return np.where(inside, digits, 0) @ 10 ** np.arange(LONGEST_NUMBER - 1, -1, -1), good


def _actions(buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decode action types; return their indices and which fields are one."""
    window = _window(buffer, ends, LONGEST_ACTION)
    values = np.full(len(ends), MISSING, np.int8)
    for index, name in enumerate(ACTION_TYPES):
        text = np.frombuffer(name.encode(), np.uint8)
        values[(lengths == len(text)) & (window[:, -len(text) :] == text).all(1)] = index
    return values, values != MISSING


def _minus_one(
    buffer: np.ndarray, ends: np.ndarray, lengths: np.ndarray, values: np.ndarray, plain: np.ndarray
) -> None:
    """Decode the ``-1`` (no noble) of the noble_selection column in place."""
    column = NOBLE_SELECTION_COLUMN
    rows = np.flatnonzero(~plain[:, column])
    window = _window(buffer, ends[rows, column], 4)
    found = (lengths[rows, column] == 2) & (window[:, 2:] == (MINUS, ZERO + 1)).all(1)
    found |= (lengths[rows, column] == 4) & (window == (MINUS, ZERO + 1, DOT, ZERO)).all(1)
    values[rows[found], column], plain[rows[found], column] = -1, True


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
        for column, field in enumerate(found_fields):
            if not _is_plain(column, field):
                return f"{where}:{number}: {_name(column)} is {field[:40].decode()!r}, expected {_expected(column)}"
    raise AssertionError(f"{where}: every field is plain")


def _name(column: int) -> str:
    return RAW_COLUMNS[column] if column < N_COLUMNS else f"column {column + 1}"


def _is_plain(column: int, field: bytes) -> bool:
    if column == ACTION_COLUMN:
        return field.decode() in ACTION_TYPES
    if field in (b"", b"nan"):
        return column not in (0, TURN_COLUMN)
    if not NUMBER.fullmatch(field):
        return False
    if column in (0, TURN_COLUMN):
        return not field.startswith(b"-")
    digits = field.removesuffix(b".0")
    return (digits == b"-1" and column == NOBLE_SELECTION_COLUMN) or (len(digits) <= 2 and digits.isdigit())


def _expected(column: int) -> str:
    if column == ACTION_COLUMN:
        return f"one of {', '.join(ACTION_TYPES)}; correct the file"
    if column in (0, TURN_COLUMN):
        return f"a whole number of at most {LONGEST_NUMBER} digits; correct the file"
    return "a whole number of at most two digits, or nothing; correct the file"
