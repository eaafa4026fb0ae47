"""What is to be seen of a model beside its metrics, on the page of `make report`: data/train/<dataset>/figures.json.

A meter counts it, for test; the page draws it and knows no dataset. The file is a list of objects, each with ``kind``
("confusion" or "agreement") and the attributes of that class; numbers are sums and means over all samples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from stages.core.files import json_text


@dataclass(frozen=True)
class Confusion:
    """How often each class was named for each true one.

    Attributes
    ----------
    title, doc
        What it shows, in a few words, and how to read it.
    classes
        Names.
    counts
        (classes, classes): samples by true class, then by the one that was named.
    """

    kind: ClassVar[str] = "confusion"

    title: str
    doc: str
    classes: Sequence[str]
    counts: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Agreement:
    """What was foretold beside what happened, for samples for which nearly the same was foretold.

    Attributes
    ----------
    title, doc
        What it shows, in a few words, and how to read it.
    quantity
        What both numbers are, with their unit.
    bins
        Of each bin with samples, by rising forecast: how many samples, mean forecast, mean of what happened.
    """

    kind: ClassVar[str] = "agreement"

    title: str
    doc: str
    quantity: str
    bins: Sequence[Sequence[float]]


ModelFigure = Confusion | Agreement


def figures_text(figures: Sequence[ModelFigure]) -> str:
    """Return the text of figures.json."""
    found: list[dict[str, Any]] = [{"kind": figure.kind, **asdict(figure)} for figure in figures]
    return json_text(found)


def bins_of(count: Sequence[float], told: Sequence[float], happened: Sequence[float]) -> list[tuple[float, ...]]:
    """Return the bins of an `Agreement` from the sums of each bin; those without samples are left out."""
    sums = zip(count, told, happened, strict=True)
    return [(n, sum_told / n, sum_happened / n) for n, sum_told, sum_happened in sums if n]
