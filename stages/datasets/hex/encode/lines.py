"""The lines of many pieces of files at once.

Nearly all lines are plain: `#13,<moves> b` or `r`, nothing before or behind, no zero before a number. They are read by
whole-array operations on the bytes; each other line goes to `grammar.read_line`, which agrees on the plain ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.datasets.hex.encode.grammar import Line, read_line
from stages.datasets.hex.schema import RED, SIZE

HEAD = np.frombuffer(b"#13,", np.uint8)
TAIL_BYTES = 2  # a space and the winner
WINNER_BYTES = np.frombuffer(b"br", np.uint8)
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
    # What is not plain goes through the grammar, a line at a time.
    games = _by_grammar(joined, lines, np.flatnonzero(~is_plain), legacy_winners)
    accepted = {i: game for i, game in games.items() if not game.reason}

    # A stone of a plain line is a letter among its moves; other lines have none left.
    letters = np.flatnonzero(kinds == LETTER)
    first_stone = np.searchsorted(letters, np.append(lines.start, len(text)))
    n_stones = np.diff(first_stone)
    winner = _plain_winner(text, lines)

    # The games of the grammar come in between, each at its line.
    place = np.array(list(accepted), np.int64)
    n_stones[place] = [len(game.cells) for game in accepted.values()]
    stones = np.array([cell for game in accepted.values() for cell in game.cells], np.uint8)
    cells = np.insert(_cells(text, letters), np.repeat(first_stone[place], n_stones[place]), stones)
    winner[place] = [game.winner for game in accepted.values()]

    is_game = np.flatnonzero(n_stones)
    return Records(
        cells=cells,
        offsets=np.concatenate([[0], np.cumsum(n_stones[is_game])]).astype(np.int64),
        winner=winner[is_game],
        unit=lines.unit[is_game],
        line=lines.line[is_game],
        refused=_refused(lines, games),
    )


def _plain_winner(text: np.ndarray, lines: _Lines) -> np.ndarray:
    """Return who won each line, int8 (L,), by its last letter; of lines that are not plain it says nothing."""
    last = text[np.maximum(lines.end - 1, 0)]
    return (last == ord("r")).astype(np.int8) * RED


def _refused(lines: _Lines, games: Mapping[int, Line]) -> list[tuple[int, int, str]]:
    """Return piece, line and reason of each line that the grammar refuses."""
    return [(int(lines.unit[i]), int(lines.line[i]), game.reason) for i, game in games.items() if game.reason]


def _by_grammar(joined: bytes, lines: _Lines, chosen: np.ndarray, legacy_winners: bool) -> dict[int, Line]:
    """Return what the grammar says of some lines, by their number, without blank ones and comments."""
    read = {i: read_line(joined[lines.start[i] : lines.end[i]], legacy_winners) for i in chosen.tolist()}
    return {i: line for i, line in read.items() if line is not None}


def _cut(text: np.ndarray, contents: Sequence[bytes]) -> _Lines:
    newline = np.flatnonzero(text == ord("\n"))
    number = np.arange(len(newline))
    # Which line each piece begins with, and so which piece each line is of.
    first_byte = np.cumsum([0, *(len(content) + 1 for content in contents[:-1])])
    first_line = np.searchsorted(newline, first_byte)
    unit = np.searchsorted(first_line, number, side="right") - 1
    return _Lines(
        start=np.concatenate([[0], newline[:-1] + 1]),
        end=newline - (text[newline - 1] == ord("\r")),
        unit=unit.astype(np.int32),
        line=(number - first_line[unit] + 1).astype(np.int32),
    )


def _plain(text: np.ndarray, lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return which lines are plain, bool (L,), and the kinds of all bytes; all but their moves are `FRAME`."""
    # Lines that begin with "#13,", end in " b" or " r", and have something in between.
    is_plain = lines.end - lines.start > len(HEAD) + TAIL_BYTES
    head = lines.start[is_plain][:, None] + np.arange(len(HEAD))
    tail = lines.end[is_plain][:, None] - np.arange(TAIL_BYTES, 0, -1)
    blank, winner = text[tail].T
    has_tail = (blank == ord(" ")) & np.isin(winner, WINNER_BYTES)
    is_framed = (text[head] == HEAD).all(axis=1) & has_tail
    is_plain[is_plain] = is_framed

    # Of these only the moves stay, of the others nothing.
    kinds = KINDS[text]
    kinds[lines.end] = FRAME  # the "\r" of a line end
    kinds[head[is_framed]] = FRAME
    kinds[tail[is_framed]] = FRAME
    _blank(kinds, lines, ~is_plain)

    # A line is not plain after all if some byte of its moves may not stand there.
    wrong_lines = np.searchsorted(lines.start, _wrong(kinds), side="right") - 1
    is_wrong = np.zeros(len(is_plain), bool)
    is_wrong[wrong_lines] = True
    _blank(kinds, lines, is_wrong)
    return is_plain & ~is_wrong, kinds


def _blank(kinds: np.ndarray, lines: _Lines, chosen: np.ndarray) -> None:
    """Set all bytes of the chosen lines, bool (L,), to `FRAME`."""
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
    first, second = text[letters + 1] - ord("0"), text[letters + 2] - ord("0")
    # A second digit makes the number 10 to 13; what is below "0" wraps to above 9.
    number = np.where(second <= 9, second + 10, first)
    return ((number - 1) * SIZE + text[letters] - ord("a")).astype(np.uint8)
