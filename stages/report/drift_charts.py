"""Draw and tell what differs in val and test from train."""

from collections.abc import Sequence
from typing import Final

from stages.differences import psi
from stages.differences.drift import Drifted, PartDrift
from stages.report.figure import Figure, kind, quantity

DRAWN: Final = 20


def sentence(drift: PartDrift) -> str:
    """Say what a part was compared by, and how much differs."""
    rows = f"{drift.n_rows[1]:,} rows of {drift.n_groups[1]:,} groups"
    beside = f"{drift.n_rows[0]:,} of {drift.n_groups[0]:,} in train"
    read = "" if drift.n_rows == drift.n_all else f", a sample of {drift.n_all[1]:,} and {drift.n_all[0]:,} rows"
    head = f"{drift.part.capitalize()}, {rows} beside {beside}{read}"
    if not drift.can_tell:
        return f"{head}: too few groups to tell drift from chance."
    n_labels = sum(one.kind == "label" for one in drift.found)
    labels = "1 label" if n_labels == 1 else f"{n_labels:,} labels"
    looked_at = f"{len(drift.found) - n_labels:,} columns and {labels}"
    found = drift.drifted()
    if not found:
        return f"{head}: none of {looked_at} differs by more than chance."
    n_large = sum(one.size == "large" for one in found)
    return f"{head}: {len(found):,} of {looked_at} differ by more than chance, {n_large:,} of them with a large PSI."


def told(one: Drifted, values: Sequence[float]) -> str:
    """Return mean and spread of a column, or the share of a label's class."""
    if one.kind == "label":
        return f"{one.what} {values[0]:.1%}"
    return f"{values[0]:.4g} \u00b1 {values[1]:.4g}"


def drifted(drifts: Sequence[PartDrift]) -> list[tuple[str, Drifted]]:
    """Return what is more than chance in any part, with its part, the largest first."""
    found = [(drift.part, one) for drift in drifts for one in drift.drifted()]
    return sorted(found, key=lambda pair: -pair[1].psi)


def indices(drifts: Sequence[PartDrift]) -> Figure:
    """Draw the index of what differs by more than chance."""
    found = drifted(drifts)
    names = list(dict.fromkeys(one.name for _, one in found))[:DRAWN]
    rows = [{"name": one.name, "part": part, "psi": round(one.psi, 4)} for part, one in found if one.name in names]
    parts = [drift.part for drift in drifts]
    encoding = {
        "y": kind("name"),
        "yOffset": kind("part", scale={"domain": parts}),
        "x": quantity("psi", "PSI against train"),
        "color": kind("part", scale={"domain": parts}),
        "tooltip": [{"field": name} for name in ("name", "part", "psi")],
    }
    spec = {"data": {"values": rows}, "height": 12 * len(parts) * len(names) + 8 * len(names), "mark": "bar"}
    part, largest = found[0]
    more = f" The {DRAWN} largest are drawn." if len({one.name for _, one in found}) > DRAWN else ""
    return Figure(
        "Drift",
        f"Stability index of what differs from train by more than chance.{more}",
        {**spec, "encoding": encoding},
        f"The largest is {largest.name} of {part}, PSI {largest.psi:.3f}, {psi.size(largest.psi)}.",
    )
