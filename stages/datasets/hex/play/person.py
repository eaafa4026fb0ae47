"""The talk with a person: the board, what the network plays and expects, and the person's move, line by line."""

from collections.abc import Callable, Iterator

from stages.core.errors import ExpectedError
from stages.datasets.hex.play.game import HexGame, cell_of, drawing
from stages.datasets.hex.play.opponent import Opponent
from stages.datasets.hex.schema import BLUE, CELL_NAMES, PLAYERS

EDGES = ("top (row 1) with the bottom", "left (column a) with the right")
UNDO, QUIT = "undo", "quit"


class Talk:
    """A game between a person and the network.

    Parameters
    ----------
    opponent, person
        Who plays whom: the network, and the side of the person.
    lines
        What the person types.
    write
        Shows a text.

    Attributes
    ----------
    game
        So far.
    """

    def __init__(self, opponent: Opponent, person: int, lines: Iterator[str], write: Callable[[str], None]) -> None:
        self.game = HexGame()
        self._opponent, self._person, self._lines, self._write = opponent, person, lines, write

    def run(self) -> None:
        """Play until somebody has won or the person has enough."""
        self._write(self._greeting())
        goes_on = True
        while goes_on and self.game.winner is None:
            if self.game.to_move != self._person:
                self._network_moves()
            else:
                self._write(f"\n{drawing(self.game)}\n\n")
                goes_on = self._person_moves()
        if self.game.winner is not None:
            self._write(f"\n{drawing(self.game)}\n\n{self._end()}\n")

    def _greeting(self) -> str:
        mine, other = self._person, 1 - self._person
        lines = (
            f"{self._opponent.name} {self._opponent.version}",
            f"You are {PLAYERS[mine]} and join the {EDGES[mine]};",
            f"the network is {PLAYERS[other]} and joins the {EDGES[other]}. {PLAYERS[BLUE].capitalize()} moves first.",
            f"Type a cell such as g7, {UNDO} or {QUIT}.",
        )
        return "".join(f"{line}\n" for line in lines)

    def _network_moves(self) -> None:
        side = self.game.to_move
        cell = self._opponent.move(self.game, side)
        self.game = self.game.put(side, cell)
        told = f"The network plays {CELL_NAMES[cell]}"
        if self.game.winner is None:
            told += f" and expects to win with {self._opponent.chance(self.game, side):.0%}"
        self._write(f"{told}.\n")

    def _person_moves(self) -> bool:
        """Ask until there is a move or one is taken back; return whether the game goes on."""
        before = self.game
        while self.game is before:
            self._write(f"{PLAYERS[self._person]}: ")
            typed = next(self._lines, None)
            if typed is None:
                self._write("\n")
            if typed is None or typed.strip().lower() == QUIT:
                return False
            try:
                self.game = self._after(typed.strip())
            except ExpectedError as error:
                self._write(f"{error}\n")
        return True

    def _after(self, typed: str) -> HexGame:
        """Return the game behind what the person has typed."""
        if typed.lower() != UNDO:
            return self.game.put(self._person, cell_of(typed))
        if not any(side == self._person for side, _ in self.game.moves):
            raise ExpectedError("no move of yours yet, expected one to take back")
        return self.game.undone().undone()

    def _end(self) -> str:
        return "You have won." if self.game.winner == self._person else "The network has won."
