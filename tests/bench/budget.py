"""Measure from outside how much memory process takes of each budget: ``python tests/bench/budget.py``.

One batch of 4,000 simulated games, 450 MB of arrays, for each budget, backend and number of workers; exits with 1 when
a process tree used more than its budget or the arrays differ. Takes about two minutes.
"""

import hashlib
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import measure

ROOT = Path(__file__).resolve().parents[2]
GAMES = 4_000
BUDGETS_GB = ("0.25", "0.5", "1", "4")
BACKENDS = ("threading", "loky")
JOBS = ("2", "8")
TOO_LITTLE = {("0.25", "loky")}  # processes of 60 MB each


def run(folder: Path, budget_gb: str, backend: str, jobs: str) -> tuple[float, str]:
    """Return the greatest PSS in MB of the process tree, and the digest of the arrays."""
    knobs = {"MEMORY_GB": budget_gb, "BACKEND": backend, "JOBS": jobs, "LOG": "warning", "PYTHONPATH": str(ROOT)}
    usage = measure.run([sys.executable, "-m", "stages.process", "splendor"], folder, knobs)
    with (folder / "data/intermediate/splendor/b.npz").open("rb") as file:
        return usage.peak_mb, hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Run the benchmark."""
    sys.path.insert(0, str(ROOT))
    from stages.datasets.splendor import simulate

    with tempfile.TemporaryDirectory(dir=ROOT / "data", prefix=".bench.", suffix=".tmp") as name:
        folder = Path(name)
        simulate.write(folder / "raw", {"games": GAMES, "seed": 42})
        entry = {"raw": "raw", "batch_size": GAMES}
        (folder / "params.yaml").write_text(json.dumps({"datasets": {"splendor": entry}}), encoding="utf-8")
        measure.run([sys.executable, "-m", "stages.discover", "splendor"], folder, {"PYTHONPATH": str(ROOT)})
        digests, is_over = set(), False
        for budget_gb, backend, jobs in product(BUDGETS_GB, BACKENDS, JOBS):
            if (budget_gb, backend) in TOO_LITTLE:
                continue
            peak_mb, digest = run(folder, budget_gb, backend, jobs)
            digests.add(digest)
            is_over |= peak_mb > 1024 * float(budget_gb)
            print(f"MEMORY_GB={budget_gb} BACKEND={backend} JOBS={jobs}: {peak_mb:.0f} MB", flush=True)
    print("the same arrays" if len(digests) == 1 else f"{len(digests)} different arrays, expected the same")
    return int(is_over or len(digests) != 1)


if __name__ == "__main__":
    sys.exit(main())
