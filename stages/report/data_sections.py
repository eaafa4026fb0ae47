"""Write the sections on the data: fields, split, classes, legal actions, feature ranges, the dataset's own figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.report import data_charts
from stages.report.columns import Column
from stages.report.facts import Facts
from stages.report.markup import Charts, Html, data_table, details, number, paragraph, percent, section, table, text

MAX_NAMED = 12
WIDEST = 15
MAX_COLUMNS = 3000
ROLES = ("feature", "label", "mask", "time", "series", "segment", "lookback", "valid", "key")


def fields(facts: Facts) -> list[Html]:
    """Name, type and meaning of each array."""
    if not facts.fields:
        return []
    rows = [
        (
            str(field["name"]),
            str(field["doc"]),
            str(field["role"]),
            _row_type(field),
        )
        for role in ROLES
        for field in facts.fields
        if field["role"] == role
    ]
    return [table("Arrays as merged", ("name", "meaning", "role", "one row"), rows, 4)]


def _row_type(field: Mapping[str, Any]) -> str:
    """Say dtype and shape of a row, and for bits the shape of what they are."""
    stored = f"{field['dtype']} {tuple(field['shape']) if field['shape'] else ''}".strip()
    return f"{stored}, bits of {tuple(field['bits'])}" if field.get("bits") else stored


def split(facts: Facts, charts: Charts) -> list[Html]:
    """Rows and groups of each part."""
    if not facts.parts:
        return [paragraph("There is no stats.json.", "note")]
    stats, name = facts.stats, facts.name
    total = sum(stats["rows"].values())
    settings = stats.get("split", {})
    rows = [
        (
            part,
            number(stats["rows"][part], f"{name}.rows.{part}"),
            percent(stats["rows"][part] / total if total else None),
            number(stats["groups"][part], f"{name}.groups.{part}"),
            number(settings.get(part), f"{name}.split.{part}" if part in settings else ""),
        )
        for part in facts.parts
    ]
    others = [_setting(key, value, f"{name}.split.{key}") for key, value in settings.items() if key not in facts.parts]
    wanted = [paragraph(Html(f"Split settings: {', '.join(others)}."))] if others else []
    head = ("part", "rows", "of rows", "groups", "wanted share")
    return [charts.draw(data_charts.split_sizes(stats)), table("Sizes of the parts", head, rows), *wanted]


def _setting(name: str, value: object, key: str) -> Html:
    """Say a setting of the split, or what it came to at each boundary."""
    if isinstance(value, Mapping):
        return Html("; ".join(_setting(f"{name} {of}", inner, f"{key}.{of}") for of, inner in value.items()))
    if isinstance(value, bool):
        return Html(f"{text(name)} {'yes' if value else 'no'}")
    shown = number(value, key) if isinstance(value, int | float) else text(str(value))
    return Html(f"{text(name)} {shown}")


def classes(facts: Facts, charts: Charts) -> list[Html]:
    """Class balance per head and part."""
    heads = facts.stats.get("labels", {})
    if not heads:
        return [paragraph("This dataset has no labels.", "note")] if facts.stats else []
    rows = [_head_row(facts, name, head) for name, head in heads.items()]
    titles = (
        "head",
        "classes",
        "seen in train",
        "largest class",
        "its share",
        "evenness",
        *(f"n/a in {part}" for part in facts.parts),
    )
    note = (
        "Evenness is the entropy of the classes over that of equal ones: 1 is even, 0 is all in one class. n/a "
        "counts the rows to which the head does not apply."
    )
    each = [
        section(
            f"{facts.name}-head-{i}",
            name,
            charts.draw(data_charts.class_balance(f"Classes of {name}", head)),
            _class_table(facts, name, head),
            level=4,
        )
        for i, (name, head) in enumerate(heads.items())
        if any(counts["classes"] for counts in head.values())
    ]
    return [table("Label heads", titles, rows), paragraph(note), Html(f'<div class="pairs">{"".join(each)}</div>')]


def _head_row(facts: Facts, name: str, head: Mapping[str, Any]) -> list[str | Html]:
    first = next(iter(head))
    counts = head[first]["classes"]
    biggest, total = max(counts, key=counts.get, default=""), sum(counts.values())
    even = data_charts.evenness(list(counts.values()))
    return [
        name,
        number(len(counts)),
        number(sum(1 for count in counts.values() if count)),
        str(biggest),
        percent(counts[biggest] / total if total else None),
        Html("&ndash;") if even is None else number(round(even, 3)),
        *(number(head[p]["not_applicable"], f"{facts.name}.labels.{name}.{p}.not_applicable") for p in facts.parts),
    ]


def _class_table(facts: Facts, name: str, head: Mapping[str, Any]) -> Html:
    shares = data_charts.shares(head)
    rows = [
        [
            label,
            *(
                cell
                for part in facts.parts
                for cell in (
                    number(head[part]["classes"].get(label, 0), f"{facts.name}.labels.{name}.{part}.classes.{label}"),
                    percent(shares[label][part]),
                )
            ),
        ]
        for label in shares
    ]
    titles = ["class", *(title for part in facts.parts for title in (part, "share"))]
    return details(f"All {len(rows)} classes of {name}", table(f"Rows per class of {name}", titles, rows))


def legal(facts: Facts, charts: Charts) -> list[Html]:
    """Legal actions per head and part."""
    heads = facts.stats.get("legal_actions", {})
    if not heads:
        return [paragraph("This dataset has no masks.", "note")] if facts.stats else []
    keys = ("mean", "min", "max")
    rows = [
        (head, part, *(number(counts[key], f"{facts.name}.legal_actions.{head}.{part}.{key}") for key in keys))
        for head, parts in heads.items()
        for part, counts in parts.items()
    ]
    listed = table("Legal actions of a row", ("head", "part", *keys), rows, 2)
    return [charts.draw(data_charts.legal_actions(heads)), details("Legal actions of each head and part", listed)]


def ranges(facts: Facts, charts: Charts) -> list[Html]:
    """Feature ranges, with columns that say nothing named."""
    columns = facts.columns
    said = [paragraph(f"{name} is stored as bits, {_times(shape)} a row.") for name, shape in facts.packed.items()]
    if not columns:
        return said
    groups = {kind: [column for column in columns if column.kind == kind] for kind in data_charts.KINDS}
    standardised = sum(column.scale != 1 for column in columns)
    noun = "column" if len(columns) == 1 else "columns"
    summary = f"{len(columns):,} {noun}, {standardised:,} of them standardised with a scale other than 1."
    pieces = [*said, paragraph(summary)]
    pieces += [_named(kind, groups[kind]) for kind in ("not finite", "constant", "near-constant")]
    if any(column.kind != "not finite" for column in columns):
        pieces.append(charts.draw(data_charts.column_ranges(columns)))
    widest = sorted(groups["varies"], key=lambda column: -max(-column.stored_low, column.stored_high))
    pieces.append(_column_table(f"The {WIDEST} columns with values farthest from 0", widest[:WIDEST]))
    if len(columns) > WIDEST:
        shown = columns[:MAX_COLUMNS]
        name = f"All {len(columns):,} columns" if shown == columns else f"The first {MAX_COLUMNS:,} columns"
        pieces.append(details(name, _column_table("Range of each column over the train rows", shown)))
    return pieces


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


WORDS = {
    "not finite": "hold a value that is not a finite number",
    "constant": "are constant: they hold one value in every train row and teach nothing",
    "near-constant": "are near-constant: one value in at least 99.9% of the train rows",
}


def _named(kind: str, columns: Sequence[Column]) -> Html:
    """Name some columns of a kind, all of them folded away."""
    if not columns:
        return paragraph(f"No columns {WORDS[kind]}.")
    names = ", ".join(column.name for column in columns[:MAX_NAMED])
    more = f" and {len(columns) - MAX_NAMED:,} more" if len(columns) > MAX_NAMED else ""
    said = paragraph(f"{len(columns):,} columns {WORDS[kind]}: {names}{more}.", "names")
    if not more or kind == "not finite":
        return said
    head = ("column", "value", "share of rows")
    rows = [(column.name, number(_rounded(column.common)), _share(column.share)) for column in columns[:MAX_COLUMNS]]
    return Html(
        said + details(f"All {len(columns):,} {kind} columns", table(f"{kind} columns".capitalize(), head, rows))
    )


def _share(share: float) -> Html:
    return Html(f"{100 * share:.3f}%")


def _rounded(value: float) -> float:
    """Return a value without the noise that float32 and the inverse transform leave."""
    return float(f"{value:.6g}")


def _column_table(caption: str, columns: Iterable[Column]) -> Html:
    head = ("column", "min", "max", "mean", "scale", "stored min", "stored max", "kind")
    rows = [
        (
            column.name,
            *(number(_rounded(v)) for v in (column.low, column.high, column.mean, column.scale)),
            *(number(_rounded(v)) for v in (column.stored_low, column.stored_high)),
            column.kind,
        )
        for column in columns
    ]
    return table(caption, head, rows)


def own(facts: Facts, charts: Charts) -> list[Html]:
    """Give the figures of the dataset's own package."""
    return [piece for figure in facts.figures for piece in (charts.draw(figure), data_table(figure))]
