"""DuckDB, in SQL: ``python tests/bench/peer_duckdb.py RAW OUT``.

One query over all files with given types, which fills what is empty and names the action; it gives NumPy's columns.
A file costs it some 15 ms of CPU, whatever the buffer or the number of threads.
"""

import sys
from pathlib import Path

import duckdb
import numpy as np
import peer_columns
from peer_columns import MOVE, NAMES, NOTHING, STATE, Games

from stages.datasets.splendor import schema

TYPES = dict.fromkeys(NAMES, "TINYINT") | {"game_id": "INTEGER", "action_type": "VARCHAR"}


def query(raw_dir: Path) -> str:
    """Return the SQL that reads all games."""
    state = ", ".join(f"coalesce({name}, 0)::TINYINT AS {name}" for name in STATE)
    moves = ", ".join(f"coalesce({name}, -1)::TINYINT AS {name}" for name in MOVE)
    action = f"(list_position({list(schema.ACTION_TYPES)}, action_type) - 1)::TINYINT AS action_type"
    options = f"columns = {TYPES}, auto_detect = false, header = true, delim = ',', nullstr = {list(NOTHING)}"
    return f"SELECT game_id, {state}, {moves}, {action} FROM read_csv('{raw_dir}/*_games/*.csv', {options})"


def read(raw_dir: Path) -> Games:
    """Return all games."""
    columns = duckdb.sql(query(raw_dir)).fetchnumpy()
    state, moves = (np.stack([columns[name] for name in names], axis=1) for names in (STATE, MOVE))
    return Games(columns["game_id"], state, moves, columns["action_type"])


if __name__ == "__main__":
    peer_columns.run_in_memory(read, Path(sys.argv[1]), Path(sys.argv[2]))
