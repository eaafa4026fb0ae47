"""DataFrames of a part, whole or chunk by chunk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from stages.core.errors import ExpectedError
from stages.look import Choice, PartRows
from stages.look.columns import choose
from stages.look.part import TIME, UNIT

if TYPE_CHECKING:
    import pandas as pd

ROW = "row"
CHUNK_ROWS = 10_000

AskedRows = None | int | slice | range | Sequence[int] | np.ndarray


class Frames:
    """What `stages.frame` is: call it for a DataFrame, or `scan` for one after the other."""

    def __call__(
        self,
        dataset: str | Path,
        part: str = "train",
        rows: AskedRows = None,
        columns: Sequence[str] | None = None,
        standardised: bool = False,
    ) -> "pd.DataFrame":
        """Return rows of a part as a DataFrame; it takes memory for these rows and columns, and little more.

        Parameters
        ----------
        dataset
            Its name, of which data/processed/<dataset> below the working directory is taken, or that folder.
        part
            "train", "val" or "test".
        rows
            None is all, a number the first ones; a slice, numbers (from the end if negative), or bool (n,).
        columns
            Names of fields, heads or columns, or ``features``, ``labels``, ``masks``, ``keys`` for all of a kind.
            None is features, labels and the keys that are text.
        standardised
            Yes: features as a trainer reads them. No: in the units of the raw data, as stages/look/part.py says.

        Raises
        ------
        ExpectedError
            When there is no such dataset, part, row or column, or pandas is not installed.
        """
        part_rows = PartRows(dataset, part)
        choices = _choices(part_rows, columns)
        return _table(part_rows, choices, numbers(rows, part_rows.n_rows), standardised)

    def scan(
        self,
        dataset: str | Path,
        part: str = "train",
        columns: Sequence[str] | None = None,
        standardised: bool = False,
        chunk_rows: int = CHUNK_ROWS,
    ) -> Iterator["pd.DataFrame"]:
        """Yield a part as DataFrames of at most `chunk_rows` rows, in order; otherwise as a call does.

        Examples
        --------
        ``sum(chunk["label_action_type"].eq("build").sum() for chunk in stages.frame.scan("splendor"))``
        """
        if chunk_rows < 1:
            raise ExpectedError(f"chunk_rows is {chunk_rows}, expected 1 or more")
        part_rows = PartRows(dataset, part)
        choices = _choices(part_rows, columns)
        starts = range(0, part_rows.n_rows, chunk_rows)
        spans = (slice(start, min(start + chunk_rows, part_rows.n_rows)) for start in starts)
        return (_table(part_rows, choices, span, standardised) for span in spans)


def numbers(rows: AskedRows, n_rows: int) -> slice | np.ndarray:
    """Return which rows are asked for: a stretch, or int64 (k,) from 0.

    Raises
    ------
    ExpectedError
        When there is no such row.
    """
    if rows is None:
        return slice(0, n_rows)
    if isinstance(rows, int | np.integer) and not isinstance(rows, bool):
        if rows < 0:
            raise ExpectedError(f"rows is {rows}, expected the number of first rows; slice({rows}, None) is the last")
        return slice(0, min(int(rows), n_rows))
    if isinstance(rows, slice):
        start, stop, step = rows.indices(n_rows)
        return slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)
    return _some(np.asarray(rows), n_rows)


def _some(found: np.ndarray, n_rows: int) -> np.ndarray:
    if found.dtype == bool:
        if found.shape != (n_rows,):
            raise ExpectedError(f"rows is bool {found.shape}, expected ({n_rows},), one for each row of the part")
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ExpectedError(f"rows is {found.dtype} {found.shape}, expected whole numbers, a slice or bool")
    outside = (found < -n_rows) | (found >= n_rows)
    if outside.any():
        raise ExpectedError(f"row {found[outside][0]}, expected {-n_rows}..{n_rows - 1}")
    found = found.astype(np.int64)
    return np.where(found < 0, found + n_rows, found)


def _choices(part_rows: PartRows, columns: Sequence[str] | None) -> list[Choice]:
    if isinstance(columns, str):
        columns = [columns]
    wanted = part_rows.default_columns() if columns is None else list(columns)
    return choose(part_rows.fields, wanted, f"{part_rows.data.folder} {part_rows.part}")


def _table(
    part_rows: PartRows, choices: Sequence[Choice], rows: slice | np.ndarray, standardised: bool
) -> "pd.DataFrame":
    """Return a frame, made of one block of memory for each field."""
    pd = _pandas()
    index = _index(part_rows, rows)
    shown = [choice for choice in choices if choice.field.name != part_rows.time_field]
    blocks = [_block(part_rows, choice, rows, standardised).set_axis(index) for choice in shown]
    return pd.concat(blocks, axis=1) if blocks else pd.DataFrame(index=index)


def _block(part_rows: PartRows, choice: Choice, rows: slice | np.ndarray, standardised: bool) -> "pd.DataFrame":
    pd = _pandas()
    values = _filled(part_rows, choice, rows, standardised)
    field, names = choice.field, list(choice.names)
    if field.role == "mask":
        return pd.DataFrame(
            values.view(np.bool_) if values.dtype == np.uint8 else values != 0, columns=names, copy=False
        )
    if field.role == "label" and field.classes:
        return pd.DataFrame({names[0]: pd.Categorical.from_codes(values[:, 0], list(field.classes))}, copy=False)
    if field.name == UNIT:
        return pd.DataFrame({names[0]: pd.Categorical.from_codes(values[:, 0], part_rows.units)}, copy=False)
    if field.dtype.kind == "S":
        return pd.DataFrame({names[0]: decoded(values[:, 0])}, copy=False)
    return pd.DataFrame(values, columns=names, copy=False)


def _filled(part_rows: PartRows, choice: Choice, rows: slice | np.ndarray, standardised: bool) -> np.ndarray:
    """Return columns of all rows (n, columns), read a stretch at a time: what is computed on the way stays small."""
    n_rows = len(rows) if isinstance(rows, np.ndarray) else rows.stop - rows.start
    step = part_rows.chunk_rows([choice.field.name])
    out: np.ndarray | None = None
    for start in range(0, max(n_rows, 1), step):
        stop = min(start + step, n_rows)
        some = rows[start:stop] if isinstance(rows, np.ndarray) else slice(rows.start + start, rows.start + stop)
        taken = part_rows.take(choice, some, standardised)
        if out is None:
            out = np.empty((n_rows, taken.shape[1]), taken.dtype)
        out[start:stop] = taken
    return np.empty((0, len(choice.names))) if out is None else out


def _index(part_rows: PartRows, rows: slice | np.ndarray) -> "pd.Index":
    pd = _pandas()
    if part_rows.time_field:
        field = part_rows.fields[TIME]
        time = _filled(part_rows, Choice(field), rows, standardised=True)[:, 0]
        return pd.DatetimeIndex(time.view("datetime64[ns]"), tz="UTC", name=TIME)
    if isinstance(rows, slice):
        return pd.RangeIndex(rows.start, rows.stop, name=ROW)
    return pd.Index(rows, name=ROW)


def decoded(values: np.ndarray) -> np.ndarray:
    """Return text keys, bytes (n,), as objects of text; what is not UTF-8 is written as Python writes it in quotes."""
    different, places = np.unique(values, return_inverse=True)
    texts = [value.decode("utf-8", "backslashreplace") for value in different.tolist()]
    return np.array(texts, dtype=object)[places.reshape(-1)] if texts else np.empty(0, dtype=object)


def _pandas() -> ModuleType:
    try:
        import pandas as pd
    except ImportError:
        raise ExpectedError("pandas is not installed, expected it for frames; pip install -e '.[look]'") from None
    return pd
