"""Count what split writes: stats.json, and the figures and plots that DVC compares between commits.

In: the counts split takes while it writes, and merge's report. Out:

- data/processed/<dataset>/stats.json: all counts, per part, head and class, and the CRC-32 of each file beside it;
- data/metrics/<dataset>/, for ``dvc metrics``, which gives each file a row and each figure a column:

  - size.json: rows and groups per part, units, batches, bad units, duplicates;
  - labels/<head>.json: the balance of a label head over all parts, see `balance`;

- data/plots/<dataset>/, for ``dvc plots``, tables in CSV:

  - parts.csv: ``part``, ``kind`` (rows or groups), ``count``;
  - batches.csv: ``batch``, ``kind`` (units, groups or rows), ``count``, without the duplicates;
  - labels/<head>.csv: ``class``, ``part``, ``rows`` and ``share`` of the part's rows that the head applies to; classes
    of no row in any part are left out;
  - masks/legal_actions.csv: ``head``, ``part``, and ``mean``, ``min``, ``max`` of the legal actions of a row.

Without labels or masks their folders are there and empty: DVC draws an empty folder as nothing, and an empty table as a
broken plot. Shares are rounded to six digits, so that no platform's logarithm shows in them.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import checksum, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.files import atomic_dir, json_text
from stages.core.part_files import PARTS
from stages.splitting.parts import Merged

DIGITS = 6


class ClassCounter:
    """Count the classes of a label.

    A value of no class is refused at the end only: it may be of a damaged file, which its checksum says better.
    """

    def __init__(self, field: NamedField) -> None:
        self._field, self._names = field.name, field.names or ()
        self._counts = np.zeros(len(self._names) + 2, np.int64)  # not applicable, classes, none of them

    def add(self, rows: np.ndarray) -> None:
        """Count some rows."""
        shifted = np.add(rows, 1, dtype=np.intp)  # in the label's own type 255 + 1 may be 0
        shifted[shifted < 0] = len(self._counts)
        np.minimum(shifted, len(self._counts) - 1, out=shifted)
        self._counts += np.bincount(shifted, minlength=len(self._counts))

    def result(self) -> dict[str, Any]:
        """Return the rows of each class, and those to which the head does not apply.

        Raises
        ------
        ExpectedError
            When a row has another value.
        """
        not_applicable, *counts, n_other = self._counts.tolist()
        if n_other:
            most = len(self._names) - 1
            raise ExpectedError(
                f"{self._field}: {n_other:,} rows of no class, expected -1..{most}; correct the encoder"
            )
        return {"not_applicable": not_applicable, "classes": dict(zip(self._names, counts, strict=True))}


class LegalCounter:
    """Count the legal actions of a mask."""

    def __init__(self, field: NamedField) -> None:
        self._field = field.name
        self._by_count = np.zeros(field.n_columns + 2, np.int64)  # 0 to all, more

    def add(self, rows: np.ndarray) -> None:
        """Count some rows."""
        kind = np.min_scalar_type(len(self._by_count) - 1)  # one byte is three times as fast as the default eight
        legal = np.add.reduce(rows, axis=tuple(range(1, rows.ndim)), dtype=kind)
        np.minimum(legal, len(self._by_count) - 1, out=legal)
        self._by_count += np.bincount(legal, minlength=len(self._by_count))

    def result(self) -> dict[str, float]:
        """Return the mean, least and greatest number of legal actions of a row; 0 without rows.

        Raises
        ------
        ExpectedError
            When a row has more than there are.
        """
        if self._by_count[-1]:
            found = f"{self._by_count[-1]:,} rows with more legal actions than {len(self._by_count) - 2}"
            raise ExpectedError(f"{self._field}: {found}, expected 0 or 1 per action; correct the encoder")
        if not self._by_count.any():
            return {"mean": 0.0, "min": 0, "max": 0}
        seen = np.flatnonzero(self._by_count)
        mean = float(self._by_count @ np.arange(len(self._by_count)) / self._by_count.sum())
        return {"mean": mean, "min": int(seen[0]), "max": int(seen[-1])}


def sizes(merged: Merged) -> dict[str, Any]:
    """Return what stats.json says first; the counts of windows, labels and legal actions follow."""
    n_groups = np.bincount(merged.part, minlength=len(PARTS))[: len(PARTS)].tolist()
    return {
        "rows": dict(zip(PARTS, merged.n_rows(), strict=True)),
        "groups": dict(zip(PARTS, n_groups, strict=True)),
        "input_dim": sum(math.prod(field.unpacked_shape) for field in merged.of_role("feature")),
        "split": merged.rule,
    }


def summary(counts: Mapping[str, Any], report: Mapping[str, Any], crcs: Mapping[str, int]) -> dict[str, Any]:
    """Return the content of stats.json: split's counts (rows, labels, ...), merge's, and the CRC-32 of each file."""
    return {
        **counts,
        "duplicates": {key: report["duplicates"][key] for key in ("groups", "rows")},
        "bad_units": report["bad_units"]["count"],
        "units": report["units"],
        "batches": report["batches"],
        "files": {name: checksum.text(crc) for name, crc in sorted(crcs.items())},
    }


def write(dataset: str, stats: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """Write the metrics and plots of a dataset from the content of its stats.json and of merge's report."""
    contents = {name: json_text(found) for name, found in metrics(stats).items()}
    _write_folder(paths.metrics_dir(dataset), ("labels",), contents)
    _write_folder(paths.plots_dir(dataset), ("labels", "masks"), plots(stats, report))


