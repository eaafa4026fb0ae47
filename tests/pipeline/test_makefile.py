"""Values typed on make's command line reach the commands as text: nothing of them is run, matched or taken apart."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.clones import make_clone
from tests.helpers.places import REPOSITORY

HOSTILE = [
    "x; touch f",
    "x$(touch f)",
    "$(shell touch f)",
    "${shell touch f}",
    "$$(touch f)",
    "`touch f`",
    "x & touch f",
    "x | touch f",
    "x > f",
    "'; touch f; '",
    '"; touch f; "',
    "x\ntouch f",
    "*",
    "~",
    "\\",
    "$HOME",
    "--help",
]
OF_DATASETS = ["preprocess", "status", "plan", "report", "verify", "work", "slim", "train", "sweep", "iterate"]
OF_ONE_VALUE = [
    ("trace", "DATASET"),
    ("trace", "PART"),
    ("trace", "ROW"),
    ("predict", "DATASET"),
    ("predict", "FILE"),
    ("dataset", "NAME"),
    ("remote", "URL"),
    ("diff", "REV"),
    ("diff", "DATASET"),
    *(("show", name) for name in ("DATASET", "PART", "ROWS", "WHERE", "SEED")),
    *(("export", name) for name in ("DATASET", "FORMAT", "VALUES", "WINDOW", "SHARD_MB")),
]
KNOBS = ["JOBS", "MEMORY_GB", "BACKEND", "DASK_SCHEDULER", "LOG", "SIMULATE", "TAKE", "REMOTE", "KILLS", "GENERATIONS"]
KNOBS += ["MODEL", "HTP", "COLOUR", "JSON"]
FOR_A_BUILD = ["psutil", "uv", "hatchling", "editables", "packaging", "pathspec", "pluggy", "trove-classifiers"]
SPY = """#!/bin/sh
printf '%s\\0' "$@" >> {folder}/arguments
env -0 >> {folder}/environment
"""


@pytest.fixture
def make(tmp_path):
    """Run make with commands that only write down how they are called; return their arguments and variables."""
    spies, folder = tmp_path / "venv", tmp_path / "here"
    (spies / "bin").mkdir(parents=True)
    folder.mkdir()
    for name in ("python", "dvc"):
        (spies / "bin" / name).write_text(SPY.format(folder=spies))
        (spies / "bin" / name).chmod(0o755)
    (spies / ".ready-all").touch()  # all packages are there
    shutil.copy(REPOSITORY / "Makefile", folder)

    def run(target, **variables):
        words = [f"{name}={value}" for name, value in variables.items()]
        command = ["make", "-o", f"{spies}/.ready", f"VENV={spies}", target, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        assert sorted(path.name for path in folder.iterdir()) == ["Makefile"], done.stdout + done.stderr
        arguments, environment = ((spies / name).read_text().split("\0") for name in ("arguments", "environment"))
        return arguments, environment

    return run


@pytest.mark.parametrize("target", OF_DATASETS)
@pytest.mark.parametrize("value", HOSTILE)
def test_datasets_are_the_words_of_a_value(make, target, value):
    arguments, _ = make(target, DATASET=value)
    assert arguments[-len(value.split()) - 2 : -1] == ["--", *value.split()]


@pytest.mark.parametrize("target", OF_DATASETS)
def test_no_dataset_one_and_several_are_passed_on(make, target):
    assert make(target)[0][-2:] == ["--", ""]
    assert make(target, DATASET="hex")[0][-3:] == ["--", "hex", ""]
    assert make(target, DATASET="hex rugs")[0][-4:] == ["--", "hex", "rugs", ""]


@pytest.mark.parametrize(("target", "name"), OF_ONE_VALUE)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_that_is_one_word_stays_one(make, target, name, value):
    arguments, _ = make(target, **{name: value})
    assert value in arguments[arguments.index("--") :]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_knob_reaches_the_environment_as_it_was_typed(make, value):
    _, environment = make("status", **dict.fromkeys(KNOBS, value))
    assert {f"{name}={value}" for name in KNOBS} <= set(environment)


@pytest.mark.parametrize("target", ["push", "pull", "merge", "work"])
def test_what_remotes_need_is_installed_where_one_is_set(tmp_path, target):
    (tmp_path / ".dvc").mkdir()
    shutil.copy(REPOSITORY / "Makefile", tmp_path)

    def told():
        command = ["make", "-n", "-o", "venv/.ready", "VENV=venv", f"HOME={tmp_path}", target]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout

    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n")
    assert "the extra remote" not in told()
    (tmp_path / ".dvc/config.local").write_text("['remote \"store\"']\n    url = ssh://host/store\n")
    assert "the extra remote" in told()


def test_every_variable_of_a_recipe_is_tested():
    """A target that takes another one is to be added above."""
    text = (REPOSITORY / "Makefile").read_text()
    recipes = "".join(line for line in text.splitlines(keepends=True) if line.startswith("\t"))
    assert set(re.findall(r"\$\$\{?([A-Z_]+)", recipes)) == {"DATASET", *(name for _, name in OF_ONE_VALUE)}
    assert set(re.findall(r"\$\((\w+)\)", recipes)) <= {
        *("VENV", "PYTHON", "MAKEFILE_LIST", "ALL", "EXTRAS", "COMMA", "INSTALL", "PIP", "WITH_PIP", "UV", "PARALLEL")
    }


def test_a_target_installs_what_it_needs_and_no_more(tmp_path):
    """Of a dry run where only the pipeline's packages are there, and where all are."""
    (tmp_path / "bin").mkdir()

    def installed(*words):
        command = ["make", "--dry-run", "-o", f"{tmp_path}/.ready", f"VENV={tmp_path}", *words]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return re.findall(r"--editable '\.\[([\w,-]+)\]'", done.stdout)

    for target in ("setup", "preprocess", "status", "plan", "verify", "trace", "slim"):
        assert installed(target) == [], target
    assert installed("report") == ["report"]
    assert installed("preprocess", "BACKEND=dask") == ["cluster"]
    assert installed("remote") == installed("verify", "REMOTE=yes") == ["remote"]
    [extras] = installed("test")
    known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    apart = {"train", "test-train", "test-readers", "peers", "export", "notebook"}
    assert set(extras.split(",")) == known.keys() - apart
    assert installed("test-slow")[:2] == [extras, "test-readers"]
    twice = ["peers", "peers"]  # with uv, and with pip where uv finds nothing
    assert installed("bench-peers") == [extras, *twice]
    (tmp_path / ".ready-all").touch()
    for target in ("report", "push", "test"):
        assert installed(target) == [], target
    assert installed("bench-peers") == twice


