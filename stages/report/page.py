"""Put the page together: overview, one part per dataset, table of contents, styles, scripts and charts."""

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import vl_convert

from stages.report import data_sections, run_sections
from stages.report.facts import Facts
from stages.report.lock import Comparison
from stages.report.markup import Charts, Html, bullets, number, section, table, text, tiles

HERE = Path(__file__).parent


def page(datasets: Sequence[Facts], comparison: Comparison) -> str:
    """Return the page: HTML that needs nothing else, from disk or network."""
    charts = Charts()
    parts = [_dataset(facts, comparison, charts) for facts in datasets]
    overview = _overview(datasets, comparison)
    contents = [Html('<a href="#overview">Overview</a>'), *(entry for _, entry in parts)]
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        policy=f"default-src 'none'; script-src {_digest(bundle)} {_digest(script)}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'",
        style=_file("page.css"),
        contents=bullets(contents),
        body=overview + "".join(body for body, _ in parts),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        charts=json.dumps(charts.specs, ensure_ascii=False).replace("<", "\\u003c"),
        bundle=bundle,
        script=script,
    )


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """Return the source expression that lets a browser run just this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _overview(datasets: Sequence[Facts], comparison: Comparison) -> Html:
    head = ("dataset", "rows", "groups", "units", "batches", "peak MB", "seconds", "stages rebuilt", "reused")
    rows = [
        (
            Html(f'<a href="#{text(facts.name)}">{text(facts.name)}</a>'),
            number(sum(facts.stats["rows"].values()) if facts.stats else None),
            number(sum(facts.stats["groups"].values()) if facts.stats else None),
            number(facts.stats.get("units")),
            number(facts.stats.get("batches")),
            number(round(facts.peak_mb, 1) if facts.runs else None),
            number(round(facts.seconds, 1) if facts.runs else None),
            number(_count(facts, comparison, {"rebuilt", "new"})),
            number(_count(facts, comparison, {"reused"})),
        )
        for facts in datasets
    ]
    state = run_sections.rebuilt(comparison.stages, comparison)
    since = section("since", "Since the last commit", *state)
    return section("overview", "Overview", table("Datasets", head, rows), since, level=2)


def _count(facts: Facts, comparison: Comparison, states: set[str]) -> int | None:
    return None if comparison.why_not else sum(stage.state in states for stage in facts.stages)


def _dataset(facts: Facts, comparison: Comparison, charts: Charts) -> tuple[Html, Html]:
    """Return the part of the page on one dataset and its entry in the table of contents."""
    name = facts.name
    sections = {
        "split": ("Split", data_sections.split(facts, charts)),
        "own": (f"{name.capitalize()} in particular", data_sections.own(facts, charts)),
        "classes": ("Class balance", data_sections.classes(facts, charts)),
        "legal": ("Legal actions", data_sections.legal(facts, charts)),
        "ranges": ("Feature ranges", data_sections.ranges(facts, charts)),
        "fields": ("Fields", data_sections.fields(facts)),
        "memory": ("Memory and time", run_sections.memory(facts, charts)),
        "workers": ("Workers", run_sections.workers(facts, charts)),
        "speed": ("Speed", run_sections.speed(facts, charts)),
        "simulation": ("Simulation", run_sections.simulation(facts)),
        "batches": ("Batches", run_sections.batches(facts, charts)),
        "bad": ("Bad units", run_sections.bad_units(facts)),
        "duplicates": ("Duplicates", run_sections.duplicates(facts)),
        "rebuilt": ("Rebuilt and reused", run_sections.rebuilt(facts.stages, comparison)),
    }
    present = {f"{name}-{key}": value for key, value in sections.items() if value[1]}
    body = [section(anchor, title, *content) for anchor, (title, content) in present.items()]
    links = bullets(Html(f'<a href="#{text(anchor)}">{text(title)}</a>') for anchor, (title, _) in present.items())
    entry = Html(f'<a href="#{text(name)}">{text(name)}</a>{links}')
    return section(name, name, _tiles(facts), *_missing(facts), *body, level=2), entry


def _missing(facts: Facts) -> list[Html]:
    if not facts.missing:
        return []
    listed = bullets(facts.missing)
    return [Html(f'<div class="note"><p>Not on this page:</p>{listed}</div>')]


def _tiles(facts: Facts) -> Html:
    stats, name = facts.stats, facts.name
    spread = ", ".join(f"{part} {count:,}" for part, count in stats.get("rows", {}).items())
    budget = f"of {facts.budget_mb:,.0f} MB budget" if facts.budget_mb else ""
    repeats = stats.get("duplicates", {})
    dropped = Html(f"groups, {number(repeats.get('rows'), f'{name}.duplicates.rows')} rows, dropped")
    return tiles(
        [
            ("Rows", number(sum(stats["rows"].values()) if stats else None), spread),
            ("Groups", number(sum(stats["groups"].values()) if stats else None), ""),
            ("Columns", number(stats.get("input_dim"), f"{name}.input_dim"), "of all features"),
            ("Units", number(stats.get("units"), f"{name}.units"), "raw, all batches"),
            ("Batches", number(stats.get("batches"), f"{name}.batches"), ""),
            ("Duplicates", number(repeats.get("groups"), f"{name}.duplicates.groups"), dropped),
            ("Bad units", number(stats.get("bad_units"), f"{name}.bad_units"), "left out"),
            ("Peak memory", Html(f"{number(round(facts.peak_mb))} MB" if facts.runs else "&ndash;"), budget),
            (
                "Time",
                Html(f"{number(round(facts.seconds, 1))} s" if facts.runs else "&ndash;"),
                "last run of each stage",
            ),
        ]
    )
