"""What the tests share: simulated games, a workspace to run the verbs in, and small batches without a dataset."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from stages.core import arrays, manifests, paths
from stages.core.files import write_text
from stages.datasets.splendor import simulate
from tests.helpers import learning
from tests.helpers.nursery import DVC, Nursery
from tests.helpers.places import REPOSITORY, module_of
from tests.helpers.shared import made_once
from tests.helpers.stores import split_both, write_merged
from tests.helpers.verbs import FROM_RAW

KNOBS = ("JOBS", "BACKEND", "DASK_SCHEDULER", "MEMORY_GB", "LOG", "DVC_STAGE")
LONGEST = (  # files of tests, those that take longest first: begun last, they would leave other cores idle at the end
    "commands/test_sweep.py",
    "generations/test_iterate.py",
    "training/test_kills.py",
    "pipeline/test_incremental.py",
    "commands/test_verify.py",
    "pipeline/test_sharing.py",
    "commands/test_work.py",
    "pipeline/test_pythons.py",
    "pipeline/test_push.py",
    "pipeline/test_kills.py",
    "pipeline/test_group_kills.py",
    "commands/test_status_plan.py",
    "pipeline/test_pipeline.py",
    "commands/test_witness.py",
    "pipeline/test_growth.py",
    "pipeline/test_selective.py",
    "pipeline/test_dvc_in_use.py",
    "pipeline/test_store.py",
)
NEED_GPU_KEY = "need_gpu"
NEED_GPU = pytest.StashKey[int]()  # tests that were left out for want of a GPU
TOY_FIELDS = {
    "X": ("float64", (3,), "feature", ["a", "b", "c"], [True, False, True]),
    "board": ("int8", (2, 2), "feature", ["nw", "ne", "sw", "se"], None),
    "label_kind": ("int16", (), "label", ["win", "draw", "loss"], None),
    "mask_kind": ("uint8", (3,), "mask", ["win", "draw", "loss"], None),
    "step": ("int32", (), "key", None, None),
}

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a slow one fails no example
if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # as under `nohup make test &`: the processes tested would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure():
    """Keep bytecode, whatever PYTHONDONTWRITEBYTECODE says: else each process compiles its modules and tests anew.

    To collect the tests takes 3.5 s of CPU with it and 9 s without, in each process of pytest-xdist.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # these processes and those of the tests


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none, of what `-m` and the like have chosen; put the longest first."""
    items.sort(key=_place)  # stable
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    if not left_out or _has_gpu():
        return
    items[:] = [item for item in items if item not in set(left_out)]
    config.hook.pytest_deselected(items=left_out)
    config.stash[NEED_GPU] = len(left_out)
    if hasattr(config, "workeroutput"):  # of pytest-xdist, whose workers each collect all tests
        config.workeroutput[NEED_GPU_KEY] = len(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take from a process of pytest-xdist how many tests it left out."""
    n_tests = getattr(node, "workeroutput", {}).get(NEED_GPU_KEY, 0)
    node.config.stash[NEED_GPU] = max(n_tests, node.config.stash.get(NEED_GPU, 0))


def pytest_terminal_summary(terminalreporter, config):
    """Say in one line why tests were skipped, and in one how many were left out for want of a GPU."""
    if line := skip_line(report.longrepr for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line)
    if n_tests := config.stash.get(NEED_GPU, 0):
        terminalreporter.write_line(f"{n_tests} tests need a GPU that torch can use and were not run: there is none")


def _place(item):
    """Return the place of a test's file among the longest ones, behind them for all others."""
    name = item.path.relative_to(Path(__file__).parent).as_posix()
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


def skip_line(found):
    """Return the line that counts skipped tests by their reason, empty without one; `found` is what pytest keeps."""
    reasons = Counter(
        str(place[2] if isinstance(place, tuple) else place).removeprefix("Skipped: ") for place in found if place
    )
    counted = ", ".join(f"{n} since {reason}" for reason, n in sorted(reasons.items()))
    return f"skipped: {counted}" if counted else ""


def _has_gpu():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _no_knobs(monkeypatch):
    """Keep the caller's environment out of the tests."""
    for name in KNOBS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Run `python -m <module> <args>` in a folder, with environment variables given as keywords."""
    with Nursery() as process:

        def run_in(module, *args, cwd, **env):
            clean = {key: value for key, value in os.environ.items() if key not in KNOBS}
            environment = {**clean, "PYTHONPATH": str(REPOSITORY), **env}
            return process.run([module, *args], cwd or Path.cwd(), environment)

        yield run_in


@pytest.fixture(scope="session")
def run(nursery) -> Callable[..., subprocess.CompletedProcess]:
    """Run `python -m stages.<verb> <args>` in the working directory, with environment variables given as keywords."""
    return lambda verb, *args, cwd=None, **env: nursery(module_of(verb), *args, cwd=cwd, **env)


@pytest.fixture(scope="session")
def dvc(nursery) -> Callable[..., str]:
    """Run DVC's command line in the working directory to a good end; give what it prints."""

    def run_dvc(*args):
        done = nursery(DVC, *args, cwd=None, DVC_NO_ANALYTICS="1")
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_dvc


