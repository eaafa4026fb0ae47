"""Measure how fast the loader gives shuffled windows and rows, and what memory that takes.

Run from the repository's root: ``python tests/bench/loader.py``. It makes 1,000,000 rows of 13 columns with windows of
48 rows, a small one and one of several times the memory that may stay mapped, and rows of 1,308 columns, in a
temporary folder below data/; and boards of bits, in one folder and two that are mixed. CPU counts both threads of the
stream; a "minute on one core" is 60 s of CPU.
"""

import itertools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stages.core import arrays
from stages.loader import Settings, Share, batches
from stages.loader.mixture import Folders
from stages.runtime import memory

WINDOW, STEP = 48, 1
CASES = {"1,000,000 rows of 13 columns": (1_000_000, 13), "8,000,000 rows of 13 columns": (8_000_000, 13)}
MIN_WINDOWS_PER_MINUTE = 2_000_000


def write(folder: Path, n_rows: int, n_columns: int, is_windowed: bool) -> None:
    """Write a part with one feature field, and windows of it."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((10_000, n_columns), np.float32)
    with arrays.npy_sink(folder / "X_train.npy", rows.dtype, (n_rows, n_columns)) as sink:
        for _ in range(0, n_rows, len(rows)):
            sink.append(rows)
    if is_windowed:
        np.save(folder / "starts_X_train.npy", np.arange(0, n_rows - WINDOW + 1, STEP))
        (folder / "stats.json").write_text(json.dumps({"windows": {"X": {"window": WINDOW, "step": STEP}}}))


def write_boards(folder: Path, n_rows: int) -> None:
    """Write a part of boards of 2 x 13 x 13 bits."""
    folder.mkdir()
    np.save(folder / "X_train.npy", np.random.default_rng(1).integers(0, 256, (n_rows, 43), np.uint8))
    (folder / "packed.json").write_text('{"X": [2, 13, 13]}')


def measure(folder: Folders, settings: Settings, n_batches: int) -> tuple[float, float, float]:
    """Return samples a second of CPU and of wall time, and the greatest growth of memory in MB."""
    before, peak_mb, n_samples = memory.usage().pss_mb, 0.0, 0
    with batches(folder, "train", settings) as stream:
        cpu, wall = time.process_time(), time.perf_counter()
        for batch in itertools.islice(stream, n_batches):
            n_samples += len(batch["X"])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for _ in itertools.islice(stream, 20):
            peak_mb = max(peak_mb, memory.usage().pss_mb)
    return n_samples / cpu, n_samples / wall, peak_mb - before


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix=".loader.", suffix=".tmp", dir="data") as parent:
        for number, (name, (n_rows, n_columns)) in enumerate(CASES.items()):
            folder = Path(parent, str(number))
            write(folder, n_rows, n_columns, True)
            for size in (64, 256, 1024):
                settings = Settings(batch_size=size, shuffle_seed=1, window="X")
                per_cpu, per_wall, grown_mb = measure(folder, settings, 131_072 // size)
                print(
                    f"windows of {name}, batches of {size}: {per_cpu * 60 / 1e6:.1f} million a minute of CPU "
                    f"(at least {MIN_WINDOWS_PER_MINUTE / 1e6:.0f}), "
                    f"{per_wall * 60 / 1e6:.1f} of wall, {grown_mb:.0f} MB"
                )
        folder = Path(parent, "wide")
        write(folder, 80_000, 1308, False)
        for seed in (None, 1):
            per_cpu, per_wall, grown_mb = measure(folder, Settings(batch_size=256, shuffle_seed=seed), 200)
            order = "file order" if seed is None else "shuffled"
            print(f"rows of 1,308 columns, {order}: {per_cpu:,.0f}/s of CPU, {per_wall:,.0f}/s, {grown_mb:.0f} MB")
        folders = [Path(parent, name) for name in ("old", "new")]
        for n_rows, folder in zip((400_000, 1_600_000), folders, strict=True):
            write_boards(folder, n_rows)
        settings = Settings(batch_size=256, shuffle_seed=1, fields=("X",))
        mixed = [Share(folders[0], weight=1), Share(folders[1], weight=3)]
        cases = {
            "packed": (folders[1], True),
            "unpacked": (folders[1], False),
            "unpacked, of two folders": (mixed, False),
        }
        for name, (given, is_packed) in cases.items():
            per_cpu, per_wall, grown_mb = measure(given, replace(settings, packed=is_packed), 1000)
            print(f"boards of 338 bits, {name}: {per_cpu:,.0f}/s of CPU, {per_wall:,.0f}/s, {grown_mb:.0f} MB")


if __name__ == "__main__":
    main()
