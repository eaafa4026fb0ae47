"""Where the system lacks what Linux has: macOS, whose gaps are made here by taking things away, and Windows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from stages import split
from stages.core import arrays
from stages.core.params import SplitParams
from stages.runtime import cli, memory, notes, workers
from tests.helpers.places import REPOSITORY
from tests.helpers.stores import write_merged


@pytest.fixture
def elsewhere(monkeypatch):
    """Take away what macOS does not have."""
    for name in ("sched_getaffinity", "posix_fallocate"):
        monkeypatch.delattr(os, name)
    for name in ("PROCESSES", "OWN_STATM", "OWN_TASKS", "OWN_CGROUPS"):
        monkeypatch.setattr(memory, name, Path("/nowhere"))


@pytest.mark.usefixtures("elsewhere")
def test_workers_are_as_many_as_cores(monkeypatch):
    monkeypatch.delenv("JOBS", raising=False)
    assert workers.job_count() == os.cpu_count()


@pytest.mark.usefixtures("elsewhere")
def test_memory_is_the_resident_size_of_the_tree(monkeypatch):
    monkeypatch.delenv("MEMORY_GB", raising=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tree = memory._tree()
        assert {os.getpid(), child.pid} <= set(tree)
        resident = psutil.Process().memory_info().rss / 2**20
        assert memory.usage().pss_mb > 0.9 * resident
        assert memory._sum_of_resident_mb(tree) > 0.9 * resident
        child.communicate()
    assert memory.budget_mb() == pytest.approx(0.75 * psutil.virtual_memory().total / 2**20)


@pytest.mark.parametrize("shuffle", [False, True])
def test_split_writes_the_same_bytes(shuffle, here, request):
    write_merged()

    def written():
        split.split("toy", SplitParams(0.5, 0.25, 0.25, shuffle=shuffle))
        return {path.name: path.read_bytes() for path in (here / "data/processed/toy").iterdir()}

    on_linux = written()
    request.getfixturevalue("elsewhere")
    assert written() == on_linux


@pytest.mark.usefixtures("elsewhere")
def test_an_array_is_written_whole(tmp_path):
    rows = np.arange(12, dtype=np.int32).reshape(6, 2)
    with arrays.npy_sink(tmp_path / "x.npy", rows.dtype, rows.shape) as sink:
        sink.append(rows)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), rows)


@pytest.mark.usefixtures("elsewhere")
def test_a_process_tells_what_it_works_on(tmp_path):
    kept = notes.ProcessNotes()
    try:
        notes.register_in(kept.folder)
        notes.working_on("17.csv")
        assert kept.read() == {"worker 1": "17.csv"}
    finally:
        kept.close()


def test_on_windows_a_command_ends_at_once_in_one_line_that_names_wsl(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "win32")
    assert cli.run(lambda: pytest.fail("it began")) == 1
    error = capsys.readouterr().err
    assert error == "error: Windows: expected Linux or macOS; type `wsl --install`, and run this within WSL\n"


def test_the_loader_needs_no_dvc():
    script = "import sys; sys.modules['dvc'] = None; import stages.loader, stages.processed; print('ok')"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "ok\n"
