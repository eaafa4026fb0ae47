"""How the temperature, at which the search draws its candidates, falls in the course of a game."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from stages.datasets.hex.schema import N_CELLS

Decay = Literal["exponential", "linear", "step", "game_progress", "constant"]


@dataclass(frozen=True)
class Schedule:
    """A temperature for every move of a game.

    Attributes
    ----------
    start, end
        Temperature of the first move, and what it falls to.
    decay
        ``exponential`` or ``linear`` within `moves` moves, ``game_progress``: linear within all 169, ``step``: at the
        moves `step_moves` to the temperatures `step_temperatures`, ``constant``: never.
    """

    decay: Decay
    start: float
    end: float
    moves: int
    step_moves: tuple[int, ...]
    step_temperatures: tuple[float, ...]

    def at(self, move: int) -> float:
        """Return the temperature of a move, counted from 0.

        Examples
        --------
        >>> schedule = Schedule("linear", 0.5, 0.25, 50, (), ())
        >>> schedule.at(0), schedule.at(25), schedule.at(90)
        (0.5, 0.375, 0.25)
        """
        if self.decay == "step":
            return (self.start, *self.step_temperatures)[bisect_right(self.step_moves, move)]
        if self.decay == "exponential":
            return self.start * (self.end / self.start) ** min(move / self._span, 1.0)
        if self.decay == "constant":
            return self.start
        return self.start + (self.end - self.start) * min(move / self._span, 1.0)

    @property
    def _span(self) -> int:
        return N_CELLS if self.decay == "game_progress" else self.moves

    def __str__(self) -> str:
        """Say what decides the temperatures, for a file's header."""
        if self.decay == "step":
            steps = zip(self.step_moves, self.step_temperatures, strict=True)
            return ", ".join(["step", *(f"{temperature} from move {move}" for move, temperature in steps)])
        if self.decay == "constant":
            return self.decay
        return f"{self.decay} to {self.end} within {self._span} moves"
