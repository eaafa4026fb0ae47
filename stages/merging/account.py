"""The account of a merge, data/reports/<dataset>.json: what was kept, what was left out, and why.

``batches``, ``units``, ``groups`` and ``rows`` are counts, the last three in all and, in ``by_batch``, of each batch; a
dropped group counts in no batch's groups and rows. ``duplicates`` counts the dropped groups and names the first ones,
``bad_units`` lists the units that process left out, ``findings`` what it left out within units.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stages.merging.batches import Batch
from stages.merging.groups import Groups

MOST_LISTED = 1000  # duplicates named one by one; all are counted by unit


def account(names: Sequence[str], batches: Sequence[Batch], table: Groups) -> dict[str, Any]:
    """Return what the merge kept and left out.

    Parameters
    ----------
    names, batches
        The batches and their ids.
    table
        The groups of all batches, and which of them stay.
    """
    by_batch = {
        name: _kept_of_batch(batch, table.is_kept[table.of_batch(number)])
        for number, (name, batch) in enumerate(zip(names, batches, strict=True))
    }
    totals = {kind: sum(counts[kind] for counts in by_batch.values()) for kind in ("units", "groups", "rows")}
    bad_units = [entry for batch in batches for entry in batch.bad_units]
    return {
        "batches": len(batches),
        **totals,
        "by_batch": by_batch,
        "duplicates": _duplicates(table),
        "bad_units": {"count": len(bad_units), "list": sorted(bad_units, key=lambda entry: str(entry["unit"]))},
        "findings": _findings(entry for batch in batches for entry in batch.findings),
    }


def _kept_of_batch(batch: Batch, is_kept: np.ndarray) -> dict[str, int]:
    """Count what stays of one batch."""
    return {"units": len(batch.units), "groups": int(is_kept.sum()), "rows": int(batch.sizes[is_kept].sum())}


def _findings(findings: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count what was wrong within units by reason, and list it by unit."""
    listed = sorted(findings, key=lambda entry: (str(entry["unit"]), str(entry["reason"])))
    totals = Counter[str]()
    for entry in listed:
        totals[entry["reason"]] += entry["count"]
    return {"by_reason": dict(sorted(totals.items())), "list": listed}


def _duplicates(table: Groups) -> dict[str, Any]:
    """Count the dropped groups, in all and by unit; of the first ones list id, kept unit, dropped unit and rows."""
    dropped = np.flatnonzero(~table.is_kept)
    sources, counts = np.unique(table.source[dropped], return_counts=True)
    by_unit = {table.units[source]: int(count) for source, count in zip(sources, counts, strict=True)}
    listed = dropped[:MOST_LISTED]
    stand_ins = _kept_with_same_id(table, listed)
    return {
        "groups": len(dropped),
        "rows": int(table.sizes[dropped].sum()),
        "by_unit": dict(sorted(by_unit.items())),
        "list": [
            {
                "group_id": int(table.group_id[group]),
                "kept": table.units[table.source[other]],
                "dropped": table.units[table.source[group]],
                "rows": int(table.sizes[group]),
            }
            for group, other in zip(listed.tolist(), stand_ins.tolist(), strict=True)
        ],
    }


def _kept_with_same_id(table: Groups, groups: np.ndarray) -> np.ndarray:
    """Return for some dropped groups the one of the same id that stays, int64."""
    kept = np.flatnonzero(table.is_kept)
    by_id = kept[np.argsort(table.group_id[kept])]
    return by_id[np.searchsorted(table.group_id[by_id], table.group_id[groups])]
