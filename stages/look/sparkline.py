"""The course of a value in one line of text."""

import numpy as np

from stages.look.columns import choose
from stages.look.part import PartRows

BARS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: np.ndarray) -> str:
    """Return a bar for each value, from the lowest to the highest of them; a blank where it is no number.

    Examples
    --------
    >>> sparkline(np.array([1.0, 2.0, np.nan, 8.0])), sparkline(np.array([3.0, 3.0]))
    ('▁▂ █', '▁▁')
    """
    finite = np.isfinite(values)
    if not finite.any():
        return GAP * len(values)
    low, high = values[finite].min(), values[finite].max()
    places = np.zeros(len(values), np.int64)
    places[finite] = np.floor((values[finite] - low) / ((high - low) or 1) * (len(BARS) - 1) + 0.5)
    return "".join(BARS[place] if shown else GAP for place, shown in zip(places.tolist(), finite.tolist(), strict=True))


def courses(part: PartRows, rows: np.ndarray, column: str, within: str, length: int) -> list[str]:
    """Return for each of some rows the course of a column up to it, and its lowest and highest value there.

    Parameters
    ----------
    part, rows
        The part, and int64 (k,), the rows.
    column
        What is drawn.
    within
        A key that is the same in all rows of a course: one does not begin before the row's own segment or episode.
    length
        Most rows of a course.
    """
    [choice] = choose(part.fields, [column], str(part.data.folder))
    around = np.clip(rows[:, None] + np.arange(1 - length, 1), 0, None)
    flat, places = np.unique(around, return_inverse=True)
    values = part.take(choice, flat)[:, 0].astype(np.float64)[places.reshape(around.shape)]
    key = part.read(within, flat)[places.reshape(around.shape)]
    is_own = (key == key[:, -1:]) & (np.diff(around, axis=1, prepend=-1) > 0)
    return [_course(own[chosen]) for own, chosen in zip(values, is_own, strict=True)]


def _course(values: np.ndarray) -> str:
    finite = values[np.isfinite(values)]
    ends = f"\n{finite.min():g} to {finite.max():g}" if len(finite) else ""
    return sparkline(values) + ends
