"""A game between two players, move by move, with the words for it: names of sides and cells, and a drawing.

Nothing here changes: a move makes another game, and so does one that is taken back.
"""

from dataclasses import dataclass

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import BLUE, CELL_NAMES, LETTERS, N_CELLS, PLAYERS, RED, SIZE
from stages.datasets.hex.simulate.board import won

# Elsewhere black moves first and joins the top with the bottom, as blue does here.
SIDES = {"blue": BLUE, "black": BLUE, "b": BLUE, "red": RED, "white": RED, "w": RED, "r": RED}
STONES = "BR"
_SHOWN = 40  # characters of what was typed, in a message


@dataclass(frozen=True)
class HexGame:
    """A game so far.

    Attributes
    ----------
    moves
        Who did what, in order: a side with the cell of its stone, or with None where it resigned. Sides need not take
        turns: the protocol lets one side move twice.
    """

    moves: tuple[tuple[int, int | None], ...] = ()

    @property
    def board(self) -> np.ndarray:
        """The stones, uint8 (1, 2, 13, 13)."""
        result = np.zeros((1, 2, N_CELLS), np.uint8)
        for side, cell in self.moves:
            if cell is not None:
                result[0, side, cell] = 1
        return result.reshape(1, 2, SIZE, SIZE)

    @property
    def to_move(self) -> int:
        """The side whose turn it is: blue at first, then the one that did not move last."""
        return 1 - self.moves[-1][0] if self.moves else BLUE

    @property
    def winner(self) -> int | None:
        """The side that has won, None as long as the game goes on."""
        if not self.moves:
            return None
        side, cell = self.moves[-1]
        if cell is None:
            return 1 - side
        return side if won(self.board, np.array([side]))[0] else None

    def put(self, side: int, cell: int) -> "HexGame":
        """Return the game with one stone more.

        Raises
        ------
        ExpectedError
            When the cell is taken, or the game is over.
        """
        self._require_going_on()
        if any(cell == taken for _, taken in self.moves):
            raise ExpectedError(f"{CELL_NAMES[cell]} is taken, expected an empty cell")
        return HexGame((*self.moves, (side, cell)))

    def resigned(self, side: int) -> "HexGame":
        """Return the game that a side has given up.

        Raises
        ------
        ExpectedError
            When it is over already.
        """
        self._require_going_on()
        return HexGame((*self.moves, (side, None)))

    def undone(self) -> "HexGame":
        """Return the game without its last move.

        Raises
        ------
        ExpectedError
            When there is none.
        """
        if not self.moves:
            raise ExpectedError("no move yet, expected one to take back")
        return HexGame(self.moves[:-1])

    def _require_going_on(self) -> None:
        if self.winner is not None:
            raise ExpectedError(f"the game is over, {PLAYERS[self.winner]} has won; take a move back or begin anew")


def side_of(text: str) -> int:
    """Return the side of a word such as black, B or blue.

    Raises
    ------
    ExpectedError
        When it names none.
    """
    if text.lower() not in SIDES:
        raise ExpectedError(f"{shortened(text)}: no colour, expected one of {', '.join(SIDES)}")
    return SIDES[text.lower()]


def cell_of(text: str) -> int:
    """Return the cell of a name such as g7 or G7.

    Raises
    ------
    ExpectedError
        When it names none.
    """
    if text.lower() not in CELL_NAMES:
        raise ExpectedError(f"{shortened(text)}: no cell, expected one from {CELL_NAMES[0]} to {CELL_NAMES[-1]}")
    return CELL_NAMES.index(text.lower())


def shortened(text: str) -> str:
    """Return what was typed in quotes, its first characters where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def drawing(game: HexGame) -> str:
    r"""Return the board as 15 lines: a letter above and below each column, a number at both ends of each row.

    A row begins half a cell to the right of the one above, so that the neighbours of a cell are the two beside it and
    the two nearest ones above and below. The last stone stands in brackets.

    Examples
    --------
    >>> print("\n".join(drawing(HexGame().put(BLUE, 1)).splitlines()[1:3]))
      1  .[B]. . . . . . . . . . .  1
       2  . . . . . . . . . . . . .  2
    """
    stones = {cell: STONES[side] for side, cell in game.moves if cell is not None}
    last = game.moves[-1][1] if game.moves else None
    lines = [f"{'':5}{' '.join(LETTERS)}"]
    for row in range(SIZE):
        text = "".join(f" {stones.get(cell, '.')}" for cell in range(row * SIZE, (row + 1) * SIZE)) + " "
        if last is not None and last // SIZE == row:
            at = 2 * (last % SIZE)
            text = f"{text[:at]}[{text[at + 1]}]{text[at + 3 :]}"
        lines.append(f"{'':{row}}{row + 1:3} {text} {row + 1}")
    return "\n".join([*lines, f"{'':{SIZE + 5}}{' '.join(LETTERS)}"])
