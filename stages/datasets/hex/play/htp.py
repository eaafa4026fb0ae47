"""The Hex text protocol: what Hex programs say to each other, line by line.

It is GTP 2 with the words of Hex. A line holds an optional number, a command and its arguments; `#` begins a comment.
An answer is ``=`` or, of what fails, ``?``, the number if there was one, a text, and an empty line. ``7 genmove black``
is answered by ``=7 g7``, say.

Black moves first and joins the top with the bottom (blue here), white the left with the right (red); the words blue and
red are understood as well. A side may move twice in a row, as in GTP. A move is a cell such as g7, or `resign`, which
ends the game. `swap-pieces` is refused: neither the games that a network learns from nor their format know that move.
The network never resigns; asked for a move of a game that is over it says `resign`, as other programs do. `undo` takes
back the last move, whoever made it.

References
----------
G. Farnebäck, "Specification of the Go Text Protocol, version 2" (2002): form of lines and answers.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from stages.core.errors import ExpectedError
from stages.datasets.hex.play.game import HexGame, cell_of, drawing, shortened, side_of
from stages.datasets.hex.play.opponent import Opponent
from stages.datasets.hex.schema import BLUE, CELL_NAMES, SIZE

PROTOCOL_VERSION = "2"
RESIGN, SWAP = "resign", "swap-pieces"
_NUMBER = re.compile(r"[0-9]+")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f]")


class HtpEngine:
    """The protocol as a machine: a line in, an answer out, and the game in between.

    Attributes
    ----------
    game
        So far.
    has_quit
        Whether the other side wants no more answers.
    """

    def __init__(self, opponent: Opponent) -> None:
        self.game, self.has_quit = HexGame(), False
        self._opponent = opponent
        self._commands: Mapping[str, tuple[Callable[..., str], Sequence[str]]] = {
            "name": (lambda: opponent.name, ()),
            "version": (lambda: opponent.version, ()),
            "protocol_version": (lambda: PROTOCOL_VERSION, ()),
            "list_commands": (lambda: "\n".join(self._commands), ()),
            "known_command": (lambda name: str(name in self._commands).lower(), ("command",)),
            "boardsize": (self._boardsize, ("size",)),
            "clear_board": (self._clear_board, ()),
            "play": (self._play, ("colour", "cell")),
            "genmove": (self._genmove, ("colour",)),
            "undo": (self._undo, ()),
            "showboard": (lambda: f"\n{drawing(self.game)}", ()),
            "final_score": (self._final_score, ()),
            "quit": (self._quit, ()),
        }

    def answer(self, line: str) -> str:
        """Return the answer to a line, its empty line at the end included; of a line without words nothing."""
        seen = _UNSEEN.sub("", line.partition("#")[0].replace("\t", " ")).strip()
        if not seen:
            return ""
        words = seen.split()
        number = words.pop(0) if _NUMBER.fullmatch(words[0]) else ""
        try:
            mark, text = "=", self._done(*words)
        except ExpectedError as error:
            mark, text = "?", str(error)
        return f"{mark}{number} {text}\n\n"

    def _done(self, command: str = "", *arguments: str) -> str:
        """Do what a command says and return the text of the answer."""
        if command not in self._commands:
            raise ExpectedError(f"unknown command: {shortened(command)}, expected one of list_commands")
        action, names = self._commands[command]
        if command == "boardsize" and len(arguments) == 2:  # width and height, as some programs say it
            names = ("width", "height")
        if len(arguments) != len(names):
            expected = " ".join((command, *(f"<{name}>" for name in names)))
            raise ExpectedError(f"{command}: {len(arguments)} arguments, expected {expected}")
        return action(*arguments)

    def _boardsize(self, *sizes: str) -> str:
        if set(sizes) != {str(SIZE)}:
            raise ExpectedError(f"unacceptable size: {shortened(' '.join(sizes))}, expected {SIZE}")
        return self._clear_board()

    def _clear_board(self) -> str:
        self.game = HexGame()
        return ""

    def _play(self, colour: str, move: str) -> str:
        side = side_of(colour)
        if move.lower() == RESIGN:
            self.game = self.game.resigned(side)
        elif move.lower() == SWAP:
            raise ExpectedError(f"illegal move: {SWAP} is not played here, expected a cell or {RESIGN}")
        else:
            self._put(side, move)
        return ""

    def _put(self, side: int, move: str) -> None:
        try:
            self.game = self.game.put(side, cell_of(move))
        except ExpectedError as error:
            raise ExpectedError(f"illegal move: {error}") from None

    def _genmove(self, colour: str) -> str:
        side = side_of(colour)
        if self.game.winner is not None:
            return RESIGN
        cell = self._opponent.move(self.game, side)
        self.game = self.game.put(side, cell)
        return CELL_NAMES[cell]

    def _undo(self) -> str:
        try:
            self.game = self.game.undone()
        except ExpectedError as error:
            raise ExpectedError(f"cannot undo: {error}") from None
        return ""

    def _final_score(self) -> str:
        if self.game.winner is None:
            raise ExpectedError("cannot score: nobody has won yet")
        return "B+" if self.game.winner == BLUE else "W+"

    def _quit(self) -> str:
        self.has_quit = True
        return ""
