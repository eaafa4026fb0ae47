"""What the tests of the loader share: a part whose rows say which they are, and trainers."""

import json
import subprocess
import sys
import textwrap
import threading

import numpy as np

from stages.core import arrays
from stages.loader import Settings
from tests.helpers.places import REPOSITORY

N_ROWS, WINDOW, AHEAD = 1000, 7, 2


def write_part(folder, n_rows=N_ROWS, part="train", starts=None):
    """Write a part whose arrays all say which row they are: X int, heads, keys; windows of X begin at `starts`."""
    row = np.arange(n_rows)
    folder.mkdir(exist_ok=True, parents=True)
    np.save(folder / f"X_{part}.npy", (row[:, None] + np.array([0.0, 0.5])).astype(np.float32))
    arrays.save_npz(folder / f"labels_{part}.npz", {"kind": [(row % 3).astype(np.int16)]})
    arrays.save_npz(folder / f"masks_{part}.npz", {"kind": [(row[:, None] % [2, 3] == 0).astype(np.uint8)]})
    keys = {"row_in_unit": [row.astype(np.int64)], "units": [np.array(["u"] * n_rows)]}
    arrays.save_npz(folder / f"keys_{part}.npz", {"name": [row.astype("S16")], **keys})
    if starts is not None:
        np.save(folder / f"starts_X_{part}.npy", np.asarray(starts, np.int64))
        (folder / "stats.json").write_text(
            json.dumps({"windows": {"X": {"window": WINDOW, "step": 3, "ahead": AHEAD}}})
        )
    return folder


def rows_of(stream):
    """Return the first row of each batch's samples, as arrays or tensors."""
    firsts = (np.asarray(batch["X"])[(slice(None), *[0] * (batch["X"].ndim - 1))] for batch in stream)
    return [first.astype(int).tolist() for first in firsts]


def flat(lists):
    return [item for items in lists for item in items]


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name == "loader"]


def resumable(tmp_path, **settings):
    base = {"batch_size": 10, "shuffle_seed": 5, "checkpoint_dir": tmp_path / "checkpoints", "checkpoint_frequency": 1}
    return Settings(**{**base, **settings})


SCRIPT = """
    import json, os, signal, sys, time
    from pathlib import Path
    from stages.loader import Settings, batches
    folder, checkpoints = sys.argv[1:3]
    settings = Settings(batch_size=37, shuffle_seed=5, epochs=2, checkpoint_dir=Path(checkpoints),
                        checkpoint_frequency=3, window="X")
    def run(stop=None, kill=None):
        seen = []
        with batches(folder, "train", settings) as stream:
            for n, batch in enumerate(stream):
                seen.append(batch["X"][:, 0, 0].astype(int).tolist())
                if n == kill:
                    os.kill(os.getpid(), signal.SIGKILL)
        return seen
"""


def run_script(code, *args, **options):
    text = textwrap.dedent(SCRIPT) + textwrap.dedent(code)
    command = [sys.executable, "-c", text, *map(str, args)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, **options)
