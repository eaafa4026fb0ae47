"""A name says one thing: no class of the engine has the name of another, nor has one of a dataset's package."""

import ast
from collections import Counter, defaultdict

from tests.helpers.places import REPOSITORY

DATASETS = REPOSITORY / "stages/datasets"
ENGINE = "engine"
# Each dataset has its own, and the loader's is what its users type.
SHARED = {"Settings"}


def room(path):
    """Return the dataset that a module is of, or the engine."""
    parts = path.relative_to(DATASETS).parts if path.is_relative_to(DATASETS) else ()
    return parts[0] if len(parts) > 1 and parts[0] != "base" else ENGINE


def class_names():
    """Return how often each class name stands in the engine and in each dataset."""
    found = defaultdict(Counter)
    for path in (REPOSITORY / "stages").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        found[room(path)].update(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return found


def test_a_class_name_stands_once_in_the_engine_and_once_in_a_dataset():
    twice = {(place, name) for place, names in class_names().items() for name, count in names.items() if count > 1}
    assert twice == set()


def test_no_class_of_a_dataset_has_the_name_of_one_of_the_engine():
    found = class_names()
    engine = set(found.pop(ENGINE))
    assert {name for names in found.values() for name in names if name in engine} == SHARED
