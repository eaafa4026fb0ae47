"""Draw the price up to a step in the terminal, for `make show`."""

import numpy as np

from stages.look import PartRows
from stages.look.sparkline import courses

LENGTH = 40
TITLE = f"price, {LENGTH} steps up to it"


def draw(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the courses of the price up to some rows, within their episodes."""
    return courses(part, rows, "price", "group_id", LENGTH)
