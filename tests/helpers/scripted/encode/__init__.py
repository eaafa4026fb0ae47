"""Read a script and do what it says, a command a line: `rows 5`, `sleep 30`, `sort 30` and so on, see `COMMANDS`."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from stages.datasets.base import BadUnit, Field, group_id
from stages.datasets.base.raw import read_unit

FIELDS = {"X": Field("float32", (250,), "feature", "noise", names=tuple(f"x{i}" for i in range(250)))}
CHUNK_UNITS = 4


def sort(seconds):
    """Be within NumPy's C code for a while."""
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        np.sort(np.arange(3_000_000)[::-1] % 1_000_003)


def allocate(megabytes):
    """Use that much memory, bit by bit, and hold it for a second."""
    blocks = []
    for _ in range(int(megabytes)):
        blocks.append(np.ones(1 << 20, np.uint8))
        time.sleep(0.001)
    time.sleep(1)


def bad(reason):
    """Find the unit not well-formed."""
    raise BadUnit(reason)


def fail(reason):
    """Have a defect."""
    raise RuntimeError(reason)


def kill(_):
    """Kill the own process."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path):
    """Be busy until a file exists, two minutes at most."""
    end = time.monotonic() + 120
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.01)


COMMANDS = {
    "rows": int,
    "sleep": lambda seconds: time.sleep(float(seconds)),
    "sort": sort,
    "allocate": allocate,
    "bad": bad,
    "fail": fail,
    "kill": kill,
    "wait_for": wait_for,
    "#": str,
}


def read(raw_dir, units, options):
    """Run the scripts; return the name and the number of rows of each."""
    table = []
    for unit in units:
        n_rows = 1
        for line in read_unit(raw_dir, unit).decode().splitlines():
            command, _, value = line.partition(" ")
            result = COMMANDS[command](value)
            n_rows = result if command == "rows" else n_rows
        table.append((unit.key, n_rows))
    return table


def encode(table, options):
    """Return noise that depends on the name alone."""
    pieces = [np.random.default_rng(group_id(key)).normal(size=(n, 250)).astype(np.float32) for key, n in table]
    return {
        "X": np.concatenate(pieces),
        "group_id": np.array([group_id(key) for key, _ in table], np.uint64),
        "group_offsets": np.cumsum([0, *(n for _, n in table)], dtype=np.int64),
        "source": np.arange(len(table), dtype=np.int32),
    }


def line(row):
    """Return the only line."""
    return 1
