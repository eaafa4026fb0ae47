"""Opening moves, so that games differ from the first stone on and no colour wins them all.

Pie rule: the second player may take over the first stone. The file format knows no such move. Games open instead, in
turn, with stones that nobody is eager to take over or to keep, and now and then with none.
"""

from stages.datasets.hex.schema import CELL_NAMES

_FIRST_COLUMN = [f"a{row}" for row in range(2, 14)]
_SECOND_COLUMN = [f"b{row}" for row in range(5, 12)]
_SECOND_ROW = [f"{column}2" for column in "bcdefghijk"]
_CORNERS = ["a1", "b12", "c3"]
_BAD = ["b1"]

OPENINGS: tuple[str, ...] = (*_FIRST_COLUMN, *_SECOND_COLUMN, *_SECOND_ROW, *_CORNERS, "", "", *_BAD)


def opening(game: int) -> tuple[int, ...]:
    """Return the cells that are taken before the search begins, none or one.

    Parameters
    ----------
    game
        Number of the game in the whole run, from 0; openings come again every 35 games.

    Examples
    --------
    >>> opening(0), opening(32), opening(34), opening(35)
    ((13,), (), (1,), (13,))
    """
    name = OPENINGS[game % len(OPENINGS)]
    return (CELL_NAMES.index(name),) if name else ()
