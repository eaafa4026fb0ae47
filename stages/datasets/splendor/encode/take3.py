"""Takes of two different tokens that an old exporter wrote into the columns of a take of two like ones.

It told the columns by the number of tokens, so that a `take 3 tokens` of two colours stands as two ones in gem_take2_*
and gem_take3_* is empty. The move is not ambiguous: the action type is right, and a take of two like tokens has a 2.
"""

from dataclasses import replace

import numpy as np

from stages.datasets.base import Finding
from stages.datasets.splendor import schema
from stages.datasets.splendor.encode.parse import MISSING, Table

N_COLOURS = len(schema.COLOURS)
TAKE3 = slice(schema.TAKE3_COLUMN, schema.TAKE3_COLUMN + N_COLOURS)
TAKE2 = slice(schema.TAKE2_COLUMN, schema.TAKE2_COLUMN + N_COLOURS)
REASON = (
    "two colours of a take 3 tokens stand in the columns gem_take2, as an old exporter wrote them: taken from there"
)


def moved(table: Table) -> Table:
    """Return a table, not yet checked, whose takes of several colours stand in their own columns.

    What does not look like that exporter's work is left as it is, for the check to tell.
    """
    values = table.values
    chosen = np.flatnonzero(values[schema.ACTION_COLUMN] == schema.ACTION_TYPES.index("take 3 tokens"))
    right, wrong = values[TAKE3, chosen], values[TAKE2, chosen]
    is_elsewhere = (right == MISSING).all(0) & ((wrong == 0) | (wrong == 1)).all(0) & (wrong.sum(0) > 0)
    rows = chosen[is_elsewhere]
    if not len(rows):
        return table
    values[TAKE3, rows] = values[TAKE2, rows]
    values[TAKE2, rows] = MISSING
    return replace(table, moved=rows)


def findings(table: Table) -> list[Finding]:
    """Return for each game how many moves were moved, and the line of the first one."""
    game = np.searchsorted(table.offsets, table.moved, side="right") - 1
    found, first, count = np.unique(game, return_index=True, return_counts=True)
    lines = table.moved[first] - table.offsets[found] + 2
    columns = (found.tolist(), count.tolist(), lines.tolist())
    return [Finding(unit, REASON, n, line) for unit, n, line in zip(*columns, strict=True)]
