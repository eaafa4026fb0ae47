"""Write a part to Parquet files of at most so many bytes, a row group in memory at a time.

How rows fall on files and row groups follows from their number and size in memory, so that the same arrays give the
same bytes. Compressed, files are smaller than what they are allowed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.export.columns import ExportColumns

GROUP_BYTES = 16 << 20  # of a row group in memory; of 1,308 columns smaller ones make footers of tens of MB


@dataclass(frozen=True)
class Shard:
    """One file of a part: its name, and its rows from `start` to `stop`."""

    name: str
    start: int
    stop: int


def shards(part: str, n_rows: int, row_bytes: int, most_bytes: int) -> list[Shard]:
    """Return the files of a part, of about equal numbers of rows; one file where there is no row.

    Examples
    --------
    >>> [(shard.name, shard.start, shard.stop) for shard in shards("val", 10, 100, 500)]
    [('val-00000-of-00002.parquet', 0, 5), ('val-00001-of-00002.parquet', 5, 10)]
    """
    count = max(1, min(n_rows, math.ceil(n_rows * row_bytes / most_bytes)))
    borders = [n_rows * i // count for i in range(count + 1)]
    names = [f"{part}-{i:05}-of-{count:05}.parquet" for i in range(count)]
    return [Shard(*one) for one in zip(names, borders[:-1], borders[1:], strict=True)]


def write(
    folder: Path, files: Sequence[Shard], columns: Sequence[ExportColumns], first: np.ndarray | None, metadata: Any
) -> None:
    """Write the files of a part.

    Parameters
    ----------
    folder, files
        Where, and which.
    columns
        Of all fields.
    first
        Where windows are the rows, int64 (n,): the first row of each; else None.
    metadata
        Of the schema: text by text.
    """
    schema = pa.schema([field for column in columns for field in column.schema], metadata=metadata)
    step = max(1, GROUP_BYTES // max(1, sum(column.row_bytes for column in columns)))
    for file in files:
        with pq.ParquetWriter(folder / file.name, schema, compression="zstd") as writer:
            for rows in _groups(file, step, first):
                arrays = [array for column in columns for array in column.arrays(rows)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=step)


def _groups(file: Shard, step: int, first: np.ndarray | None) -> Iterator[slice | np.ndarray]:
    for start in range(file.start, file.stop, step):
        span = slice(start, min(start + step, file.stop))
        yield span if first is None else np.array(first[span], np.int64)
