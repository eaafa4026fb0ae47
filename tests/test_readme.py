"""What the README tells a user to type exists, and what it shows is what is printed."""

import importlib.util
import re
import subprocess

import pytest
import yaml

from tests.helpers.places import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_of_the_readme_exists():
    named = set(re.findall(r"`make ([a-z-]+)", README)) | set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE))
    assert named
    assert named <= TARGETS


def test_every_module_of_the_readme_exists():
    named = set(re.findall(r"python -m (stages\.\w+)", README))
    assert all(importlib.util.find_spec(name) for name in named)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b(?:stages|tests)/[\w/]+(?:\.py)?", README))))
def test_every_path_of_the_readme_exists(name):
    assert (REPOSITORY / name).exists()


def test_the_readme_shows_what_make_help_prints():
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert printed.rstrip() in README


def test_the_table_of_datasets_has_a_row_for_each():
    for dataset in yaml.safe_load((REPOSITORY / "params.yaml").read_text())["datasets"]:
        assert f"\n| {dataset} |" in README


def test_every_file_of_the_top_level_is_one_of_the_fixed_ones():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    fixed = {"dvc.yaml", "dvc.lock", "params.yaml", "Makefile", "pyproject.toml", "README.md", "LICENSE"}
    top = {name.partition("/")[0] for name in listed.split()}
    assert {name for name in top if not name.startswith(".")} <= fixed | {"stages", "data", "tests"}