def _write_params(folder, batch_size=16, raw="raw", split="", **settings):
    entry = json.dumps({"raw": raw, "batch_size": batch_size, **settings})
    toy = json.dumps({"raw": "raw"})
    text = f"datasets:\n  splendor: {entry}\n  toy: {toy}\nsplit: {{{split}}}\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def write_params() -> Callable[..., None]:
    """Write params.yaml into a folder: settings of splendor as keywords, `split` as the inside of a YAML flow dict."""
    return _write_params


@pytest.fixture(scope="session")
def games(tmp_path_factory) -> Path:
    """Folder with 60 simulated Splendor games; not to be changed."""
    return made_once(tmp_path_factory, "games", lambda folder: simulate.write(folder, {"games": 60, "seed": 7}))


@pytest.fixture(scope="session")
def finished(games, run, tmp_path_factory) -> Path:
    """Folder in which all verbs have run over the 60 games; not to be changed."""

    def make(folder):
        shutil.copytree(games, folder / "raw")
        _write_params(folder)
        for verb in FROM_RAW:
            result = run(verb, "splendor", cwd=folder)
            assert result.returncode == 0, result.stderr

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def arrays_of(run, tmp_path_factory) -> Callable[..., Path]:
    """Give data/processed/<dataset> of a small simulated sample, or of a named one; not to be changed."""

    def made(dataset, name=None):
        def make(folder):
            learning.make_arrays(dataset, folder, run, learning.SAMPLES[name or dataset])

        return learning.processed(made_once(tmp_path_factory, f"arrays_{name or dataset}", make), dataset)

    return made


@pytest.fixture(scope="session")
def stores(tmp_path_factory) -> dict[str, Path]:
    """Give the folder of a small dataset's parts for each way to store features; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("stores"))
        write_merged()
        return split_both()


@pytest.fixture
def store_folders(stores, here) -> dict[str, Path]:
    """Give copies of them, in a working directory that has the merged arrays as well."""
    shutil.copytree(stores["stored"].parents[1], here, dirs_exist_ok=True)
    return {store: here / store / "toy" for store in stores}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch work on one thread, which is faster for small batches beside other processes, and seed it."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Give an empty folder as working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workspace(here, games) -> Path:
    """Give a working directory with params.yaml and, in raw/, the 60 games."""
    shutil.copytree(games, here / "raw")
    _write_params(here)
    return here


@pytest.fixture
def processed(here, finished) -> Path:
    """Give a working directory in which discover and process have run."""
    for name in ("raw", "data/manifests", "data/intermediate"):
        shutil.copytree(finished / name, here / name)
    shutil.copy(finished / "params.yaml", here)
    return here


@pytest.fixture
def merged(processed, finished) -> Path:
    """Give a working directory in which discover, process and merge have run."""
    for name in ("data/merged", "data/reports"):
        shutil.copytree(finished / name, processed / name)
    return processed


def _snapshot(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Give the bytes of every file below a folder, by relative path."""
    return _snapshot


def _toy_rows(group, n_rows, shape, dtype, role):
    """Make the rows of a group, a function of the group alone."""
    rng = np.random.default_rng(group)
    if role == "label":
        return rng.integers(-1, 3, n_rows).astype(dtype)
    if role == "mask":
        return rng.integers(0, 2, (n_rows, *shape)).astype(dtype)
    if role == "key":
        return np.arange(n_rows, dtype=dtype)
    if np.dtype(dtype).kind == "f":
        return rng.normal(5, 3, (n_rows, *shape))
    return rng.integers(-128, 128, (n_rows, *shape)).astype(dtype)


def _write_toy(batches, bad=None):
    for batch, batch_units in batches.items():
        groups = [(i, group, n) for i, groups in enumerate(batch_units.values()) for group, n in groups]
        members = {
            name: [np.empty((0, *shape), dtype), *(_toy_rows(g, n, shape, dtype, role) for _, g, n in groups)]
            for name, (dtype, shape, role, _, _) in TOY_FIELDS.items()
        }
        members["group_id"] = [np.array([group for _, group, _ in groups], np.uint64)]
        members["group_offsets"] = [np.cumsum([0, *(n for _, _, n in groups)], dtype=np.int64)]
        members["source"] = [np.array([i for i, _, _ in groups], np.int32)]
        fields = [
            {"name": n, "dtype": d, "shape": s, "role": r, "doc": n, "names": names, "normalise": normalise}
            for n, (d, s, r, names, normalise) in sorted(TOY_FIELDS.items())
        ]
        meta = {"batch": batch, "dataset": "toy", "units": list(batch_units), "bad_units": (bad or {}).get(batch, [])}
        meta["findings"] = []
        members["meta"] = [np.frombuffer(json.dumps({**meta, "fields": fields}).encode(), np.uint8)]
        arrays.save_npz(paths.intermediate("toy", batch), members)
    write_text(paths.batch_list("toy"), manifests.batch_list_text("toy", batches))


@pytest.fixture
def write_toy(here) -> Callable[..., None]:
    """Write the NPZ of toy batches, given as {batch: {unit: [(group id, rows), ...]}}, and their list."""
    _write_params(here)
    return _write_toy


@pytest.fixture(scope="session")
def toy_rows() -> Callable[[str, int, int], np.ndarray]:
    """Give the rows of a toy field for a group id and a number of rows."""
    return lambda name, group, n: _toy_rows(group, n, TOY_FIELDS[name][1], TOY_FIELDS[name][0], TOY_FIELDS[name][2])
