"""Write data/export/<format>/<dataset>/: the command behind `make export`.

- ``parquet``: ``<part>-00000-of-00001.parquet``, for pandas, polars, DuckDB and whatever else reads Parquet;
- ``hf``: ``data/<part>-00000-of-00001.parquet`` and README.md, the folder that `datasets.load_dataset` opens.

Where windows are the rows, the folder is ``<dataset>-<window>``. It is written beside its place and put there when it
is whole. The same arrays and the same version of pyarrow give the same bytes.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import arrays
from stages.core.errors import ExpectedError
from stages.core.files import atomic_dir
from stages.core.params import load
from stages.core.part_files import PARTS
from stages.export import card
from stages.export.columns import FORMATS, ExportColumns, Exported, Format
from stages.export.shards import shards, write
from stages.look import PartRows
from stages.report import hub
from stages.runtime import cli

EXPORT_DIR = Path("data/export")
SHARD_MB = "500"
VALUES = ("standardised", "raw")


@dataclass(frozen=True)
class ExportSettings:
    """How an export is made; the attributes of `Exported`, and the most bytes of a file before they are compressed."""

    form: Format = "parquet"
    standardised: bool = True
    window: str | None = None
    shard_bytes: int = 500_000_000


def settings(form: str, values: str, window: str, shard_mb: str) -> ExportSettings:
    """Return the settings that some words mean; an empty one is the default.

    Raises
    ------
    ExpectedError
        When one means nothing.
    """
    form, values, shard_mb = form or FORMATS[0], values or VALUES[0], shard_mb or SHARD_MB
    if form not in FORMATS:
        raise ExpectedError(f"FORMAT is {form!r}, expected one of {', '.join(FORMATS)}")
    if values not in VALUES:
        raise ExpectedError(f"VALUES is {values!r}, expected one of {', '.join(VALUES)}")
    if not shard_mb.isdecimal() or not int(shard_mb):
        raise ExpectedError(f"SHARD_MB is {shard_mb!r}, expected a whole number from 1")
    return ExportSettings(form, values == VALUES[0], window or None, int(shard_mb) * 10**6)


def export(dataset: str, given: ExportSettings = ExportSettings()) -> Path:
    """Write the export of a dataset; return its folder.

    Raises
    ------
    ExpectedError
        When it has no finished arrays or no such windows.
    DamagedFile
        When a file of them is not complete.
    """
    folder = EXPORT_DIR / given.form / (f"{dataset}-{given.window}" if given.window else dataset)
    parts = [_exported(PartRows(dataset, part), given) for part in PARTS]
    with atomic_dir(folder) as temporary:
        inner = temporary / "data" if given.form == "hf" else temporary
        inner.mkdir(exist_ok=True)
        splits = [_write_part(inner, exported, given) for exported in parts]
        if given.form == "hf":
            text = card.text(dataset, parts[0].columns(), splits, given.standardised)
            (temporary / "README.md").write_text(text, encoding="utf-8")
    return folder


def _exported(part: PartRows, given: ExportSettings) -> Exported:
    if given.window is None:
        return Exported(part, given.form, given.standardised)
    if not part.data.window_starts_path(given.window, part.part).is_file():
        known = ", ".join(part.stats.get("windows", {})) or "none"
        raise ExpectedError(f"{part.data.folder}: no windows of {given.window!r}, expected one of: {known}")
    return Exported(part, given.form, given.standardised, given.window, part.data.window_rows(given.window))


def _write_part(folder: Path, exported: Exported, given: ExportSettings) -> dict[str, Any]:
    """Write the files of a part; return name, rows and bytes of it as a card says them."""
    part, columns = exported.part, exported.columns()
    first = _window_starts(exported)
    n_rows = part.n_rows if first is None else len(first)
    row_bytes = sum(column.row_bytes for column in columns)
    files = shards(part.part, n_rows, row_bytes, given.shard_bytes)
    write(folder, files, columns, first, _metadata(columns, exported))
    return {"name": part.part, "num_bytes": n_rows * row_bytes, "num_examples": n_rows}


def _window_starts(exported: Exported) -> np.ndarray | None:
    if exported.window is None:
        return None
    path = exported.part.data.window_starts_path(exported.window, exported.part.part)
    header = arrays.npy_header(path)
    if not header.shape[0]:
        return np.empty(0, np.int64)
    return np.memmap(path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.shape)


def _metadata(columns: list[ExportColumns], exported: Exported) -> dict[str, str]:
    """Return the metadata of a file: what its values are, and for Hugging Face its features."""
    said = {"dataset": exported.part.data.folder.name, "part": exported.part.part, "window": exported.window}
    said["values"] = VALUES[0] if exported.standardised else VALUES[1]
    found = {"batchwise": json.dumps(said)}
    if exported.form == "hf":
        names = [field.name for column in columns for field in column.schema]
        features = [hub.in_schema(feature) for column in columns for feature in column.features]
        found["huggingface"] = json.dumps({"info": {"features": dict(zip(names, features, strict=True))}})
    return found


def main() -> int:
    """Run the command."""
    parser = cli.parser("export", "Write parts as Parquet files, data/export/.")
    parser.add_argument("dataset", nargs="?", default="", help="datasets of params.yaml; default: all of them")
    parser.add_argument("format", nargs="?", default="", help=f"{' or '.join(FORMATS)}; default: {FORMATS[0]}")
    parser.add_argument("values", nargs="?", default="", help=f"{' or '.join(VALUES)}; default: {VALUES[0]}")
    parser.add_argument("window", nargs="?", default="", help="the feature whose windows are the rows; default: rows")
    parser.add_argument("shard_mb", nargs="?", default="", help=f"most MB of a file; default: {SHARD_MB}")
    words = parser.parse_args()

    def action() -> None:
        params, given = load(), settings(words.format, words.values, words.window, words.shard_mb)
        for dataset in words.dataset.split() or sorted(params.datasets):
            params.dataset(dataset)
            folder = export(dataset, given)
            files = [path for path in folder.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            sys.stdout.write(f"{folder}/  {len(files)} files, {size / 1e6:,.1f} MB\n")

    return cli.run(action)
