"""The memory budget is kept, measured from outside, whatever the workers; what cannot fit is an error."""

import os
import sys
from pathlib import Path

import pytest

from stages.datasets.splendor import simulate
from tests.helpers.scripts import REPOSITORY, Workspace

sys.path.insert(0, str(REPOSITORY / "tests/bench"))
import measure

GAMES = 3000  # 340 MB of arrays in one batch
BATCH = Path("data/intermediate/splendor/b.npz")


@pytest.fixture(scope="module")
def one_large_batch(tmp_path_factory):
    """A folder whose only batch is larger than the smaller budgets, and the bytes that process makes of it."""
    folder = tmp_path_factory.mktemp("large")
    simulate.write(folder / "raw", {"games": GAMES, "seed": 42})
    (folder / "params.yaml").write_text(f"datasets: {{splendor: {{raw: raw, batch_size: {GAMES}}}}}\n")
    run(folder, "discover", "4", "threading", "2")
    run(folder, "process", "4", "threading", "2")
    yield folder, (folder / BATCH).read_bytes()
    (folder / BATCH).unlink()


def run(folder, verb, budget_gb, backend, jobs):
    variables = {"MEMORY_GB": budget_gb, "BACKEND": backend, "JOBS": jobs, "PYTHONPATH": str(REPOSITORY)}
    return measure.run([sys.executable, "-m", f"stages.{verb}", "splendor"], folder, variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget_gb", "backend", "jobs"),
    [
        ("0.25", "threading", "2"),
        ("0.5", "threading", "8"),
        ("0.5", "loky", "8"),
        ("1", "threading", "8"),
        ("1", "loky", "2"),
        ("4", "loky", "8"),
    ],
)
def test_peak_of_the_tree_stays_under_the_budget(one_large_batch, budget_gb, backend, jobs):
    """The arrays alone take 340 MB, so below 0.5 GB they go through the disk."""
    folder, expected = one_large_batch
    usage = run(folder, "process", budget_gb, backend, jobs)
    print(f"MEMORY_GB={budget_gb} {backend} JOBS={jobs}: peak {usage.peak_mb:.0f} MB, {usage.cpu_s:.1f} s CPU")
    assert usage.peak_mb <= float(budget_gb) * 1024
    assert (folder / BATCH).read_bytes() == expected
    assert os.listdir((folder / BATCH).parent) == [BATCH.name]


def refused(tmp_path, scripts, **variables):
    """Run process, which must fail; return the one line that says why."""
    here = Workspace(tmp_path, scripts)
    here.discover()
    done = here.verb("process", LOG="warning", TMPDIR=str(tmp_path), **variables)
    assert done.returncode == 1
    assert here.left_overs() == here.finished() == []
    assert [path for path in tmp_path.iterdir() if path.name.startswith("batchwise")] == []
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.slow
def test_a_file_larger_than_the_budget_is_refused_by_name(tmp_path):
    huge = "# " + "x" * (300 << 20)
    line = refused(tmp_path, {"a": "rows 3", "huge": huge, "z": "rows 3"}, MEMORY_GB="0.25")
    assert line.startswith("error: raw/huge: huge needs more than its 300 MB, expected at most ")
    assert line.endswith(" of a budget of 256 MB; raise MEMORY_GB")


@pytest.mark.parametrize(
    ("backend", "jobs"), [("threading", "1"), ("threading", "4"), pytest.param("loky", "2", marks=pytest.mark.slow)]
)
def test_a_unit_that_expands_stops_the_run_and_is_named(tmp_path, backend, jobs):
    line = refused(tmp_path, {"wide": "allocate 2000"}, MEMORY_GB="0.25", BACKEND=backend, JOBS=jobs)
    assert line.startswith("error: process scripted-b with wide in work (0.0 MB raw): ")
    assert "expected at most 243 MB (95% of the budget); raise MEMORY_GB, or lower JOBS or the dataset's" in line
