"""Draw positions in the terminal, for `make show`."""

import numpy as np

from stages.datasets.hex.schema import LETTERS, SIZE
from stages.look import PartRows

TITLE = "board: B blue, R red, * the next move"
STONES = np.array([".", "B", "R", "#"])
NEXT = "*"


def draw(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the boards of some rows: each row of cells half a cell to the right of the one above it."""
    boards = part.read("board", rows)
    cells = STONES[boards[:, 0] + 2 * boards[:, 1]].reshape(len(rows), -1)
    moves = part.read("label_policy", rows)
    has_next = np.flatnonzero(moves >= 0)
    cells[has_next, moves[has_next]] = NEXT
    return [_drawn(board) for board in cells.reshape(-1, SIZE, SIZE)]


def _drawn(board: np.ndarray) -> str:
    lines = [f"   {' '.join(LETTERS)}"]
    lines += [f"{' ' * i}{i + 1:2} {' '.join(cells)}" for i, cells in enumerate(board.tolist())]
    return "\n".join(lines)
