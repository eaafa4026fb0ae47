"""Units -> columns of the rows of their episodes, in canonical order.

The files of a chunk of units are read once, some MB at a time. Of their rows those stay that name a game of the chunk,
or name none and lie in the span of seqs that discover recorded for the unit; the digest shows whether these are the
rows it saw. Payloads are made into columns piece by piece, since they take several times the memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stages.core.errors import BadUnit, ExpectedError
from stages.core.units import Unit
from stages.datasets.rugs.reading import order
from stages.datasets.rugs.reading.games import name_games
from stages.datasets.rugs.reading.store import FOREIGN, NOT_NEEDED, Reader, Rows, hashes

FAR: Final = 1 << 30


Columns = dict[str, np.ndarray]
PLACES: Final = ("seq", "doc", "game")  # in canonical order, behind unit and session


@dataclass(frozen=True)
class OwnRows:
    """The rows of a chunk of U units in canonical order, by column, and where each unit begins (int64 (U+1,))."""

    columns: Columns
    offsets: np.ndarray
    paths: list[str]


def own_rows(raw_dir: Path, units: Sequence[Unit], columns_of: Callable[[Rows], Columns]) -> OwnRows:
    """Read the rows of a chunk of units; what stays of them is `unit`, its place, and what `columns_of` makes.

    Raises
    ------
    BadUnit
        When discover could not read one of the units.
    ExpectedError
        When a file cannot be read any more.
    """
    for unit in units:
        if not unit.digest:
            raise BadUnit(f"{raw_dir}/{unit.context['bad']}")

    # Read each file once. The code of a unit's game is the unit's place, so other games have larger codes.
    paths = sorted({source.path for unit in units for source in unit.sources})
    reader = Reader(raw_dir, games={unit.key: i for i, unit in enumerate(units)})
    gathered = _Joined(sum(unit.context["n_rows"] for unit in units))
    for rows in reader.pieces(paths):
        gathered.add(_own(reader, rows, units, columns_of))
    for fault in reader.faults.values():
        raise ExpectedError(f"{fault}; discover could read it: run `dvc repro` again")

    # Unit by unit, in canonical order, each row once.
    columns = gathered.columns()
    if not columns:
        raise ExpectedError(f"{raw_dir / paths[0]}: no row, discover saw some; run `dvc repro` again")
    kept, _ = order.ordered(columns["unit"], columns.pop("place"), *(columns.pop(f"key_{name}") for name in PLACES))
    if len(kept) < len(columns["unit"]) or (np.diff(kept) != 1).any():
        columns = {name: columns.pop(name)[kept] for name in list(columns)}
    return OwnRows(columns, np.searchsorted(columns["unit"], np.arange(len(units) + 1)), paths)


class _Joined:
    """Columns to which rows are added.

    They are copied into arrays that have room for them: kept as they come and joined at the end, small arrays between
    the payloads' left holes in the heap, 180 MB beside 146 MB of columns.

    Parameters
    ----------
    n_rows
        How many are expected; there may be more.
    """

    def __init__(self, n_rows: int) -> None:
        self._arrays: Columns = {}
        self._room, self._n_rows = n_rows, 0

    def add(self, columns: Columns) -> None:
        """Add rows, which have the same columns each time."""
        start, stop = self._n_rows, self._n_rows + len(columns["unit"])
        if not self._arrays:
            self._arrays = {name: np.empty((self._room, *c.shape[1:]), c.dtype) for name, c in columns.items()}
        if stop > self._room:
            self._room = stop + stop // 4
            for name, array in self._arrays.items():
                self._arrays[name] = np.empty((self._room, *array.shape[1:]), array.dtype)
                self._arrays[name][:start] = array[:start]
        for name, column in columns.items():
            self._arrays[name][start:stop] = column
        self._n_rows = stop

    def columns(self) -> Columns:
        """Return the rows."""
        return {name: self._arrays.pop(name)[: self._n_rows] for name in list(self._arrays)}


def _own(reader: Reader, rows: Rows, units: Sequence[Unit], columns_of: Callable[[Rows], Columns]) -> Columns:
    """Return the columns of those rows of a piece that are of a unit."""
    near = _near(reader, rows, len(units))
    unit_of, place = _units_of(near, units, reader.sessions)
    is_own = unit_of >= 0
    own = near.take(is_own)
    keys = {f"key_{name}": getattr(own, name) for name in PLACES}
    return {"unit": unit_of[is_own], "place": place[is_own], **keys, **columns_of(own)}


def _near(reader: Reader, rows: Rows, n_units: int) -> Rows:
    """Return the rows that name one of the first games, or none."""
    is_needed = (rows.kind != NOT_NEEDED) & (rows.kind != FOREIGN) & (rows.session >= 0)
    named = name_games(reader, rows.take(is_needed & (rows.game < n_units)))
    return named.take(named.game < n_units)


def _units_of(rows: Rows, units: Sequence[Unit], codes: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit of each row, -1 for none, and the place of its session in the unit, both int64 (N,)."""
    unit_of, place = rows.game.astype(np.int64), np.full(len(rows.seq), FAR)
    loose = np.flatnonzero(unit_of < 0)
    for index, unit in enumerate(units):
        for number, (session, low, high) in enumerate(unit.context["sessions"]):
            is_session = rows.session == codes.get(session, -1)
            place[(unit_of == index) & is_session] = number
            if low is None:
                continue
            # Rows that name no game belong to the unit if they lie in its span of the session.
            is_within = (rows.seq[loose] >= low) & (rows.seq[loose] <= high)
            chosen = loose[is_session[loose] & is_within]
            unit_of[chosen], place[chosen] = index, number
    return unit_of, place


def content(raw_dir: Path, unit: Unit) -> bytes:
    """Return the hashes of a unit's rows in canonical order, 32 bytes each: what its digest is the digest of."""
    return own_rows(raw_dir, [unit], lambda rows: {"hash": hashes(rows)}).columns["hash"].tobytes()


def locate(raw_dir: Path, unit: Unit, lines: Sequence[int]) -> list[tuple[Path, int]]:
    """Return for some rows, from 1, of a unit the file that each is in, and its row there, from 1."""
    own = own_rows(raw_dir, [unit], lambda rows: {"file": rows.file, "row": rows.row})
    file, row = own.columns["file"].tolist(), own.columns["row"].tolist()
    for line in lines:
        if not 1 <= line <= len(row):
            raise ExpectedError(f"{unit.key}: row {line}, expected 1..{len(row)}; run `dvc repro` again")
    return [(raw_dir / own.paths[file[line - 1]], row[line - 1]) for line in lines]
