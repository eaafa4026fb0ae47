"""Write the arrays of all parts, one field of all rows at a time: each row goes to the file of its part.

In: the merged rows in their final order. Out, in the folder of data/processed/<dataset>/: the files that
stages/split.py describes. Rows that are in no part are in no file.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np

from stages.core import arrays, part_files
from stages.core.fields import NamedField, Role
from stages.core.part_files import PARTS, UNIT_TABLE, MemberRole
from stages.core.standardise import DTYPE, Standard
from stages.splitting.parts import FEATURE_CHUNK_ROWS, Merged
from stages.splitting.stats import ClassCounter, LegalCounter
from stages.splitting.written_folder import WrittenFolder

DERIVED_KEYS = ("group_id", "row_in_unit", "unit")
KEY_ROLES: tuple[Role, ...] = ("key", "time", "series", "segment", "lookback", "valid")

Counter = ClassCounter | LegalCounter


def write_feature(folder: WrittenFolder, merged: Merged, field: NamedField, standard: Standard | None) -> None:
    """Write a feature: standardised as float32, or without a standard as it is; 0 where a row is not valid."""
    dtype = DTYPE if standard else field.dtype
    buffer = np.empty((FEATURE_CHUNK_ROWS, *field.shape), dtype)
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(folder.npy(part_files.feature(field.name, part), dtype, (n_rows, *field.shape)))
            for part, n_rows in zip(PARTS, merged.n_rows(), strict=True)
        ]
        for rows, parts, is_valid in merged.feature_chunks(field.name, FEATURE_CHUNK_ROWS):
            ready = buffer[: len(rows)]
            if standard:
                standard.apply(rows, is_valid, ready)
            else:
                ready[...] = rows
                if is_valid is not None:
                    ready[~is_valid] = 0
            for part, stretch in _stretches(parts):
                sinks[part].append(ready[stretch])


def _stretches(parts: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield each stretch of rows of one part, with the part; not those that are in none."""
    borders = np.flatnonzero(np.diff(parts, prepend=parts[0])).tolist()
    for start, stop in itertools.pairwise([0, *borders, len(parts)]):
        if parts[start] < len(PARTS):
            yield int(parts[start]), slice(start, stop)


def write_heads(
    folder: WrittenFolder, merged: Merged, role: Literal["label", "mask"], begin: Callable[[NamedField], None]
) -> dict[str, Any]:
    """Write all labels, or all masks; return the counts for stats.json, per head and part.

    Parameters
    ----------
    folder, merged
        Where to, and the rows.
    role
        Which of them.
    begin
        Called with each field before it is written.
    """
    kind = ClassCounter if role == "label" else LegalCounter
    counts: dict[str, Any] = {}
    with _archives(folder, role) as archives:
        for field in merged.of_role(role):
            begin(field)
            counters = [kind(field) for _ in PARTS]
            with _members(archives, field.head, field, merged) as sinks:
                _deal(merged.chunks(field.name), sinks, counters)
            counts[field.head] = {part: counter.result() for part, counter in zip(PARTS, counters, strict=True)}
    return counts


def write_keys(folder: WrittenFolder, merged: Merged) -> None:
    """Write the dataset's own keys, those that the group table gives, and the names of the units."""
    own = {field.name: field for role in KEY_ROLES for field in merged.of_role(role)}
    with _archives(folder, "key") as archives:
        for name in sorted({*DERIVED_KEYS, *own, UNIT_TABLE}):
            if name == UNIT_TABLE:
                _write_units(archives, merged.units)
                continue
            field = own.get(name) or NamedField(name, merged.derived_dtype(name), (), "key")
            chunks = merged.chunks(name) if name in own else merged.derived(name)
            with _members(archives, name, field, merged) as sinks:
                _deal(chunks, sinks)


def _write_units(archives: Sequence[arrays.NpzWriter], units: np.ndarray) -> None:
    """Write the names of all units into each part, so that a part can be read alone."""
    for archive in archives:
        with archive.member(UNIT_TABLE, units.dtype, units.shape) as sink:
            sink.append(units)


def write_names(folder: WrittenFolder, merged: Merged) -> None:
    """Write the names of columns and classes, and the shapes of the rows that are stored as bits.

    Column names are a list for a dataset with one feature, else a list per feature; null without.
    """
    columns = {field.name: field.names for field in merged.of_role("feature")}
    classes = {
        field.head: {name: index for index, name in enumerate(field.names or ())} for field in merged.of_role("label")
    }
    packed = {field.name: field.bits for field in merged.fields if field.bits}
    folder.json(part_files.FEATURE_NAMES, next(iter(columns.values())) if len(columns) == 1 else columns)
    folder.json(part_files.LABEL_MAPPINGS, classes)
    if packed:
        folder.json(part_files.PACKED, packed)


@contextmanager
def _archives(folder: WrittenFolder, role: MemberRole) -> Iterator[list[arrays.NpzWriter]]:
    """Open the NPZ of each part for the fields of a role."""
    with ExitStack() as stack:
        yield [stack.enter_context(folder.npz(part_files.members(role, part))) for part in PARTS]


@contextmanager
def _members(
    archives: Sequence[arrays.NpzWriter], name: str, field: NamedField, merged: Merged
) -> Iterator[list[arrays.ArraySink]]:
    """Open one array in the NPZ of each part."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(archive.member(name, field.dtype, (n_rows, *field.shape)))
            for archive, n_rows in zip(archives, merged.n_rows(), strict=True)
        ]


def _deal(
    chunks: Iterable[tuple[np.ndarray, np.ndarray]], sinks: Sequence[arrays.ArraySink], counters: Sequence[Counter] = ()
) -> None:
    """Give each part its rows, and count them."""
    for rows, parts in chunks:
        for part, sink in enumerate(sinks):
            chosen = rows[parts == part]
            sink.append(chosen)
            if counters:
                counters[part].add(chosen)
