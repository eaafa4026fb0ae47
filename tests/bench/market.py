"""Measure CPU seconds from CSV files of bars to features and window starts, and compare them with plain parsing.

Run from the repository's root: ``python tests/bench/market.py``. It simulates 1,000,000 bars of 5 minutes and 56,083 of
30 minutes in a temporary folder and takes, in this one process, in turns:

- parsing: the three columns that no feature can do without, time, close and volume, by pyarrow's CSV reader;
- find: list the months with their digests (what discover does);
- read: read, check and parse the months and their halos (what process does first);
- encode: the features; of the first file tactical ones only, of the second strategic ones only, then both of each;
- starts: the first rows of all windows.

Printed are medians over the repeats. Exits with 1 if a limit is exceeded.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pyarrow import csv

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from stages.datasets.market import encode, find, simulate  # noqa: E402
from stages.datasets.market.encode import strategic, tactical  # noqa: E402
from stages.splitting import window_starts  # noqa: E402

REPEATS = 5
PARSED = ["Timestamp", "Close", "Volume"]
MAX_RATIO = 6.0  # read, encode and starts of tactical features against parsing, 1,000,000 bars
MAX_CPU_S = 0.5  # read, encode and starts of strategic features, 56,083 bars


@dataclass(frozen=True)
class Case:
    """A file of bars, how to read it, and the feature and windows that are wanted of it."""

    bars: int
    bar_minutes: int
    dialect: str
    options: dict[str, Any]
    feature: str
    window: int
    step: int


DAY_FIRST = {"instruments": {"NQ": {"time_zone": "Asia/Jerusalem", "date_order": "day_first"}}}
CASES = (
    Case(1_000_000, 5, "iso", {}, "tactical", 60, 45),
    Case(56_083, 30, "excel", DAY_FIRST, "strategic", 48, 36),
)


def cpu_s(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of all threads that a call takes, and what it returns."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def parse(path: Path) -> int:
    """Parse the needed columns with pyarrow, on one thread: threads cost CPU and save wall time only."""
    options = csv.ConvertOptions(include_columns=PARSED)
    return csv.read_csv(path, csv.ReadOptions(use_threads=False), convert_options=options).num_rows


def starts(arrays: list[dict[str, np.ndarray]], case: Case) -> np.ndarray:
    """Return the first rows of all windows over the joined chunks, as split does for a part."""
    segment, is_valid = (
        np.concatenate([chunk[name] for chunk in arrays]) for name in ("segment", f"valid_{case.feature}")
    )
    is_first = np.diff(segment, prepend=segment[0] - 1) != 0
    first, length = window_starts.runs(np.ones(len(segment), bool), is_first, is_valid.astype(bool))
    return window_starts.starts(first, length, case.window, case.step)


def without(feature: str) -> Any:
    """Leave out the columns of the other feature: `encode` computes both, a trainer of one needs one."""
    if feature == "tactical":
        return patch.object(strategic, "columns", lambda close, volume: np.zeros((len(close), len(strategic.COLUMNS))))
    n_columns = len(tactical.COLUMNS)
    zeros = {
        "raw": lambda prices, scale: np.zeros((len(prices["close"]), n_columns - 1)),
        "volume_ratio": lambda volume, *_: np.zeros(len(volume)),
        "scaled": lambda columns, ratio, close: np.zeros((len(close), n_columns)),
    }
    return patch.multiple(tactical, **zeros)


def run(folder: Path, case: Case) -> dict[str, float]:
    """Take every step once and return the CPU seconds of each."""
    spent = {"parsing": cpu_s(lambda: parse(folder / "NQ.csv"))[0]}
    spent["find"], units = cpu_s(lambda: find.find(folder, case.options))
    units = sorted(units, key=lambda unit: unit.key)
    chunks = [units[i : i + encode.CHUNK_UNITS] for i in range(0, len(units), encode.CHUNK_UNITS)]
    spent |= {"read": 0.0, "encode": 0.0, "encode both": 0.0}
    arrays = []
    for chunk in chunks:
        seconds, table = cpu_s(partial(encode.read, folder, chunk, case.options))
        spent["read"] += seconds
        with without(case.feature):
            spent["encode"] += cpu_s(partial(encode.encode, table, case.options))[0]
        seconds, result = cpu_s(partial(encode.encode, table, case.options))
        spent["encode both"] += seconds
        arrays.append(result)
    spent["starts"], first = cpu_s(lambda: starts(arrays, case))
    rows = sum(len(chunk["time"]) for chunk in arrays)
    if rows != case.bars or not len(first):
        raise SystemExit(
            f"market: {rows:,} rows and {len(first):,} windows, expected {case.bars:,} rows and some windows"
        )
    return spent


def bench(case: Case) -> dict[str, float]:
    """Return the medians over the repeats, after one run that does not count."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entry = {"bars": case.bars, "bar_minutes": case.bar_minutes, "dialect": case.dialect, "start": "2010-01-04"}
        simulate.write(folder, {"seed": 42, "instruments": {"NQ": entry}})
        runs = [run(folder, case) for _ in range(REPEATS + 1)][1:]
    return {step: statistics.median(one[step] for one in runs) for step in runs[0]}


def main() -> int:
    """Run the benchmark from the command line."""
    results = [bench(case) for case in CASES]
    totals = []
    for case, one in zip(CASES, results, strict=True):
        steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in one.items())
        made = one["encode"] + one["starts"]
        totals.append(one["read"] + made)
        print(f"{case.bars:,} bars of {case.bar_minutes} minutes, CPU s: {steps}")
        for words, total in (("encode and starts", made), ("read, encode and starts", totals[-1])):
            print(f"  {words}, {case.feature} only: {total:.3f} CPU s, {total / one['parsing']:.1f}x parsing")
    ratio = totals[0] / results[0]["parsing"]
    print(f"limits: {ratio:.1f}x of {MAX_RATIO:g}x parsing; {totals[1]:.3f} of {MAX_CPU_S:g} CPU s")
    return int(ratio > MAX_RATIO or totals[1] > MAX_CPU_S)


if __name__ == "__main__":
    sys.exit(main())
