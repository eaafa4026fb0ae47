"""The verdict of `make torture` can fail: whatever is lost makes its exit code other than 0."""

import os
import re
import subprocess
import sys

import pytest

from tests.torture import __main__ as command
from tests.torture.verdict import Tally, endure, exit_code, table


def holds():
    return "it was running"


def loses():
    raise AssertionError("X_val.npy differs")


def finds_no_file():
    raise FileNotFoundError("dvc.lock")


def is_no_place_for_it():
    pytest.skip("only root may mount")


def outcome(*attempts):
    """Return the tally of some attempts, and the lines that told of them."""
    lines = []
    named = ((f"attempt {number}", attempt) for number, attempt in enumerate(attempts))
    return endure("kills", named, len(attempts), lines.append), lines


def test_an_attack_that_loses_nothing_ends_with_0():
    tally, lines = outcome(holds, holds)
    assert (tally.tried, tally.held, exit_code([tally])) == (2, 2, 0)
    assert lines[-1] == "kills  2 of 2  attempt 1: held; it was running\n"


@pytest.mark.parametrize(("loss", "told"), [(loses, "X_val.npy differs"), (finds_no_file, "dvc.lock")])
def test_one_loss_among_many_is_told_and_ends_with_1(loss, told):
    tally, lines = outcome(holds, loss, holds)
    assert (tally.tried, tally.held, exit_code([tally])) == (3, 2, 1)
    assert lines[1].startswith("kills  2 of 3  attempt 1: LOST; ")
    assert told in lines[1]
    sound = outcome(holds)[0]
    assert exit_code([sound, tally, sound]) == 1


def test_a_skipped_attack_is_told_and_counts_neither_way():
    skipped, lines = outcome(is_no_place_for_it)
    assert lines == ["kills: skipped, only root may mount\n"]
    assert (skipped.tried, exit_code([skipped, outcome(holds)[0]]), exit_code([skipped])) == (0, 0, 1)
    assert table([skipped])[1].split() == ["kills", "0", "0", "0", "skipped:", "only", "root", "may", "mount"]


def test_an_attack_that_makes_too_few_attempts_is_an_error():
    with pytest.raises(AssertionError, match="kills: 1 attempts, expected 2"):
        endure("kills", [("one", holds)], 2, [].append)


def test_the_table_has_a_line_per_attack():
    lines = table([Tally("kills", 100, 99, 1200.4), Tally("s3", 20, 20, 61.0)])
    assert lines == ["attack  tried  held  seconds", "kills     100    99     1200", "s3         20    20       61"]


def test_the_number_of_kills_is_what_was_typed():
    assert (command.count(""), command.count("7")) == (command.KILLS, 7)


@pytest.mark.parametrize("text", ["0", "-1", "x; touch f", "1e2"])
def test_another_number_of_kills_is_one_clear_error(text):
    with pytest.raises(SystemExit, match=r"error: KILLS: .*, expected a number from 1; correct it"):
        command.count(text)


@pytest.mark.slow
def test_a_run_whose_bytes_differ_is_lost_for_the_command(tmp_path):
    """The real command, with an attack that takes other bytes for the right ones."""
    code = (
        "import sys; from tests.torture import __main__ as command, places\n"
        "places.Scratch.expected = {'dvc.lock': b''}\n"
        "sys.argv[1:] = ['kills']; sys.exit(command.main())"
    )
    environment = {**os.environ, "KILLS": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "LOST; AssertionError: " in done.stdout
    assert done.stdout.splitlines()[-1].split()[:3] == ["kills", "1", "0"]


def test_every_attack_is_described():
    described = re.findall(r"^- (.+?):", command.__doc__, re.MULTILINE)
    assert ", ".join(described).split(", ") == list(command.ATTACKS)
