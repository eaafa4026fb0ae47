"""Small pieces of HTML: numbers, tables, tiles and figures. All text that is given is escaped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from stages.core.errors import ExpectedError
from stages.report.figure import Figure

MAX_TABLE_ROWS = 200
LONG_TEXT = 30


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: "str | Html") -> str:
    """Return a value as HTML."""
    return value if isinstance(value, Html) else escape(value)


def number(value: float | None, key: str = "") -> Html:
    """Return a number for readers, with its exact value in the markup.

    Parameters
    ----------
    value
        None gives a dash.
    key
        Where the number stands in stats.json, such as ``splendor.rows.train``.

    Examples
    --------
    >>> number(15227, "splendor.rows.train")
    '<data value="15227" data-figure="splendor.rows.train">15,227</data>'
    """
    if value is None:
        return Html("&ndash;")
    attribute = f' data-figure="{escape(key)}"' if key else ""
    return Html(f'<data value="{escape(json.dumps(value))}"{attribute}>{readable(value)}</data>')


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


def percent(share: float | None) -> Html:
    """Return a share as a percentage."""
    return Html("&ndash;" if share is None else f"{100 * share:.{1 if share < 0.9995 else 0}f}%")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence["str | Html"]], n_text: int = 1) -> Html:
    """Return a table that scrolls sideways when it must; its first `n_text` columns are text, the others numbers."""
    titles = "".join(f'<th scope="col"{_numeric(i >= n_text)}>{escape(title)}</th>' for i, title in enumerate(head))
    body = "".join(f"<tr>{_cells(row, n_text)}</tr>" for row in rows)
    return Html(
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence["str | Html"], n_text: int) -> str:
    first, *others = row
    cells = [f'<th scope="row">{text(first)}</th>']
    for i, cell in enumerate(others, 1):
        kind = ' class="long"' if i < n_text and len(cell) > LONG_TEXT else _numeric(i >= n_text)
        cells.append(f"<td{kind}>{text(cell)}</td>")
    return "".join(cells)


def _numeric(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def details(summary: str, *content: Html) -> Html:
    """Return content that is folded away."""
    return Html(f"<details><summary>{escape(summary)}</summary>{''.join(content)}</details>")


def paragraph(content: "str | Html", kind: str = "") -> Html:
    """Return a paragraph of a class."""
    attribute = f' class="{kind}"' if kind else ""
    return Html(f"<p{attribute}>{text(content)}</p>")


def bullets(items: Iterable["str | Html"]) -> Html:
    """Return a list."""
    return Html(f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>")


def tiles(content: Sequence[tuple[str, Html, "str | Html"]]) -> Html:
    """Return summary tiles from their titles, values and the small print below."""
    inner = "".join(
        f"<div><dt>{escape(title)}</dt><dd>{value}</dd>{f'<dd class=small>{text(note)}</dd>' if note else ''}</div>"
        for title, value, note in content
    )
    return Html(f'<dl class="tiles">{inner}</dl>')


def section(anchor: str, title: str, *content: Html, level: int = 3) -> Html:
    """Return a section with its heading."""
    heading = f'<h{level} id="{escape(anchor)}-title">{escape(title)}</h{level}>'
    label = f' aria-labelledby="{escape(anchor)}-title"' if level == 2 else ""
    return Html(f'<section id="{escape(anchor)}"{label}>{heading}{"".join(content)}</section>')


def chart(identity: str, figure: Figure) -> Html:
    """Return the place of a chart, which page.js fills, with its words."""
    described = f' aria-describedby="{escape(identity)}-alt"' if figure.alt else ""
    return Html(
        f"<figure><figcaption><strong>{escape(figure.title)}</strong><span>{escape(figure.doc)}</span></figcaption>"
        f'<div class="chart" id="{escape(identity)}" role="img"'
        f' aria-label="Chart: {escape(figure.title)}"{described}><div></div></div>'
        f'<p class="alt" id="{escape(identity)}-alt">{escape(figure.alt)}</p></figure>'
    )


class Charts:
    """The charts of a page: hands out their places and keeps their specifications, by place."""

    def __init__(self) -> None:
        self.specs: dict[str, Mapping[str, Any]] = {}

    def draw(self, figure: Figure) -> Html:
        """Return the place of one more chart."""
        identity = f"chart-{len(self.specs) + 1}"
        try:
            json.dumps(figure.spec, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ExpectedError(f"figure {figure.title!r}: {error}, expected plain finite JSON; correct it") from None
        self.specs[identity] = figure.spec
        return chart(identity, figure)


def data_table(figure: Figure) -> Html:
    """Return the rows of a chart as a folded table, at most `MAX_TABLE_ROWS`; nothing when it has none inside."""
    data = figure.spec.get("data")
    values = data.get("values") if isinstance(data, Mapping) else None
    if not isinstance(values, list) or not values or not isinstance(values[0], Mapping):
        return Html("")
    names = [str(name) for name in values[0]]
    rows = [[_plain(row.get(name)) for name in names] for row in values[:MAX_TABLE_ROWS]]
    shown = f"the first {MAX_TABLE_ROWS:,} of {len(values):,} rows" if len(values) > len(rows) else f"{len(rows)} rows"
    return details(f"As a table ({shown})", table(figure.title, names, rows))


def _plain(value: object) -> "str | Html":
    return number(value) if isinstance(value, int | float) else str("" if value is None else value)
