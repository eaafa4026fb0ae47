"""The lines of many pieces of files at once.

Nearly all lines are plain: `#13,<moves> b` or `r`, nothing before or behind, no zero before a number. They are read by
whole-array operations on the bytes; each other line goes to `grammar.read_line`, which agrees on the plain ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.datasets.hex.encode.grammar import read_line
from stages.datasets.hex.schema import RED, SIZE

HEAD = np.frombuffer(b"#13,", np.uint8)
TAIL_BYTES = 2  # a space and the winner
FRAME, LETTER, ZERO, ONE, FEW, MANY, STRANGE = range(7)  # kinds of bytes in moves; FEW is 2 or 3, MANY 4 to 9


def _kinds() -> np.ndarray:
    kinds = np.full(256, STRANGE, np.uint8)
    for characters, kind in (("\n", FRAME), ("abcdefghijklm", LETTER), ("0", ZERO), ("1", ONE), ("23", FEW)):
        kinds[[ord(character) for character in characters]] = kind
    kinds[ord("4") : ord("9") + 1] = MANY
    return kinds


def _pairs() -> np.ndarray:
    """Say which kind may follow which, bool (64,), at `first * 8 + second`."""
    pairs = np.zeros((8, 8), bool)
    pairs[FRAME, [FRAME, LETTER]] = True
    pairs[LETTER, [ONE, FEW, MANY]] = True
    pairs[[ZERO, FEW, MANY], FRAME] = pairs[[ZERO, FEW, MANY], LETTER] = True
    pairs[ONE, [FRAME, LETTER, ZERO, ONE, FEW]] = True
    return pairs.ravel()


KINDS, PAIRS = _kinds(), _pairs()


@dataclass(frozen=True)
class Records:
    """G games as the lines say them, in the order of the lines, with M stones.

    Attributes
    ----------
    cells
        uint8 (M,): cell of each stone, not checked against the others.
    offsets
        int64 (G+1,): first stone of each game; every game has one.
    winner
        int8 (G,): -1 none given, 0 blue, 1 red.
    unit
        int32 (G,): index of the piece.
    line
        int32 (G,): line, from 1, in the piece.
    refused
        Piece, line and reason of each line that is refused.
    """

    cells: np.ndarray
    offsets: np.ndarray
    winner: np.ndarray
    unit: np.ndarray
    line: np.ndarray
    refused: list[tuple[int, int, str]]


@dataclass(frozen=True)
class _Lines:
    """All L lines: first byte and end without the line end, int64 (L,); piece and line, int32 (L,)."""

    start: np.ndarray
    end: np.ndarray
    unit: np.ndarray
    line: np.ndarray


def read_lines(contents: Sequence[bytes], legacy_winners: bool) -> Records:
    """Read the lines of some pieces.

    Parameters
    ----------
    contents
        The bytes of each piece; at least one.
    legacy_winners
        Whether winners 1 and 2 are read.
    """
    joined = b"\n".join([*contents, b""])
    text = np.frombuffer(joined, np.uint8)
    lines = _cut(text, contents)
    is_plain, kinds = _plain(text, lines)
    letters = np.flatnonzero(kinds == LETTER)
    games = {
        int(i): game
        for i in np.flatnonzero(~is_plain)
        if (game := read_line(joined[lines.start[i] : lines.end[i]], legacy_winners)) is not None
    }
    refused = [(int(lines.unit[i]), int(lines.line[i]), game.reason) for i, game in games.items() if game.reason]
    others = {i: game for i, game in games.items() if not game.reason}
    place = np.array(list(others), np.int64)
    sizes = np.array([len(game.cells) for game in others.values()], np.int64)

    winner = (text[np.maximum(lines.end - 1, 0)] == ord("r")).astype(np.int8) * RED
    winner[place] = [game.winner for game in others.values()]
    first = np.searchsorted(letters, np.append(lines.start, len(text)))
    n_stones = np.diff(first)
    n_stones[place] = sizes
    stones = np.array([cell for game in others.values() for cell in game.cells], np.uint8)
    chosen = np.flatnonzero(n_stones)
    return Records(
        cells=np.insert(_cells(text, letters), np.repeat(first[place], sizes), stones),
        offsets=np.concatenate([[0], np.cumsum(n_stones[chosen])]).astype(np.int64),
        winner=winner[chosen],
        unit=lines.unit[chosen],
        line=lines.line[chosen],
        refused=refused,
    )


def _cut(text: np.ndarray, contents: Sequence[bytes]) -> _Lines:
    newline = np.flatnonzero(text == ord("\n"))
    first_byte = np.cumsum([0, *(len(content) + 1 for content in contents[:-1])])
    first_line = np.searchsorted(newline, first_byte)
    number = np.arange(len(newline))
    unit = np.searchsorted(first_line, number, side="right") - 1
    return _Lines(
        start=np.concatenate([[0], newline[:-1] + 1]),
        end=newline - (text[newline - 1] == ord("\r")),
        unit=unit.astype(np.int32),
        line=(number - first_line[unit] + 1).astype(np.int32),
    )


def _plain(text: np.ndarray, lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return which lines are plain, bool (L,), and the kinds of all bytes; all but their moves are `FRAME`."""
    is_plain = lines.end - lines.start > len(HEAD) + TAIL_BYTES
    start, end = lines.start[is_plain], lines.end[is_plain]
    head, tail = start[:, None] + np.arange(len(HEAD)), end[:, None] - np.arange(TAIL_BYTES, 0, -1)
    has_tail = (text[tail[:, 0]] == ord(" ")) & np.isin(text[tail[:, 1]], (ord("b"), ord("r")))
    is_framed = (text[head] == HEAD).all(axis=1) & has_tail
    kinds = KINDS[text]
    kinds[lines.end] = kinds[head[is_framed]] = kinds[tail[is_framed]] = FRAME
    is_plain[is_plain] = is_framed
    _blank(kinds, lines, ~is_plain)
    is_wrong = np.zeros(len(is_plain), bool)
    is_wrong[np.searchsorted(lines.start, _wrong(kinds), side="right") - 1] = True
    _blank(kinds, lines, is_wrong)
    return is_plain & ~is_wrong, kinds


def _blank(kinds: np.ndarray, lines: _Lines, chosen: np.ndarray) -> None:
    for i in np.flatnonzero(chosen):
        kinds[lines.start[i] : lines.end[i]] = FRAME


def _wrong(kinds: np.ndarray) -> np.ndarray:
    """Return the places of bytes that the next one, or the next two, may not follow in moves, int64."""
    is_wrong = ~PAIRS[kinds[:-1] * 8 + kinds[1:]]
    is_digit = kinds > LETTER
    is_wrong[:-1] |= is_digit[:-2] & is_digit[1:-1] & is_digit[2:]
    return np.flatnonzero(is_wrong)


def _cells(text: np.ndarray, letters: np.ndarray) -> np.ndarray:
    """Return the cells of plain moves, uint8, whose letters stand at these places."""
    first, second = text[letters + 1] - ord("0"), text[letters + 2] - ord("0")  # what is below "0" wraps to above 9
    number = np.where(second <= 9, second + 10, first)
    return ((number - 1) * SIZE + text[letters] - ord("a")).astype(np.uint8)
