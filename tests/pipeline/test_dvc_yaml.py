"""dvc.yaml lists, for each stage, the folders of code that its command imports and that can change its outs."""

import ast
import importlib.util
from pathlib import Path

import pytest
import yaml

from tests.helpers.places import REPOSITORY

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
DATASETS = sorted(yaml.safe_load((REPOSITORY / "params.yaml").read_text())["datasets"])
# The room of a dataset's package that a verb loads by name, through stages/datasets/base/__init__.py.
ROOMS = {"simulate": "simulate", "discover": "find", "process": "encode"}
# What a stage imports and does not list, since it changes no byte: tests of the same bytes for every backend hold that.
CHANGES_NO_BYTE = ("stages/__init__.py", "stages/runtime", "stages/pipeline")


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
def test_stage_lists_the_code_it_imports_but_for_what_changes_no_byte(stage, dataset):
    """Of a folder it imports some module, and all that it imports are listed."""
    expected = imported_files(f"stages.{stage}")
    if stage in ROOMS:
        expected |= imported_files(f"stages.datasets.{dataset}.{ROOMS[stage]}")
    free = [REPOSITORY / name for name in CHANGES_NO_BYTE]
    expected = {path for path in expected if not any(path.is_relative_to(name) for name in free)}
    entries = listed(stage, dataset)
    assert set().union(*entries) >= expected
    unused = [entry for entry in entries if not entry & expected]
    assert [entry for entry in unused if not all(map(is_docstring_only, entry))] == []


@pytest.mark.parametrize("stage", sorted(PIPELINE["stages"]))
def test_stage_says_what_it_is_for(stage):
    assert PIPELINE["stages"][stage]["do"]["desc"]


def test_vars_name_the_batch_list_of_every_dataset():
    assert PIPELINE["vars"] == [f"data/manifests/{dataset}/batches.yaml" for dataset in DATASETS]
