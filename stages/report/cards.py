"""Write the data card of a dataset, data/cards/<dataset>.md, in the form of a Hugging Face dataset card.

The words are the dataset's own, stages/datasets/<dataset>/card.md, or, where it has none, those of
stages/report/card.md: a `string.Template` whose placeholders this module fills. All figures come from params.yaml and
from what merge and split wrote, so the card is a function of the data: equal data give equal bytes, and the committed
card can be checked. Placeholders:

- ``dataset``, ``raw``, ``source`` (where the raw files come from: simulated or supplied), ``batch_size``, ``limit``,
  ``max_bad_units``, and the ``train``, ``val``, ``test`` shares and ``seed`` of the split;
- ``rows``, ``groups``, ``units``, ``batches``, ``bad_units``, ``duplicate_groups``, ``duplicate_rows``,
  ``rows_<part>``, ``groups_<part>``, ``input_dim`` and ``standardised``, the number of feature columns;
- ``size_category`` and ``dataset_info``, YAML for the front matter: features (types as `datasets` reads them) and
  splits (examples, bytes);
- Markdown tables: ``splits_table``, ``arrays_table``, ``labels_table``, ``legal_table``, and from merge's report
  ``duplicates_table`` (units with the most duplicates) and ``findings_table`` (what was wrong within units);
- ``example``, the keys and labels of the first train row.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import yaml

from stages.core import arrays, part_files, paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField, read_fields
from stages.core.files import write_text
from stages.core.params import Params, load
from stages.core.part_files import PARTS
from stages.processed import Processed
from stages.processed.reader import read_json
from stages.report import hub
from stages.runtime import cli
from stages.splitting import stats

DEFAULT_TEMPLATE = Path(__file__).parent / "card.md"
LARGEST_SHOWN = 3  # classes of a head in the table of labels
UNITS_SHOWN = 5  # units in the table of duplicates
SPLIT_DOCS = {  # of the keys that split adds to the dataset's own
    "group_id": "64-bit id of the row's group",
    "unit": "unit of the row, an index into `units`",
    "row_in_unit": "row of its unit, from 0",
}


MEMBERS_NOTE = (
    "Names are those of the loader: `label_<head>` and `mask_<head>` are the member `<head>` of `labels_<part>.npz` "
    "and `masks_<part>.npz`, keys are members of `keys_<part>.npz`."
)
STORED_NOTE = "; stored as merged, the loader standardises it: (value - `mean`) / `scale` of `normalizer.npz`"


class CardColumn(NamedTuple):
    """One processed array: where it is, dtype and shape of a row, what it means, and its first train value."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    doc: str
    first: np.ndarray
    bits: tuple[int, ...] | None = None


def write(dataset: str) -> Path:
    """Write the card of a dataset; return its path.

    Raises
    ------
    ExpectedError
        When the arrays are missing, or the template has a placeholder that is not known.
    """
    write_text(paths.card(dataset), card(dataset))
    return paths.card(dataset)


def card(dataset: str) -> str:
    """Return the text of a dataset's card: its template with all placeholders filled."""
    template = paths.card_template(dataset)
    if not template.is_file():
        template = DEFAULT_TEMPLATE
    values = placeholders(dataset, load())
    try:
        return Template(template.read_text(encoding="utf-8")).substitute(values)
    except KeyError as error:
        known = ", ".join(sorted(values))
        raise ExpectedError(f"{template}: no placeholder {error.args[0]!r}, expected one of: {known}") from None
    except ValueError as error:
        raise ExpectedError(f"{template}: {error}; write a dollar sign as $$") from None


