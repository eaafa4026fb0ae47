"""The board, and the options of the dataset.

The board has 13 x 13 cells. A letter a..m is a column, a number 1..13 a row; cell = row * 13 + column, so the cells go
a1, b1, ... m1, a2, ... m13. Blue moves first and joins row 1 (the top) with row 13; red joins column a (the left) with
column m. Stones are never taken away, and exactly one of the two joins in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.core.errors import ExpectedError
from stages.core.params import build, require_choices

SIZE = 13
N_CELLS = SIZE * SIZE
BLUE, RED = 0, 1
PLAYERS = ("blue", "red")
LETTERS = "abcdefghijklm"
CELL_NAMES = tuple(f"{letter}{row + 1}" for row in range(SIZE) for letter in LETTERS)

WHERE = "params.yaml: datasets.hex.options"
CHOICES = {
    "positions": ("all", "final", "penultimate"),
    "duplicates": ("exact", "symmetric"),
    "repeated": ("refuse", "truncate"),
    "after_win": ("refuse", "truncate"),
    "unfinished": ("refuse", "keep"),
    "contradiction": ("refuse", "recompute"),
}


@dataclass(frozen=True)
class Options:
    """The options of the dataset in params.yaml.

    Attributes
    ----------
    positions
        Which positions of a game become rows.
    games_per_unit
        Lines of a file in one unit.
    duplicates
        Which games are the same: `exact` those with the same moves and winner, `symmetric` their rotations by 180
        degrees too.
    legacy_winners
        Whether winners 1 (blue) and 2 (red) are read.
    max_bad_lines
        Largest share of a unit's game lines that may be refused, rounded up to whole lines.
    tier_seed
        Of the draw of tiers.
    repeated
        What to do with a game that plays on an occupied cell: `truncate` cuts before it.
    after_win
        What to do with moves after the win: `truncate` cuts after the winning stone.
    unfinished
        What to do with a game that nobody has won: `keep` trusts the winner in the file.
    contradiction
        What to do with a winner that is not the board's: `recompute` takes the board's.
    """

    positions: str = "all"
    games_per_unit: int = 500
    duplicates: str = "exact"
    legacy_winners: bool = False
    max_bad_lines: float = 0.1
    tier_seed: int = 42
    repeated: str = "refuse"
    after_win: str = "refuse"
    unfinished: str = "refuse"
    contradiction: str = "refuse"


def options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ExpectedError
        With the key, what was found and what is expected.
    """
    result = build(Options, dict(entry), WHERE)
    require_choices(result, CHOICES, WHERE)
    if result.games_per_unit < 1:
        raise ExpectedError(f"{WHERE}.games_per_unit: {result.games_per_unit}, expected a whole number from 1")
    if not 0 <= result.max_bad_lines <= 1:
        raise ExpectedError(f"{WHERE}.max_bad_lines: {result.max_bad_lines:g}, expected a share from 0 to 1")
    return result
