"""pandas: ``python tests/bench/peer_pandas.py RAW OUT``.

Types are not given: a file of 75 lines takes three times the CPU with a type for each of 403 columns, and as much with
``engine="pyarrow"``.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import peer_columns
from peer_columns import MOVE, STATE, Games

from stages.datasets.splendor import schema


def read(raw_dir: Path) -> Games:
    """Return all games."""
    table = pd.concat(map(pd.read_csv, peer_columns.raw_files(raw_dir)), ignore_index=True)
    actions = pd.Categorical(table["action_type"], categories=schema.ACTION_TYPES).codes
    state = np.ascontiguousarray(table[list(STATE)].fillna(0).to_numpy(np.int8))
    return Games(table["game_id"].to_numpy(np.int32), state, table[list(MOVE)].fillna(-1).to_numpy(np.int8), actions)


if __name__ == "__main__":
    peer_columns.run_in_memory(read, Path(sys.argv[1]), Path(sys.argv[2]))
