"""Measure what a shuffled split takes: ``python tests/bench/shuffle.py [millions of rows]``.

20 million packed boards with two labels and four keys, 1.1 GB, in 330,000 games, split under MEMORY_GB=1 in merged
order and shuffled; exits with 1 when a run used more than its budget or lost a row. Takes about two minutes and 4 GB of
disk.
"""

import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import measure
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BUDGET_GB = "1"
CHUNK_ROWS = 1 << 20
GAMES_PER_UNIT = 500
CELLS = [f"{letter}{row}" for row in range(1, 14) for letter in "abcdefghijklm"]
FIELDS = [
    {"name": "board", "dtype": "uint8", "shape": [43], "role": "feature", "bits": [2, 13, 13], "high": 256},
    {"name": "label_policy", "dtype": "int16", "shape": [], "role": "label", "names": CELLS, "high": 169},
    {"name": "label_value", "dtype": "uint8", "shape": [], "role": "label", "names": ["blue", "red"], "high": 2},
    {"name": "line", "dtype": "int32", "shape": [], "role": "key", "high": 500},
    {"name": "player_to_move", "dtype": "uint8", "shape": [], "role": "feature", "high": 2},
    {"name": "tier", "dtype": "uint8", "shape": [], "role": "key", "high": 4},
]


def write_merged(folder: Path, n_rows: int) -> None:
    """Write what merge would, a chunk at a time."""
    from stages.core import arrays, fields

    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    entries = []
    for field in FIELDS:
        shape = (n_rows, *field["shape"])
        with arrays.npy_sink(folder / f"{field['name']}.npy", np.dtype(field["dtype"]), shape) as sink:
            for start in range(0, n_rows, CHUNK_ROWS):
                size = (min(CHUNK_ROWS, n_rows - start), *field["shape"])
                sink.append(rng.integers(0, field["high"], size, field["dtype"]))
        entries.append({"doc": "", **field, "crc": f"{sink.crc:08x}"})
    (folder / "fields.json").write_text(fields.fields_text(fields.from_json(entries)), encoding="utf-8")
    offsets = np.append(np.unique(rng.integers(1, n_rows, n_rows // 60)), n_rows)
    source = np.arange(len(offsets), dtype=np.int32) // GAMES_PER_UNIT
    starts = np.append(0, offsets[:-1])
    columns = {
        "group_id": rng.permutation(np.arange(len(offsets), dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15),
        "group_offsets": np.append(0, offsets),
        "row_in_unit": starts - starts[source * GAMES_PER_UNIT],
        "source": source,
        "units": np.array([f"selfplay.trmph:{unit * GAMES_PER_UNIT + 1:09d}" for unit in range(source[-1] + 1)]),
    }
    arrays.save_npz(folder / "groups.npz", {name: [column] for name, column in columns.items()})


def write_inputs(folder: Path, n_rows: int) -> None:
    """Write the merged arrays and merge's report."""
    from stages.core.merge_report import report_text

    write_merged(folder / "data/merged/boards", n_rows)
    report = {"duplicates": {"groups": 0, "rows": 0}, "bad_units": {"count": 0}, "units": 1, "batches": 1}
    by_batch = {"by_batch": {"b": {"units": 1, "groups": 1, "rows": n_rows}}}
    (folder / "data/reports").mkdir()
    (folder / "data/reports/boards.json").write_text(report_text(report | by_batch), encoding="utf-8")


def split(folder: Path, is_shuffled: bool) -> tuple[measure.Usage, float]:
    """Return what split used, and the most disk space in MB that was gone meanwhile, whoever took it."""
    shutil.rmtree(folder / "data/processed", ignore_errors=True)
    entry = {"raw": "raw", "split": {"shuffle": is_shuffled}}
    (folder / "params.yaml").write_text(json.dumps({"datasets": {"boards": entry}}), encoding="utf-8")
    knobs = {"MEMORY_GB": BUDGET_GB, "LOG": "warning", "PYTHONPATH": str(ROOT)}
    free, stop = [shutil.disk_usage(folder).free], threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            free.append(shutil.disk_usage(folder).free)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        usage = measure.run([sys.executable, "-m", "stages.split", "boards"], folder, knobs)
    finally:
        stop.set()
        thread.join()
    return usage, (free[0] - min(free)) / 1e6


def main() -> int:
    """Run the benchmark."""
    sys.path.insert(0, str(ROOT))
    n_rows, is_wrong = int(float(sys.argv[1] if len(sys.argv) > 1 else 20) * 1e6), False
    with tempfile.TemporaryDirectory(dir=ROOT / "data", prefix=".bench.", suffix=".tmp") as name:
        folder = Path(name)
        write_inputs(folder, n_rows)
        n_bytes = sum(path.stat().st_size for path in (folder / "data/merged/boards").iterdir())
        print(f"{n_rows:,} rows, {n_bytes / 1e6:,.0f} MB merged, MEMORY_GB={BUDGET_GB}", flush=True)
        for is_shuffled in (False, True):
            usage, disk_mb = split(folder, is_shuffled)
            stats = json.loads((folder / "data/processed/boards/stats.json").read_text(encoding="utf-8"))
            is_wrong |= usage.peak_mb > 1024 * float(BUDGET_GB) or sum(stats["rows"].values()) != n_rows
            what = "shuffled" if is_shuffled else "merged order"
            times = f"{usage.wall_s:.1f} s, CPU {usage.cpu_s:.1f} s"
            print(f"{what}: {times}, peak {usage.peak_mb:.0f} MB, disk {disk_mb:,.0f} MB", flush=True)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
