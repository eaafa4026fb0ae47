"""Tell a difference between two versions in lines of text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from stages.core.part_files import PARTS
from stages.differences import psi
from stages.differences.compare import ClassShift, ColumnShift, Difference

NAMES: Final = 5
SHOWN: Final = 8


def text(found: Difference) -> str:
    """Return what differs in a dataset, as lines."""
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: Difference) -> Iterator[str]:
    yield f"{found.dataset}: {found.before} -> {found.after}"
    before = ""
    for name, words in entries(found):
        yield f"  {name if name != before else '':9} {words}"
        before = name


def entries(found: Difference) -> Iterator[tuple[str, str]]:
    """Yield what is said of a difference, and its kind before it."""
    if found.is_none:
        n_rows = sum(new for _, new in found.rows.values())
        yield "data", f"nothing differs: {_count(found.units.after, 'unit')}, {n_rows:,} rows"
        return
    yield "units", units(found)
    yield "rows", _sizes(found.rows)
    yield "groups", _sizes(found.groups)
    yield "groups", moves(found)
    for name, (old, new) in found.settings.items():
        yield "split", f"{name}: {_value(old)} -> {_value(new)}"
    for shift in found.changed_classes():
        yield "labels", f"{shift.head}: {classes(shift)}"
    if found.classes and not found.changed_classes():
        yield "labels", f"{_count(len(found.classes), 'head')}, all as they were"
    yield "columns", columns(found)
    times = Counter(column.name for column in found.columns)
    for column in found.changed_columns()[:SHOWN]:
        shown = column.name if times[column.name] == 1 else f"{column.field} {column.name}"
        yield "columns", f"{shown}: {column_words(column)}"
    if rest := len(found.changed_columns()[SHOWN:]):
        yield "columns", f"and {rest:,} more, which `make diff JSON=yes` lists"
    for note in found.notes:
        yield "note", note
    large = found.large()
    yield "large", "; ".join(large) if large else "nothing of it"


def units(found: Difference) -> str:
    """Say which units were added, removed and changed."""
    change = found.units
    kinds = {"added": change.added, "removed": change.removed, "changed": change.changed}
    told = ", ".join(f"{len(names):,} {kind}{_named(names)}" for kind, names in kinds.items() if names)
    unknown = "; digests are not known, so not whether others changed" if change.changed is None else ""
    return f"{_change(change.before, change.after)}: {told or 'the same names'}{unknown}"


def _named(names: Sequence[str]) -> str:
    return f" ({', '.join(names[:NAMES])}{', ...' if len(names) > NAMES else ''})"


def _sizes(sizes: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{part} {_change(*sizes[part])}" for part in PARTS)


def _change(old: int, new: int) -> str:
    return f"{old:,}" if old == new else f"{old:,} -> {new:,} ({new - old:+,})"


def moves(found: Difference) -> str:
    """Say which groups were added, removed, of another length, and in another part."""
    change = found.moves
    told = f"{change.added:,} added, {change.removed:,} removed, {change.resized:,} of another length"
    moved = ", ".join(f"{count:,} {kind}" for kind, count in change.moved.items())
    shown = f"{change.n_moved:,} changed part" + (f": {moved} ({', '.join(change.examples)})" if moved else "")
    return f"{told}, {shown}"


def classes(shift: ClassShift) -> str:
    """Say how the balance of a head changed."""
    rows = f"{_change(shift.before, shift.after)} rows"
    names = "".join(
        f", {len(of):,} classes {kind}{_named(of)}"
        for kind, of in (("new", shift.added), ("gone", shift.removed))
        if of
    )
    if not shift.psi:
        return f"{rows}, the same balance{names}"
    old, new = shift.shares
    return f"{rows}, PSI {shift.psi:.3f} {psi.size(shift.psi)}, most in {shift.what}: {old:.1%} -> {new:.1%}{names}"


def columns(found: Difference) -> str:
    """Say how many columns changed."""
    n_changed = len(found.changed_columns())
    read = "" if found.n_read is None else f", of {found.n_read[0]:,} and {found.n_read[1]:,} rows that were read"
    names = "".join(
        f"; {len(of):,} {kind}{_named(of)}"
        for kind, of in (("new", found.new_columns), ("gone", found.lost_columns))
        if of
    )
    return f"{n_changed:,} of {found.n_columns:,} changed{read}{names}"


def column_words(column: ColumnShift) -> str:
    """Say how a column changed."""
    mean, spread = (f"{old:.4g} -> {new:.4g}" for old, new in (column.mean, column.spread))
    return f"PSI {column.psi:.3f} {column.size}, mean {mean}, spread {spread}"


def _value(value: Any) -> str:
    return "not set" if value is None else str(value)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
