"""Which rows a user means: so many at random, a stretch, or some by number; of all rows, or of those of a condition.

Random rows are those with the smallest hashes of seed and row: the same ones in any run, and a larger number only adds.
Rows that fulfil a condition are found stretch by stretch, so no array of a part's length is made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.hashing import mix, seeded
from stages.look.condition import SPAN_ROWS, Condition
from stages.look.part import PartRows

MOST = 1000
STRETCH = re.compile(r"(\d*):(\d*)")


@dataclass(frozen=True)
class Picked:
    """Rows that were picked, int64 in their order, and how many fulfil the condition in all."""

    rows: np.ndarray
    n_matching: int


def pick(part: PartRows, wanted: str, condition: Condition | None = None, seed: int = 0) -> Picked:
    """Return the rows that a text means.

    Parameters
    ----------
    part
        The part.
    wanted
        ``10``: so many at random. ``:10``, ``5:15``: a stretch of the rows that fulfil the condition. ``3,7,12``:
        these rows, as far as they fulfil it; one alone is ``3,``.
    condition
        None: all rows fulfil it.
    seed
        Of the random rows.

    Raises
    ------
    ExpectedError
        When the text means no rows, or rows that the part has not.
    """
    if wanted.isdecimal():
        return _random(part, _at_most(int(wanted)), condition, seed)
    if stretch := STRETCH.fullmatch(wanted):
        first, stop = int(stretch[1] or 0), int(stretch[2] or part.n_rows)
        return _stretch(part, first, min(stop, first + MOST + 1), condition)
    if re.fullmatch(r"(\d+,)+\d*", wanted):
        return _these(part, np.array([int(number) for number in wanted.split(",") if number]), condition)
    raise ExpectedError(
        f"ROWS is {wanted!r}, expected a number as 10 (random rows), a stretch as :10 or 5:15, or numbers as 3,7 or 3,"
    )


def _at_most(n_rows: int) -> int:
    if n_rows > MOST:
        raise ExpectedError(
            f"ROWS asks for more than {MOST:,} rows, expected at most so many; stages.frame gives them all"
        )
    return n_rows


def _matching(part: PartRows, condition: Condition | None) -> Iterator[np.ndarray]:
    if condition is not None:
        yield from condition.chosen()
        return
    for start in range(0, part.n_rows, SPAN_ROWS):
        yield np.arange(start, min(start + SPAN_ROWS, part.n_rows))


def _random(part: PartRows, n_rows: int, condition: Condition | None, seed: int) -> Picked:
    kept, hashes, n_matching = np.empty(0, np.int64), np.empty(0, np.uint64), 0
    for rows in _matching(part, condition):
        n_matching += len(rows)
        kept, hashes = np.append(kept, rows), np.append(hashes, mix(seeded(rows.astype(np.uint64), seed)))
        if len(kept) > n_rows:
            smallest = np.argpartition(hashes, n_rows)[:n_rows]
            kept, hashes = kept[smallest], hashes[smallest]
    return Picked(np.sort(kept), n_matching)


def _stretch(part: PartRows, first: int, stop: int, condition: Condition | None) -> Picked:
    found, n_matching = [np.empty(0, np.int64)], 0
    for rows in _matching(part, condition):
        found.append(rows[max(0, first - n_matching) : max(0, stop - n_matching)])
        n_matching += len(rows)
    rows = np.concatenate(found)
    _at_most(len(rows))
    return Picked(rows, n_matching)


def _these(part: PartRows, rows: np.ndarray, condition: Condition | None) -> Picked:
    _at_most(len(rows))
    if rows.max() >= part.n_rows:
        raise ExpectedError(f"{part.data.folder} {part.part}: row {rows.max()}, expected 0..{part.n_rows - 1}")
    if condition is None:
        return Picked(rows, part.n_rows)
    chosen = np.concatenate([np.empty(0, np.int64), *condition.chosen()])
    return Picked(rows[np.isin(rows, chosen)], len(chosen))
