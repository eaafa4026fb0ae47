"""What the page's templates are given: numbers as HTML, the charts that were placed, and the environment they run in.

The templates, stages/report/templates, hold all other HTML. Jinja2 escapes whatever is not `Markup`, and a name that
does not exist is an error.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stages.core.errors import ExpectedError
from stages.differences import chance, words
from stages.report import data_charts, drift_charts, generations, model_charts, run_charts
from stages.report.figure import Figure, readable
from stages.splitting.stats import balance

TEMPLATES = Path(__file__).parent / "templates"
MAX_LISTED = 200  # rows of a table that could have any number
DASH = Markup("&ndash;")


def number(value: float | None, key: str = "") -> Markup:
    """Return a number for readers, with its exact value in the markup.

    Parameters
    ----------
    value
        None gives a dash.
    key
        Where the number stands in stats.json, such as ``splendor.rows.train``.

    Examples
    --------
    >>> print(number(15227, "splendor.rows.train"))
    <data value="15227" data-figure="splendor.rows.train">15,227</data>
    """
    if value is None:
        return DASH
    attribute = Markup(' data-figure="{}"').format(key) if key else ""
    # Digits need no escaping, and Markup.format would take four times as long for the cells of thousands of columns.
    return Markup(f'<data value="{json.dumps(value)}"{attribute}>{readable(value)}</data>')


def percent(share: float | None) -> Markup:
    """Return a share as a percentage; None gives a dash."""
    return DASH if share is None else Markup(f"{share:.{1 if share < 0.9995 else 0}%}")


def rounded(value: float) -> float:
    """Return a value without the noise that float32 and the inverse transform leave."""
    return float(f"{value:.6g}")


def metric(value: float | None) -> float | None:
    """Return a metric without the noise of its sums: -2e-16 is 0."""
    return None if value is None else round(value, 6) + 0.0


def moment(time: float) -> str:
    """Return a time, s since the epoch, in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def digest(script: str) -> Markup:
    """Return the source expression of a security policy that lets a browser run just this script."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'")


class Charts:
    """The charts of a page: hands out their places and keeps their specifications, by place."""

    def __init__(self) -> None:
        self.specs: dict[str, Mapping[str, Any]] = {}

    def add(self, figure: Figure) -> str:
        """Return the place of one more chart."""
        try:
            json.dumps(figure.spec, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ExpectedError(f"figure {figure.title!r}: {error}, expected plain finite JSON; correct it") from None
        place = f"chart-{len(self.specs) + 1}"
        self.specs[place] = figure.spec
        return place


@functools.cache
def environment() -> Environment:
    """Return what renders the templates."""
    found = Environment(
        loader=FileSystemLoader([TEMPLATES, TEMPLATES / "sections"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    filters = {
        "number": number,
        "percent": percent,
        "rounded": rounded,
        "metric": metric,
        "moment": moment,
        "digest": digest,
    }
    found.filters.update(filters)
    found.globals.update(
        data_charts=data_charts,
        drift_charts=drift_charts,
        entries=words.entries,
        LEVEL=chance.LEVEL,
        run_charts=run_charts,
        generations=generations,
        model_charts=model_charts,
        balance=balance,
        MAX_LISTED=MAX_LISTED,
    )
    found.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # and in the order of the specifications
    return found
