"""CSV files of Splendor games -> typed arrays; see `stages.datasets.base` for the interface.

One row is one move. `X` is what the player to move sees (and the opponents' reserved cards, which the logs hold in
clear); the labels are the move; the masks are the legal moves.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.datasets.base import BadUnit, Field, Finding, Unit, group_id
from stages.datasets.base.raw import read_unit
from stages.datasets.splendor import schema
from stages.datasets.splendor.encode import columns, features, labels, masks, parse, spreadsheet, take3
from stages.datasets.splendor.encode.position import position_of
from stages.datasets.splendor.encode.validate import validate

CHUNK_UNITS = 32  # 2.5 MB of CSV: larger chunks leave the processor's cache, smaller ones pay more per call

LABEL_NAMES = {
    "action_type": schema.ACTION_TYPES,
    "gem_take3": tuple(" ".join(schema.COLOURS[c] for c in chosen) for chosen in schema.TAKE3_CLASSES),
    "gem_take2": schema.COLOURS,
    "gems_removed": tuple(" ".join(map(str, tokens)) for tokens in schema.REMOVED_CLASSES),
}
LABEL_DOCS = {
    "action_type": "what the move is",
    "card_selection": "card built: 0..11 face-up cards that exist, from level 1; 12..14 own reserved card",
    "card_reservation": "card reserved: 0..11 face-up cards that exist; 12..14 drawn from the deck of level 1..3",
    "gem_take3": "set of different colours taken; class 0, no colour, is never a label",
    "gem_take2": "colour of which two are taken",
    "noble": "noble that visits, by its place on the table",
    "gems_removed": "tokens returned: white blue green red black gold",
}


def _fields() -> dict[str, Field]:
    names = columns.NAMES
    doc = "position seen by the player to move, whole numbers; the columns are described in features.py"
    normalise = tuple(columns.normalise(name) for name in names)
    fields = {"X": Field("int8", (len(names),), "feature", doc, names, normalise)}
    for head, n_classes in schema.HEADS.items():
        classes = LABEL_NAMES.get(head, tuple(map(str, range(n_classes))))
        fields[f"label_{head}"] = Field("int16", (), "label", f"{LABEL_DOCS[head]}; -1 not applicable", classes)
        fields[f"mask_{head}"] = Field("uint8", (n_classes,), "mask", f"1 legal, 0 not: {LABEL_DOCS[head]}", classes)
    fields["game_id"] = Field("int64", (), "key", "id of the game, as in its file")
    fields["turn_number"] = Field("int16", (), "key", "round, from 1, the same for all seats of a round")
    fields["current_player"] = Field("int8", (), "key", "absolute seat of the player to move, from 0")
    fields["row_in_game"] = Field("int32", (), "key", "move of the game, from 0")
    return fields


FIELDS = _fields()


def read(raw_dir: Path, units: Sequence[Unit], options: Mapping[str, Any]) -> parse.Table:
    """Read and validate some games.

    Parameters
    ----------
    raw_dir
        The raw folder.
    units
        Games; each is one CSV file.
    options
        Unused.

    Returns
    -------
    Table
        Their rows, in the order of `units`.

    Raises
    ------
    BadUnit
        With file, line, column, found and expected, for one game that is not well-formed.
    """
    files = [str(raw_dir / unit.key) for unit in units]
    bodies = [parse.body(read_unit(raw_dir, unit), file) for unit, file in zip(units, files, strict=True)]
    table = parse.parse(bodies) or _parse_restored(bodies, files)
    table = take3.moved(table)
    validate(table, files)
    return table


def _parse_restored(bodies: Sequence[bytes], files: Sequence[str]) -> parse.Table:
    """Parse games some of which are not plain, without what other programs added to those."""
    plain = [rows if parse.parse([rows]) else spreadsheet.restored(rows) for rows in bodies]
    table = parse.parse(plain)
    if table is None:
        faulty = next(i for i, rows in enumerate(plain) if parse.parse([rows]) is None)
        raise BadUnit(parse.explain(plain[faulty], files[faulty]))
    return table


def findings(table: parse.Table) -> list[Finding]:
    """Return the moves that an old exporter wrote into other columns, and that were moved from there."""
    return take3.findings(table)


def encode(table: parse.Table, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of some games.

    Parameters
    ----------
    table
        What `read` returned.
    options
        Unused.

    Returns
    -------
    dict
        Every field of `FIELDS` with N rows, and the group arrays.
    """
    sizes = np.diff(table.offsets)
    state = np.maximum(table.values[: schema.ACTION_COLUMN], 0)  # 0 for what is empty
    position = position_of(state, _nobles_acquired(table, sizes))
    arrays = {"X": features.encode(position)}
    arrays |= {f"label_{head}": label for head, label in labels.encode(table).items()}
    arrays |= {f"mask_{head}": mask for head, mask in masks.encode(position).items()}
    arrays["game_id"] = table.game_id
    arrays["turn_number"] = table.turn_number.astype(np.int16)
    arrays["current_player"] = table.values[schema.SEAT_COLUMN].copy()
    first_rows = table.offsets[:-1]
    arrays["row_in_game"] = (np.arange(sizes.sum()) - np.repeat(first_rows, sizes)).astype(np.int32)
    game_ids = table.game_id[first_rows]
    arrays["group_id"] = np.array([group_id(f"splendor game {game}") for game in game_ids], np.uint64)
    arrays["group_offsets"] = table.offsets.astype(np.int64)
    arrays["source"] = np.arange(len(sizes), dtype=np.int32)
    return arrays


def _nobles_acquired(table: parse.Table, sizes: np.ndarray) -> np.ndarray:
    """Return the nobles each absolute seat took in earlier rows of the game, int8 (4, N)."""
    is_visit = table.values[schema.NOBLE_SELECTION_COLUMN] >= 0
    is_mover = table.values[schema.SEAT_COLUMN] == np.arange(schema.N_SEATS)[:, None]
    visits = (is_visit & is_mover).astype(np.int32)
    # Counted over all rows of the chunk; what there was before the game's first row comes off.
    before = np.cumsum(visits, axis=1) - visits
    before_game = np.repeat(before[:, table.offsets[:-1]], sizes, axis=1)
    return (before - before_game).astype(np.int8)


def line(row: int) -> int:
    """Return the line of the game's file that row `row` of the game came from."""
    return row + 2
