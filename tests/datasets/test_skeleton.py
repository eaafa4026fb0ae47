"""Beginning a dataset: what is written and refused, and that the example runs, is tested and reads what it says."""

import shutil

import numpy as np
import pytest
import yaml

from stages.core import paths
from stages.core.errors import BadUnit, ExpectedError
from stages.datasets import __main__ as command
from stages.datasets.skeleton import encode
from stages.datasets.skeleton.find import find
from tests.helpers.clones import make_clone
from tests.helpers.places import REPOSITORY, SHIPPED

HEADER = "temperature,humidity,alarm\n"
CONCERNED = (  # tests that look at every dataset there is
    *("test_documents", "datasets/test_contract", "datasets/test_skeleton"),
    *("pipeline/test_dvc_yaml", "report/test_cards"),
)
PARAMS = """\
# Settings.
datasets:
  hex:  # a game
    raw: data/sample/hex
    # not indented less than its entry
    options: {a: "1"}

# How rows are split.
split:
  seed: 42
"""


@pytest.fixture
def repository(here):
    """Give a folder with the two files that are added to."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(REPOSITORY / name, here)
    return here


def entry(name):
    return {"raw": f"data/{name}", "batch_size": 500, "limit": None, "max_bad_units": 0, "options": {}, "split": {}}


def test_params_keep_comments_and_order():
    """The entry comes behind the others, and before the comment of the next section."""
    text = command.add_entry(PARAMS, "bees")
    before, after = PARAMS[: PARAMS.index("\n# How")], PARAMS[PARAMS.index("\n# How") :]
    assert text.startswith(before)
    assert text.endswith(after)
    assert yaml.safe_load(text)["datasets"] == yaml.safe_load(PARAMS)["datasets"] | {"bees": entry("bees")}


@pytest.mark.parametrize("name", ["ants", "owls", "zebras"])
def test_the_line_in_dvc_yaml_is_in_order(repository, name):
    text = (repository / "dvc.yaml").read_text()
    line = f"  - data/manifests/{name}/batches.yaml\n"
    found = command.add_batch_list(text, paths.batch_list(name))
    assert found.replace(line, "") == text
    assert yaml.safe_load(found)["vars"] == sorted([*yaml.safe_load(text)["vars"], line[4:-1]])


def test_what_is_written(repository, snapshot):
    """The package, the empty list, an entry and a line; no other file."""
    before = snapshot(repository)
    command.new("bees")
    after = snapshot(repository)
    package = {str(path.relative_to(command.SKELETON)) for path in command.SKELETON.rglob("*.py")}
    written = {f"stages/datasets/bees/{name}" for name in package} | {"data/manifests/bees/batches.yaml"}
    assert set(after) - set(before) == written
    assert yaml.safe_load(after["data/manifests/bees/batches.yaml"]) == {"batches": {}}
    assert not any(b"skeleton" in after[name] for name in written)
    added = yaml.safe_load(after["params.yaml"])["datasets"]
    assert added == yaml.safe_load(before["params.yaml"])["datasets"] | {"bees": entry("bees")}


def test_imports_are_in_order_for_any_name():
    text = "import os\n\nfrom stages.datasets.base import Unit\nfrom stages.datasets.skeleton.schema import FEATURES\n"
    lines = command.fill(text, "ants").splitlines()
    assert lines[2:] == ["from stages.datasets.ants.schema import FEATURES", "from stages.datasets.base import Unit"]


@pytest.mark.parametrize("name", ["Bees", "2bees", "bees-2", "", "../bees", "class", "bées", "bees\n"])
def test_a_name_that_no_package_can_have_is_refused(repository, snapshot, name):
    before = snapshot(repository)
    with pytest.raises(ExpectedError, match="expected small letters, digits and _"):
        command.new(name)
    assert snapshot(repository) == before


@pytest.mark.parametrize("name", ["hex", "bees", "sample"])
def test_a_name_that_is_taken_is_refused(repository, snapshot, name):
    """An entry, a package or a folder of data/ has it."""
    (repository / "stages/datasets/bees").mkdir(parents=True)
    before = snapshot(repository)
    with pytest.raises(ExpectedError, match=r"exists; choose another name"):
        command.new(name)
    assert snapshot(repository) == before


@pytest.mark.parametrize(
    ("file", "text"), [("params.yaml", "datasets: {}\n"), ("dvc.yaml", "vars: []\n"), ("params.yaml", None)]
)
def test_a_file_in_another_form_is_left_as_it_is(repository, snapshot, file, text):
    if text is None:
        (repository / file).unlink()
    else:
        (repository / file).write_text(text)
    before = snapshot(repository)
    with pytest.raises(ExpectedError, match=rf"{file}: (no section of indented lines|not found)"):
        command.new("bees")
    assert snapshot(repository) == before


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return find(folder, {})


def test_the_example_reads_what_it_says(tmp_path):
    """Two files, worked out by hand."""
    units = write(tmp_path, a=f"{HEADER}21.5,0.4,0\n-3,1e2,1\n", b=f"{HEADER}7,8,1")
    found = encode.encode(encode.read(tmp_path, units, {}), {})
    assert found["X"].tolist() == np.array([[21.5, 0.4], [-3, 100], [7, 8]], np.float32).tolist()
    assert found["label_alarm"].tolist() == [0, 1, 1]
    assert found["row_in_file"].tolist() == [0, 1, 0]
    assert found["group_offsets"].tolist() == [0, 2, 3]
    assert encode.line(1) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"a\.csv:1: '', expected 'temperature,humidity,alarm'"),
        ("humidity,alarm\n", r"a\.csv:1: 'humidity,alarm', expected"),
        (HEADER, r"a\.csv:2: no rows after the header"),
        (f"{HEADER}1,2,0\n1,2\n", r"a\.csv:3: 2 columns, expected 3"),
        (f"{HEADER}1,x,0\n", r"a\.csv:2: humidity is 'x', expected a number"),
        (f"{HEADER}1,nan,0\n", r"a\.csv:2: humidity is 'nan', expected a number"),
        (f"{HEADER}1,2,3\n", r"a\.csv:2: alarm is '3', expected 0 or 1"),
    ],
)
def test_the_example_names_file_and_line(tmp_path, text, reason):
    units = write(tmp_path, a=text)
    with pytest.raises(BadUnit, match=reason):
        encode.read(tmp_path, units, {})


def test_the_example_skips_no_file_in_silence(tmp_path, caplog):
    (tmp_path / "notes.txt").write_text("x")
    (unit,) = write(tmp_path, a=f"{HEADER}1,2,0\n")
    assert unit.key == "a.csv"
    assert "1 file is not read: notes.txt; expected names like 1.csv" in caplog.text


@pytest.mark.slow
def test_a_new_dataset_runs_and_passes_the_tests_at_once(tmp_path):
    """In a clone: begun, filled, run, traced, verified, reported, streamed; tests and linters have nothing to say."""
    clone = make_clone(tmp_path, None)
    python = ("python", "-m")
    clone.run(*python, "stages.datasets", "new", "sensors")
    folder = tmp_path / "data/sensors"
    for i in range(40):
        (folder / f"{i % 3}").mkdir(parents=True, exist_ok=True)
        rows = "".join(f"{i + row / 10},{row},{row % 7 == 0:d}\n" for row in range(50))
        (folder / f"{i % 3}/{i}.csv").write_text(HEADER + rows)
    printed = clone.run(*python, "stages.commands.preprocess", "sensors").stdout
    assert " 40 " in next(line for line in printed.splitlines() if line.startswith("sensors"))
    assert clone.run("dvc", "status", "split@sensors").returncode == 0
    assert "data/sensors/" in clone.run(*python, "stages.commands.trace", "sensors", "train", "5").stdout
    assert "every file is as written" in clone.run(*python, "stages.commands.verify", "sensors").stdout
    clone.run(*python, "stages.commands.status", "sensors")
    clone.run(*python, "stages.commands.plan", "sensors")
    clone.run(*python, "stages.report", "sensors")
    assert "## How to load" in (tmp_path / "data/cards/sensors.md").read_text()
    stream = "from stages.loader import batches\nprint(next(batches('data/processed/sensors', 'train'))['X'].shape)"
    assert clone.run("python", "-c", stream).stdout == "(64, 2)\n"
    clone.run("git", "add", "-A")
    clone.run("ruff", "check", ".")
    clone.run("ruff", "format", "--check", ".")
    if (REPOSITORY / ".mypy_cache").is_dir():
        shutil.copytree(REPOSITORY / ".mypy_cache", tmp_path / ".mypy_cache")  # what has the same content is not read
    clone.run("mypy")
    same = "python_block", *SHIPPED  # what is of other datasets, and the blocks of code, are the same as here
    chosen = ("-m", "not slow and not train", "-k", f"sensors or not ({' or '.join(same)})")
    clone.run(*python, "pytest", "-q", *chosen, *(f"tests/{name}.py" for name in CONCERNED))
