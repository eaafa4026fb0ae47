"""The board, and the options of the dataset.

The board has 13 x 13 cells. A letter a..m is a column, a number 1..13 a row; cell = row * 13 + column, so the cells go
a1, b1, ... m1, a2, ... m13. Blue moves first and joins row 1 (the top) with row 13; red joins column a (the left) with
column m. Stones are never taken away, and exactly one of the two joins in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from stages.core.params import AtLeast, Between, build

SIZE = 13
N_CELLS = SIZE * SIZE
BLUE, RED = 0, 1
PLAYERS = ("blue", "red")
LETTERS = "abcdefghijklm"
CELL_NAMES = tuple(f"{letter}{row + 1}" for row in range(SIZE) for letter in LETTERS)

WHERE = "params.yaml: datasets.hex.options"


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

    positions: Literal["all", "final", "penultimate"] = "all"
    games_per_unit: Annotated[int, AtLeast(1)] = 500
    duplicates: Literal["exact", "symmetric"] = "exact"
    legacy_winners: bool = False
    max_bad_lines: Annotated[float, Between(0, 1)] = 0.1
    tier_seed: int = 42
    repeated: Literal["refuse", "truncate"] = "refuse"
    after_win: Literal["refuse", "truncate"] = "refuse"
    unfinished: Literal["refuse", "keep"] = "refuse"
    contradiction: Literal["refuse", "recompute"] = "refuse"


def parse_options(entry: Mapping[str, Any]) -> Options:
    """Return the options, checked.

    Raises
    ------
    ParamsError
        With every wrong key, what was found and what is expected.
    """
    return build(Options, dict(entry), WHERE)