def _write_folder(path: Path, below: Sequence[str], files: Mapping[str, str]) -> None:
    with atomic_dir(path) as folder:
        for name in below:
            (folder / name).mkdir()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")


def metrics(stats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the content of each file of ``dvc metrics``, by its path below the dataset's folder of metrics."""
    names = ("rows", "groups", "units", "batches", "bad_units", "duplicates")
    heads = {f"labels/{head}.json": balance(total(parts)) for head, parts in stats["labels"].items()}
    return {"size.json": {name: stats[name] for name in names}, **heads}


def balance(counts: Mapping[str, int]) -> dict[str, float | str]:
    """Say how evenly the rows of a label head fall on its classes.

    Parameters
    ----------
    counts
        Rows per class; rows that the head does not apply to are not among them.

    Returns
    -------
    dict
        ``labelled``, the rows; ``seen``, the classes that some row has; ``largest``, the class of the most rows, and
        its ``share``; ``evenness``, the entropy of the shares over that of equal shares, 0 (one class) to 1.

    Examples
    --------
    >>> balance({"a": 2, "b": 4, "c": 2, "d": 0})
    {'labelled': 8, 'seen': 3, 'largest': 'b', 'share': 0.5, 'evenness': 0.75}
    """
    n_rows = sum(counts.values())
    largest = max(counts, key=lambda name: counts[name])
    shares = [count / n_rows for count in counts.values() if count]
    entropy = sum(-share * math.log(share) for share in shares)
    return {
        "labelled": n_rows,
        "seen": len(shares),
        "largest": largest,
        "share": round(counts[largest] / max(1, n_rows), DIGITS),
        "evenness": round(entropy / math.log(max(2, len(counts))), DIGITS),
    }


def total(parts: Mapping[str, Any]) -> dict[str, int]:
    """Return the rows of each class in all parts together."""
    classes = [part["classes"] for part in parts.values()]
    return {name: sum(counts[name] for counts in classes) for name in classes[0]}


def plots(stats: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each table of ``dvc plots``, by its path below the dataset's folder of plots."""
    sizes = {part: {"rows": stats["rows"][part], "groups": stats["groups"][part]} for part in stats["rows"]}
    tables = {
        "parts.csv": _csv(("part", "kind", "count"), _long(sizes)),
        "batches.csv": _csv(("batch", "kind", "count"), _long(report["by_batch"])),
    }
    for head, parts in stats["labels"].items():
        tables[f"labels/{head}.csv"] = _csv(("class", "part", "rows", "share"), _class_rows(parts))
    legal = stats["legal_actions"]
    if legal:
        rows = [(head, part, *found.values()) for head, parts in legal.items() for part, found in parts.items()]
        tables["masks/legal_actions.csv"] = _csv(("head", "part", *_first(_first(legal))), rows)
    return tables


def _long(table: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, int]]:
    """Return a row for each name, kind and count, kind by kind."""
    kinds = list(_first(table))
    return [(name, kind, counts[kind]) for kind in kinds for name, counts in table.items()]


def _class_rows(parts: Mapping[str, Any]) -> list[tuple[str, str, int, float]]:
    """Return class, part, rows and share of the classes that some part has."""
    seen = [name for name, count in total(parts).items() if count]
    return [
        (name, part, counts["classes"][name], round(counts["classes"][name] / max(1, n_rows), DIGITS))
        for part, counts in parts.items()
        for n_rows in [sum(counts["classes"].values())]
        for name in seen
    ]


def _first(table: Mapping[str, Any]) -> Any:
    return next(iter(table.values()))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
