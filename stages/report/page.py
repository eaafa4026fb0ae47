"""Put the page together: render its sections, and then the page around them with styles, scripts and charts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from stages.report.bundle import javascript
from stages.report.facts import Facts
from stages.report.lock import Comparison
from stages.report.markup import TEMPLATES, Charts, environment

SECTIONS = {  # of a dataset, in the order of the page; the template of each is sections/<name>.html
    "split": "Split",
    "own": "{} in particular",
    "model": "Trained model",
    "generations": "Generations",
    "classes": "Class balance",
    "legal": "Legal actions",
    "ranges": "Feature ranges",
    "drift": "Drift of val and test",
    "fields": "Fields",
    "memory": "Memory and time",
    "workers": "Workers",
    "speed": "Speed",
    "simulation": "Simulation",
    "batches": "Batches",
    "bad": "Bad units",
    "duplicates": "Duplicates",
    "rebuilt": "Rebuilt and reused",
}


def page(datasets: Sequence[Facts], comparison: Comparison) -> str:
    """Return the page: HTML that needs nothing else, from disk or network."""
    charts = Charts()
    return (
        environment()
        .get_template("page.html")
        .render(
            parts=[(facts, _sections(facts, comparison, charts)) for facts in datasets],
            since=section("rebuilt", stages=comparison.stages, comparison=comparison)
            + section("changes", changes=[facts.changes for facts in datasets if facts.changes]),
            comparison=comparison,
            charts=charts,
            style=_file("page.css"),
            bundle=Markup(javascript()),
            script=_file("page.js"),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _sections(facts: Facts, comparison: Comparison, charts: Charts) -> list[tuple[str, str, Markup]]:
    """Return anchor, title and content of each section of a dataset that has something to say."""
    given = {"facts": facts, "stages": facts.stages, "comparison": comparison, "charts": charts}
    contents = ((name, title, section(name, **given)) for name, title in SECTIONS.items())
    return [
        (f"{facts.name}-{name}", title.format(facts.name.capitalize()), content)
        for name, title, content in contents
        if content
    ]


def section(name: str, **given: Any) -> Markup:
    """Return the content of one section; nothing when there is nothing to say."""
    return Markup(environment().get_template(f"{name}.html").render(given).strip())


def _file(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