def placeholders(dataset: str, params: Params) -> dict[str, str]:
    """Return what each placeholder of a template stands for."""
    settings = params.dataset(dataset)
    found = _read(paths.processed_dir(dataset) / part_files.STATS)
    report = _read(paths.report(dataset))
    fields = read_fields(paths.merged_dir(dataset))
    columns = list(_columns(dataset, fields))
    counts = _counts(found)
    counts["standardised"] = sum(sum(field.normalise or ()) for field in fields)
    counts |= {"batch_size": settings.batch_size, "max_bad_units": settings.max_bad_units}
    return {
        **{name: f"{count:,}" for name, count in counts.items()},
        **{name: str(value) for name, value in asdict(params.split).items()},
        "dataset": dataset,
        "raw": settings.raw,
        "limit": "none" if settings.limit is None else f"{settings.limit:,}",
        "source": _source(dataset, params),
        "size_category": size_category(counts["rows"]),
        "dataset_info": _dataset_info(dataset, found, columns),
        "splits_table": _splits_table(dataset, found),
        "arrays_table": _arrays_table(columns),
        "labels_table": _labels_table(found["labels"]),
        "legal_table": _legal_table(found["legal_actions"]),
        "duplicates_table": _duplicates_table(report["duplicates"].get("by_unit", {})),
        "findings_table": _findings_table(report.get("findings", {}).get("by_reason", {})),
        "example": _example(columns),
    }


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts of stats.json by their placeholders."""
    counts = {name: sum(found[name].values()) for name in ("rows", "groups")}
    counts |= {name: found[name] for name in ("units", "batches", "bad_units", "input_dim")}
    counts |= {f"duplicate_{name}": found["duplicates"][name] for name in ("groups", "rows")}
    counts |= {f"{name}_{part}": found[name][part] for name in ("rows", "groups") for part in PARTS}
    return counts


def size_category(n_rows: int) -> str:
    """Return the size in the words of the Hugging Face hub.

    Examples
    --------
    >>> [size_category(n) for n in (999, 1000, 18_097, 2_000_000)]
    ['n<1K', '1K<n<10K', '10K<n<100K', '1M<n<10M']
    """
    if n_rows < 10**3:
        return "n<1K"
    power = len(str(n_rows)) - 1
    names = [f"{10 ** (n % 3)}{' KMBT'[n // 3]}" for n in (power, power + 1)]
    return f"{names[0]}<n<{names[1]}"


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ExpectedError(f"{path}: not found, expected the finished arrays; `dvc repro` or `dvc pull`")
    return read_json(path)


def _source(dataset: str, params: Params) -> str:
    """Say where the raw files come from."""
    settings, options = params.dataset(dataset), params.simulate.get(dataset)
    if options is None or settings.raw != f"data/sample/{dataset}":
        return f"Files supplied in `{settings.raw}`; who made them is not known to this repository."
    # Of a section of settings the names are enough; params.yaml has the rest.
    said = {name: " and ".join(value) if isinstance(value, Mapping) else value for name, value in options.items()}
    listed = ", ".join(f"{name} {value}" for name, value in said.items())
    return f"**Simulated**, not recorded: `stages/datasets/{dataset}/simulate` made all of them ({listed})."


def _columns(dataset: str, fields: Sequence[NamedField]) -> Iterator[CardColumn]:
    """Yield the processed arrays of a row, as the files of the train part have them."""
    docs = {field.name: field.doc for field in fields} | SPLIT_DOCS
    bits = {field.name: field.bits for field in fields}
    data = Processed(paths.processed_dir(dataset))
    for field, (path, header) in data.places(PARTS[0]).items():
        is_feature = path.suffix == ".npy"
        if is_feature and data.standard(field, header):
            docs[field] += STORED_NOTE
        chunks = arrays.npy_chunks(path, 1) if is_feature else arrays.member_chunks(path, header, 1)
        yield CardColumn(field, header.dtype, header.shape[1:], docs[field], next(chunks)[0].copy(), bits.get(field))


def _dataset_info(dataset: str, found: Mapping[str, Any], columns: Sequence[CardColumn]) -> str:
    """Return the front matter's `dataset_info`: features and splits, as YAML."""
    info = {
        "features": [hub.entry(column.name, _hub_type(dataset, column)) for column in columns],
        "splits": [
            {"name": part, "num_examples": found["rows"][part], "num_bytes": _part_bytes(dataset, part)}
            for part in PARTS
        ],
    }
    return yaml.safe_dump({"dataset_info": info}, sort_keys=False, default_flow_style=None, width=120).rstrip()


