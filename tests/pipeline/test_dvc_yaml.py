"""dvc.yaml lists, for each stage, the folders of code that its command imports and that can change its outs."""

import ast
import importlib.util
from functools import cache
from pathlib import Path

import pytest
import yaml

from stages.pipeline import verbs
from tests.helpers.places import REPOSITORY

PIPELINE = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
DATASETS = sorted(PARAMS["datasets"])
# The room of a dataset's package that a verb loads by name, through stages/datasets/base/__init__.py.
ROOMS = {"simulate": "simulate", "discover": "find", "process": "encode"}
IMPORTED_AND_NOT_LISTED = {
    "stages/__init__.py": "sets how many threads NumPy's BLAS starts, which is not used",
    "stages/runtime": "how work is run and watched; tests hold the bytes for every backend and number of workers",
    "stages/pipeline": "what is known of DVC: it decides which stages run, not what they write",
}


@cache
def module_file(name):
    spec = importlib.util.find_spec(name)
    return Path(spec.origin) if spec and spec.origin else None


@cache
def parsed(path):
    return ast.parse(path.read_text())


@cache
def imported_modules(path):
    """Return the names of the modules under stages/ that a file imports; what else it imports from them is none."""
    names = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [name for name in sorted(names) if name.startswith("stages.") and is_module(name)]


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def packages_and(name):
    """Return a module's name and those of the packages around it, which importing it runs first."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def imported_files(module):
    """Return the files under stages/ that importing `module` runs, directly or through others, docstrings apart."""
    found, to_visit = set(), packages_and(module)
    while to_visit:
        path = module_file(to_visit.pop())
        if path is None or path in found:
            continue
        found.add(path)
        for name in imported_modules(path):
            to_visit += packages_and(name)
    return {path for path in found if not is_docstring_only(path)}


def is_docstring_only(path):
    return all(isinstance(node, ast.Expr) for node in parsed(path).body)


@cache
def imported(stage, dataset):
    """Return the files that a stage's command imports for a dataset."""
    files = imported_files(f"stages.{stage}")
    return files | imported_files(f"stages.datasets.{dataset}.{ROOMS[stage]}") if stage in ROOMS else files


def listed(stage, dataset):
    """Return the files and folders of code that a stage depends on."""
    deps = [dep.replace("${key}", dataset) for dep in PIPELINE["stages"][stage]["do"]["deps"]]
    deps = [dep.replace("${item.dataset}", dataset) for dep in deps]
    return [dep for dep in deps if dep.startswith("stages/")]


def is_in(path, names):
    return any(path.is_relative_to(REPOSITORY / name) for name in names)


def datasets_of(stage):
    """Return the datasets that have a stage: all of them, but only what params.yaml simulates has a simulate stage."""
    return sorted(PARAMS["simulate"] or {}) if stage == "simulate" else DATASETS


STAGES = [(stage, dataset) for stage in PIPELINE["stages"] for dataset in datasets_of(stage)]


@pytest.mark.parametrize(("stage", "dataset"), STAGES)
def test_stage_lists_all_code_that_it_imports_but_for_what_is_named(stage, dataset):
    not_listed = [path for path in imported(stage, dataset) if not is_in(path, listed(stage, dataset))]
    assert [path for path in not_listed if not is_in(path, IMPORTED_AND_NOT_LISTED)] == []


def is_imported(line, stage):
    """Say whether a line of a stage's list, with {dataset} in it, is code that the stage of some dataset imports."""
    files = [(dataset, path) for dataset in datasets_of(stage) for path in imported(stage, dataset)]
    return any(is_in(path, [line.format(dataset=dataset)]) for dataset, path in files)


@pytest.mark.parametrize("stage", sorted({stage for stage, _ in STAGES}))
def test_each_line_of_a_stage_is_code_that_it_imports_for_some_dataset(stage):
    """The datasets share one list, so a room may be of no use to one: splendor's `reading` is empty."""
    assert [line for line in listed(stage, "{dataset}") if not is_imported(line, stage)] == []


def test_no_name_is_without_need():
    """Each is imported by a stage that does not list it; the test above says the same of what is listed."""
    not_listed = {path for names in STAGES for path in imported(*names) if not is_in(path, listed(*names))}
    assert [name for name in IMPORTED_AND_NOT_LISTED if not any(is_in(path, [name]) for path in not_listed)] == []


@pytest.mark.parametrize(("stage", "dataset"), STAGES)
def test_what_a_stage_lists_is_there(stage, dataset):
    assert [dep for dep in listed(stage, dataset) if not (REPOSITORY / dep).exists()] == []


def test_a_stage_is_made_of_each_verb():
    assert tuple(PIPELINE["stages"]) == verbs.VERBS
    assert sorted(verbs.LOCK_ORDER) == sorted(verbs.VERBS)


@pytest.mark.parametrize("stage", sorted(PIPELINE["stages"]))
def test_stage_says_what_it_is_for(stage):
    assert PIPELINE["stages"][stage]["do"]["desc"]


def test_vars_name_the_batch_list_of_every_dataset():
    assert PIPELINE["vars"] == [f"data/manifests/{dataset}/batches.yaml" for dataset in DATASETS]
