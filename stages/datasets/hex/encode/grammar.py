"""The grammar of one line of a `.trmph` file: the only definition of what is read and what is refused, and why.

After white space at both ends is cut off, a line is

    nothing, "#" or "# text"                    no game, not counted
    [word]#13,<moves>[ winner][ # text]         a game

where `word` is anything without white space and "#" (files from the web have `http://www.trmph.com/hex/board`),
`moves` one or more letters a..m, each with a number 1..13 of at most three digits (`a01` is `a1`), and `winner` `b` or
`r`, or, if the options say so, `1` (blue) or `2` (red). White space is ASCII's, tabs included. Without a winner the
board has to decide.

Everything else is refused, never repaired. A writer that was killed leaves half a line, and the next one goes on behind
it: two "#" in one word, or a "#" with no space behind it after the moves, are two lines glued into one. So is a line
with a carriage return within it, comments too: a file whose lines end in nothing else would be one long comment.

References
----------
The files are those that the self-play program of github.com/niallc/Snowflake2025 (2025) writes.
"""

import re
from dataclasses import dataclass

from stages.datasets.hex.schema import BLUE, LETTERS, RED, SIZE

NOBODY = -1
WINNERS = {b"b": BLUE, b"r": RED}
LEGACY_WINNERS = {b"1": BLUE, b"2": RED}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

GAME = re.compile(rb"[^\s#]*#([0-9]+),(\S*)(.*)", re.DOTALL)
COMMENT = re.compile(rb"(?:^|\s)#(?:\s.*)?$", re.DOTALL)
MOVE = re.compile(rb"([a-m])([0-9]+)")

ENCODING = "not UTF-8"
NO_GAME = "no game"
BOARD = "other board size"
GLUED = "lines glued into one"
TEXT = "text after the winner"
LEGACY = "winner is 1 or 2"
WINNER = "winner is not b or r"
OUTSIDE = "move outside the board"
MOVE_FAULTS = (  # the first that is found is the reason
    (re.compile(rb"#"), GLUED),
    (re.compile(rb"^$"), "no moves"),
    (re.compile(rb"[^a-z0-9]|^[0-9]"), "character that is no move"),
    (re.compile(rb"[a-z](?![0-9])"), "move without a number"),
    (re.compile(rb"[0-9]{4}"), "move with more than three digits"),
    (re.compile(rb"[n-z]|[a-z](?!0*(?:[1-9]|1[0-3])(?![0-9]))"), OUTSIDE),
)


@dataclass(frozen=True)
class Line:
    """A line that should hold a game: its cells and winner, `NOBODY` if none is given; or why it is refused."""

    cells: tuple[int, ...] = ()
    winner: int = NOBODY
    reason: str = ""


def read_line(line: bytes, legacy_winners: bool) -> Line | None:
    r"""Read one line; None if it is blank or a comment.

    Examples
    --------
    >>> read_line(b"#13,a1b01m13\tr # resigned", False)
    Line(cells=(0, 1, 168), winner=1, reason='')
    >>> read_line(b"#13,a14 b", False)
    Line(cells=(), winner=-1, reason='move outside the board')
    """
    line = line.removeprefix(BYTE_ORDER_MARK).strip()
    if b"\r" in line:
        return Line(reason=GLUED)
    if not line or (line[:1] == b"#" and not line[1:2].strip()):
        return None
    try:
        line.decode()
    except UnicodeDecodeError:
        return Line(reason=ENCODING)
    match = GAME.fullmatch(line)
    if match is None:
        return Line(reason=NO_GAME)
    size, moves, rest = match.groups()
    winner, reason = _winner(rest, legacy_winners)
    reason = _fault(size, moves) or reason
    return Line(reason=reason) if reason else Line(_cells(moves), winner)


def _fault(size: bytes, moves: bytes) -> str:
    if size != str(SIZE).encode():
        return BOARD
    return next((reason for pattern, reason in MOVE_FAULTS if pattern.search(moves)), "")


def _cells(moves: bytes) -> tuple[int, ...]:
    return tuple((int(number) - 1) * SIZE + LETTERS.index(letter.decode()) for letter, number in MOVE.findall(moves))


def _winner(rest: bytes, legacy_winners: bool) -> tuple[int, str]:
    """Return the winner, and why what follows the moves is refused."""
    words = COMMENT.sub(b"", rest).split()
    if any(b"#" in word for word in words):
        return NOBODY, GLUED
    if len(words) > 1:
        return NOBODY, TEXT
    if not words:
        return NOBODY, ""
    if words[0] in LEGACY_WINNERS:
        return LEGACY_WINNERS[words[0]], "" if legacy_winners else LEGACY
    return WINNERS.get(words[0], NOBODY), "" if words[0] in WINNERS else WINNER
