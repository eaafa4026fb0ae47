"""What a chart of the report is, and how a dataset package gives its own.

A dataset called `<name>` may have `stages/datasets/<name>/report.py`, or a package `report/`, with
``figures(processed_dir) -> list[Figure]``.
It reads what a trainer reads, in bounded memory, and returns as many figures as it likes; they stand below those that
every dataset has. A specification is a single or layered Vega-Lite view (``facet`` and ``concat`` cannot follow the
width of the page) with its rows inside, and its height in pixels::

    Figure(
        title="Close price of the first test day",
        doc="One bar a minute; the band is the spread.",
        spec={
            "data": {"values": [{"minute": 0, "close": 101.5, "low": 101.0, "high": 102.0}]},
            "layer": [
                {"mark": "area", "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}},
                {"mark": "line", "encoding": {"y": {"field": "close", "type": "quantitative"}}},
            ],
            "encoding": {"x": {"field": "minute", "type": "quantitative"}},
            "height": 240,
        },
        alt="The price rises from 101.5 to 104.",
    )

The page adds width, colours and fonts for light and dark, so a specification names neither: use the ``color`` channel.
A board is a layer of ``geoshape`` marks with the projection ``identity``, which keeps its cells regular at any width;
a heat map is one of ``rect``. Besides Vega's own ranges of colours a ``scale`` may name ``versus``, blue and red for
two sides, and ``balance``, from red through neutral to blue.
"""

import importlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import paths
from stages.processed.reader import read_json

SHORT_NAME = 12  # names up to this length are shown whole
SHORT_CUT = 6  # characters, fewer are not worth a mark in their place


@dataclass(frozen=True)
class Figure:
    """One chart.

    Attributes
    ----------
    title
        What it shows, in a few words.
    doc
        How to read it: what a mark is, units, what is left out.
    spec
        Vega-Lite without ``$schema``, ``width`` and ``config``.
    alt
        What the chart says, in words and figures, for those who do not see it; default: `doc`.
    """

    title: str
    doc: str
    spec: Mapping[str, Any]
    alt: str = ""

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows that all its layers are drawn of; none when there are no such rows in the specification."""
        data = self.spec.get("data")
        values = data.get("values") if isinstance(data, Mapping) else None
        return values if isinstance(values, list) and values and isinstance(values[0], Mapping) else []

    @property
    def cells(self) -> list[list[str | float]]:
        """What the columns of the first row hold in each row, as numbers and text."""
        return [[_plain(row.get(name)) for name in self.rows[0]] for row in self.rows]


def _plain(value: object) -> str | float:
    return value if isinstance(value, int | float) else str("" if value is None else value)


def own_figures(dataset: str, processed_dir: Path) -> list[Figure]:
    """Return the figures a dataset package gives, none when it has no `report` module."""
    name = f"stages.datasets.{dataset}"
    if importlib.util.find_spec(name) is None or importlib.util.find_spec(f"{name}.report") is None:
        return []
    figures: list[Figure] = importlib.import_module(f"{name}.report").figures(processed_dir)
    return figures


def quantity(field: str, title: str | None, **more: Any) -> dict[str, Any]:
    """Return the encoding of a number."""
    return {"field": field, "type": "quantitative", "title": title, **more}


def kind(field: str, title: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the encoding of a name, in the order of the data."""
    return {"field": field, "type": "nominal", "title": title, "sort": None, **more}


def readable(value: float) -> str:
    """Return a number with thousands separated and about four digits.

    Examples
    --------
    >>> readable(15227), readable(1234.567), readable(0.123456), readable(-1e-7)
    ('15,227', '1,235', '0.1235', '-1e-07')
    """
    if isinstance(value, int) or (abs(value) < 1e15 and value == int(value)):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def short_names(names: Sequence[str], most: int = 24) -> dict[str, str]:
    """Return what to call things on an axis: each name without what all begin or end with, then without its middle.

    A name stays whole where it would be that of another.

    Parameters
    ----------
    most
        Longest name, in characters.

    Examples
    --------
    >>> list(short_names(["worker_1/run_2025.txt", "worker_20/run_2025.txt"]).values())
    ['worker_1…', 'worker_20…']
    >>> list(short_names(["a_long_folder_of_games/one.csv", "b/two.txt"], 16).values())
    ['a_lon…es/one.csv', 'b/two.txt']
    """
    n_before, n_after = _common(names, 1), _common([name[::-1] for name in names], 1)
    shown = {}
    for name in names:
        own = name[n_before : len(name) - n_after]
        shown[name] = _without_middle(f"{'…' * (n_before > 0)}{own}{'…' * (n_after > 0)}", most)
    times = Counter(shown.values())
    return {name: short if times[short] == 1 else name for name, short in shown.items()}


def _common(names: Sequence[str], n_left: int) -> int:
    """Return how many characters all of several names begin with, up to the last mark between words among them."""
    if len(names) < 2 or max(map(len, names)) <= SHORT_NAME:
        return 0
    first, last = min(names), max(names)  # what these two begin with, all between them do
    most = min(map(len, names)) - n_left
    n_same = next((i for i in range(most) if first[i] != last[i]), most)
    n_cut = max((i for i in range(n_same) if first[i] in "/. "), default=-1) + 1
    return n_cut if n_cut >= SHORT_CUT else 0


def _without_middle(name: str, most: int) -> str:
    n_end = 2 * (most - 1) // 3  # names of files differ in their ends
    return name if len(name) <= most else f"{name[: most - 1 - n_end]}…{name[-n_end:]}"


def merge_report(dataset: str) -> dict[str, Any]:
    """Return what merge reports of a dataset, nothing when that is not here."""
    path = paths.report(dataset)
    return read_json(path) if path.is_file() else {}


def findings(
    by_reason: Mapping[str, int], unit: str, named: Callable[[str], dict[str, str]] = lambda reason: {"reason": reason}
) -> tuple[dict[str, Any], str]:
    """Draw how often what was found within units, the most frequent first.

    Parameters
    ----------
    unit
        What is counted.
    named
        Gives the words of a reason, and with a second one, ``what``, of what is counted, which colours the bars.

    Returns
    -------
    tuple
        The specification, and words on the first reason.
    """
    order = sorted(by_reason, key=lambda reason: (-by_reason[reason], reason))
    rows = [{**named(reason), unit: by_reason[reason]} for reason in order]
    encoding = {
        "y": kind("reason", axis={"labelLimit": 170}),
        "x": quantity(unit, unit, axis={"tickMinStep": 1}),
        "tooltip": [{"field": name} for name in rows[0]],
    }
    if "what" in rows[0]:
        encoding["color"] = kind("what")
    spec = {"data": {"values": rows}, "height": 24 * len(rows), "mark": "bar", "encoding": encoding}
    return spec, f"most often: {rows[0]['reason']} ({by_reason[order[0]]:,})"
