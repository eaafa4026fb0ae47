"""Commands and verbs by their names."""

import subprocess
import sys
import tomllib

from tests.helpers.places import REPOSITORY


def batchwise(*words, cwd=REPOSITORY):
    command = [sys.executable, "-m", "stages.commands.batchwise", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_package_brings_the_command():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"batchwise": "stages.commands.batchwise:main"}


def test_a_command_gets_its_arguments_and_gives_its_exit_code():
    done = batchwise("trace", "splendor", "nonsense", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m stages.commands.trace [-h] dataset {train,val,test} row\n")


def test_help_lists_commands_verbs_and_rooms_with_their_words_and_runs_none():
    done = batchwise()
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "  status         Say what is out of date and why, in the user's words: files, batches, code, params.",
        "  process        ",
        "  report         Write data/reports/index.html",
    ):
        assert f"\n{line}" in done.stdout
    assert "sweep_grid" not in done.stdout


def test_a_name_that_is_none_is_one_line():
    done = batchwise("statsu")
    assert (done.returncode, done.stderr) == (2, "error: 'statsu', expected a command; did you mean 'status'?\n")
