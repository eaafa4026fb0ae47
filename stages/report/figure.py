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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


def own_figures(dataset: str, processed_dir: Path) -> list[Figure]:
    """Return the figures a dataset package gives, none when it has no `report` module."""
    name = f"stages.datasets.{dataset}"
    if importlib.util.find_spec(name) is None or importlib.util.find_spec(f"{name}.report") is None:
        return []
    figures: list[Figure] = importlib.import_module(f"{name}.report").figures(processed_dir)
    return figures