def _hub_type(dataset: str, column: CardColumn) -> Any:
    """Return the type of an array in the words of Hugging Face, bits unpacked and labels with their classes."""
    classes = Processed(paths.processed_dir(dataset)).label_mappings().get(column.name.removeprefix("label_"))
    if column.name.startswith("label_") and classes:
        return hub.class_label(list(classes))
    dtype = "string" if column.dtype.kind == "S" else column.dtype.name
    return hub.array(dtype, column.bits or column.shape)


def _part_bytes(dataset: str, part: str) -> int:
    return sum(path.stat().st_size for path in paths.processed_dir(dataset).glob(f"*_{part}.np?"))


def _splits_table(dataset: str, found: Mapping[str, Any]) -> str:
    rows = [
        (part, f"{found['rows'][part]:,}", f"{found['groups'][part]:,}", f"{_part_bytes(dataset, part) / 1e6:,.1f}")
        for part in PARTS
    ]
    return markdown_table(("part", "rows", "groups", "MB"), rows)


def _arrays_table(columns: Sequence[CardColumn]) -> str:
    rows = [(f"`{column.name}`", column.dtype.name, _shape(column), column.doc) for column in columns]
    return f"{markdown_table(('array', 'dtype', 'shape of a row', 'meaning'), rows)}\n\n{MEMBERS_NOTE}"


def _shape(column: CardColumn) -> str:
    """Return the shape of a row, and for bits the shape of what they are."""
    stored = " x ".join(map(str, column.shape)) or "scalar"
    return f"{stored} (bits of {' x '.join(map(str, column.bits))})" if column.bits else stored


def _labels_table(labels: Mapping[str, Any]) -> str:
    """Say of each head how many rows it applies to and how they fall on its classes, all parts together."""
    rows = []
    for head, parts in labels.items():
        counts = stats.total(parts)
        n_rows = sum(counts.values())
        largest = sorted(counts.items(), key=lambda item: -item[1])[:LARGEST_SHOWN]
        shown = ", ".join(f"`{name}` {count / max(1, n_rows):.1%}" for name, count in largest if count)
        n_seen = sum(count > 0 for count in counts.values())
        rows.append((f"`{head}`", f"{n_rows:,}", f"{n_seen} of {len(counts)}", shown or "-"))
    return markdown_table(("head", "rows", "classes seen", "largest classes"), rows) if rows else "No labels."


def _legal_table(legal: Mapping[str, Any]) -> str:
    """Say of each head how many actions are legal in a row of train."""
    rows = [
        (f"`{head}`", f"{parts['train']['mean']:.2f}", str(parts["train"]["min"]), str(parts["train"]["max"]))
        for head, parts in legal.items()
    ]
    return markdown_table(("head", "mean legal actions", "least", "most"), rows) if rows else "No masks."


def _duplicates_table(by_unit: Mapping[str, int]) -> str:
    """Say which units had the most groups that were there already."""
    order = sorted(by_unit, key=lambda unit: (-by_unit[unit], unit))
    rows = [(f"`{unit}`", f"{by_unit[unit]:,}") for unit in order[:UNITS_SHOWN]]
    if rest := order[UNITS_SHOWN:]:
        rows.append((f"{len(rest):,} others", f"{sum(by_unit[unit] for unit in rest):,}"))
    return markdown_table(("unit", "duplicate groups dropped"), rows) if rows else "No duplicates."


def _findings_table(by_reason: Mapping[str, int]) -> str:
    """Say how often what was wrong within units."""
    rows = [(reason, f"{count:,}") for reason, count in sorted(by_reason.items())]
    return markdown_table(("found within units", "times"), rows) if rows else "Nothing was wrong within units."


def _example(columns: Sequence[CardColumn]) -> str:
    """Return the scalar arrays of the first train row."""
    return "\n".join(f"{column.name}: {column.first}" for column in columns if not column.shape)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> int:
    """Run the command."""
    return cli.each_dataset(
        "report.cards",
        "Write the data cards, data/cards/.",
        lambda params, dataset: sys.stdout.write(f"{write(dataset)}\n"),
    )


if __name__ == "__main__":
    sys.exit(main())
