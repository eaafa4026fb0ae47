"""Draw the bars up to a row in the terminal, for `make show`."""

import numpy as np

from stages.look import PartRows
from stages.look.sparkline import courses

LENGTH = 40
TITLE = f"close, {LENGTH} bars up to it"


def draw(part: PartRows, rows: np.ndarray) -> list[str]:
    """Return the courses of the last price up to some rows, within their segments."""
    return courses(part, rows, "close", "group_id", LENGTH)
