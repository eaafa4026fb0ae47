"""dvc.yaml lists, for each stage, exactly the modules under stages/ that its command imports."""

import ast
import importlib.util
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
DATASETS = sorted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())["datasets"])
# The room of a dataset's package that a verb loads by name, through stages/datasets/base.py.
ROOMS = {"simulate": "simulate", "discover": "find", "process": "encode"}


def module_file(name):
    spec = importlib.util.find_spec(name)
    return Path(spec.origin) if spec and spec.origin else None


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(module):
    """Return the files under stages/ that importing `module` runs, package docstrings apart."""
    found, to_visit = set(), [module, "stages"]
    while to_visit:
        path = module_file(to_visit.pop())
        if path is None or path in found:
            continue
        found.add(path)
        for name in imported_names(path):
            if name.startswith("stages."):
                try:
                    exists = importlib.util.find_spec(name) is not None
                except ModuleNotFoundError:
                    exists = False
                if exists:
                    to_visit.append(name)
    return {path for path in found if not is_docstring_only(path)}


def is_docstring_only(path):
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def listed(stage, dataset):
    """Return the modules a stage lists, each folder as the set of its modules."""
    found = []
    for dep in PIPELINE["stages"][stage]["do"]["deps"]:
        path = REPOSITORY / dep.replace("${key}", dataset).replace("${item.dataset}", dataset)
        if path.is_relative_to(REPOSITORY / "stages"):
            found.append(set(path.rglob("*.py")) if path.is_dir() else {path})
    return found


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("stage", sorted(PIPELINE["stages"]))
def test_stage_lists_exactly_the_modules_it_imports(stage, dataset):
    """Of a folder it imports some module, and all that it imports are listed."""
    expected = imported_files(f"stages.{stage}")
    if stage in ROOMS:
        expected |= imported_files(f"stages.datasets.{dataset}.{ROOMS[stage]}")
    entries = listed(stage, dataset)
    assert set().union(*entries) >= expected
    assert [entry for entry in entries if not entry & expected] == []


@pytest.mark.parametrize("stage", sorted(PIPELINE["stages"]))
def test_stage_says_what_it_is_for(stage):
    assert PIPELINE["stages"][stage]["do"]["desc"]


def test_vars_name_the_batch_list_of_every_dataset():
    assert PIPELINE["vars"] == [f"data/manifests/{dataset}/batches.yaml" for dataset in DATASETS]
