"""pyarrow, a file at a time or all at once: ``python tests/bench/peer_pyarrow.py RAW OUT [joined]``.

Types are given, and a file is parsed by one thread: more threads take 1.4 times the CPU for files of 75 lines, and a
dataset over all files 1.8 times. ``joined`` parses the lines of all files as one text, which spares what each file
costs; it takes for granted that all headers are alike and that each file ends with a newline.
"""

import io
import sys
from pathlib import Path

import numpy as np
import peer_columns
import pyarrow as pa
import pyarrow.compute as pc
from peer_columns import MOVE, NAMES, NOTHING, STATE, Games
from pyarrow import csv

from stages.datasets.splendor import schema

TYPES = dict.fromkeys(NAMES, pa.int8()) | {"game_id": pa.int32(), "action_type": pa.string()}
CONVERT = csv.ConvertOptions(column_types=TYPES, null_values=list(NOTHING), strings_can_be_null=True)
ONE_THREAD = csv.ReadOptions(use_threads=False)


def read_each(raw_dir: Path) -> pa.Table:
    """Read one file after the other."""
    files = peer_columns.raw_files(raw_dir)
    return pa.concat_tables([csv.read_csv(file, ONE_THREAD, convert_options=CONVERT) for file in files])


def read_joined(raw_dir: Path) -> pa.Table:
    """Read all lines as one text."""
    texts = [file.read_bytes() for file in peer_columns.raw_files(raw_dir)]
    header, newline, _ = texts[0].partition(b"\n")
    lines = [text[text.index(b"\n") + 1 :] for text in texts]
    return csv.read_csv(io.BytesIO(header + newline + b"".join(lines)), convert_options=CONVERT)


def matrix(table: pa.Table, names: tuple[str, ...], fill: int) -> np.ndarray:
    """Return columns side by side, int8 (N, len(names)), with a number where one is empty."""
    result = np.empty((table.num_rows, len(names)), np.int8)
    for index, name in enumerate(names):
        result[:, index] = table[name].fill_null(fill).to_numpy()
    return result


def games(table: pa.Table) -> Games:
    """Return the games of a table."""
    actions = pc.index_in(table["action_type"], pa.array(schema.ACTION_TYPES)).to_numpy().astype(np.int8)
    return Games(table["game_id"].to_numpy(), matrix(table, STATE, 0), matrix(table, MOVE, -1), actions)


if __name__ == "__main__":
    read = read_joined if sys.argv[3:] == ["joined"] else read_each
    peer_columns.run_in_memory(lambda raw_dir: games(read(raw_dir)), Path(sys.argv[1]), Path(sys.argv[2]))