@pytest.mark.slow
def test_an_install_keeps_to_the_pinned_hashes_and_leaves_no_lock_file(tmp_path):
    """The environment is made with uv where the machine has it, else with a pinned one."""
    for name in ("Makefile", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "stages").mkdir()
    project = (REPOSITORY / "pyproject.toml").read_text()
    dependencies = re.search(r"^dependencies = \[.*?^\]", project, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "pyproject.toml").write_text(project.replace(dependencies, 'dependencies = ["psutil"]'))
    entries = re.findall(r"^\S.*?(?=^\S|\Z)", (REPOSITORY / ".requirements.txt").read_text(), re.MULTILINE | re.DOTALL)
    pins = {entry.partition("==")[0]: entry for entry in entries}
    pins["psutil"] = re.sub("sha256:....", "sha256:dead", pins["psutil"])
    (tmp_path / ".requirements.txt").write_text("".join(pins[name] for name in FOR_A_BUILD))
    path = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if not one.startswith(sys.prefix))
    environment = {**os.environ, "PATH": path}
    environment.pop("PYTHONPATH", None)
    command = ["make", f"{tmp_path}/.venv/.ready", f"VENV={tmp_path}/.venv", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Hash mismatch for `psutil" in done.stderr
    assert not (tmp_path / ".venv/.ready").exists()
    assert not (tmp_path / "uv.lock").exists()


@pytest.mark.slow
def test_a_hostile_value_is_one_clear_error_of_the_real_commands(tmp_path):
    clone = make_clone(tmp_path)
    venv = Path(sys.executable).parents[1]
    for target, name in [*((target, "DATASET") for target in OF_DATASETS), *OF_ONE_VALUE[:4]]:
        words = {"DATASET": "splendor", "PART": "train", "ROW": "0", name: "x; touch f"}
        typed = [f"{word}={value}" for word, value in words.items()]
        done = clone.run("make", "-o", f"{venv}/.ready", f"VENV={venv}", target, *typed, check=False)
        told = [line for line in done.stderr.splitlines() if "error: " in line]
        assert (len(told), "x;" in told[0], done.returncode) == (1, True, 2), done.stderr
        assert not (tmp_path / "f").exists()
    assert not os.path.lexists(tmp_path / "data/processed")
