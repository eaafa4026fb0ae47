"""`make show` prints the rows that are meant with what is known of them, and tells what it cannot show in one line."""

import json
import shutil
import time

import numpy as np
import pytest

from stages.commands import show, show_table
from stages.commands.trace import trace
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.datasets.hex.show import draw
from stages.look import PartRows
from tests.helpers.looking import link_arrays, part_arrays
from tests.helpers.pace import slowness
from tests.helpers.places import SHIPPED
from tests.helpers.small_sample import small_sample


@pytest.fixture
def at_home(finished, here):
    link_arrays(finished, here)
    return here


@pytest.fixture
def shown(at_home, capsys):
    """Show rows of train of splendor; give what is printed."""

    def of(*words):
        show.show(load().dataset("splendor"), PartRows("splendor", "train"), *words)
        return capsys.readouterr().out

    return of


def test_a_row_is_shown_with_what_trace_says_of_it(shown, at_home):
    known = part_arrays(at_home / "data/processed/splendor", "train")
    text = " ".join(shown("40,").split())
    traced = dict(
        line.split(None, 1) for line in trace("splendor", load().dataset("splendor"), "train", 40).splitlines()
    )
    path, line = traced["raw"].split(", line ")
    assert f"{path}:{line}" in text
    assert f"turn_number {known['turn_number'][40]}" in text
    classes = json.loads((at_home / "data/processed/splendor/label_mappings.json").read_text())["action_type"]
    assert f"action_type {[*classes][known['label_action_type'][40]]!r}" in text
    assert f"action_type {known['mask_action_type'][40].sum()} of 4: " in text
    assert text.endswith(f"1 of {len(known['turn_number']):,} rows of splendor train")


def test_the_features_are_those_farthest_from_their_mean(shown, at_home):
    rows = np.arange(200)
    known = part_arrays(at_home / "data/processed/splendor", "train")["X"][rows]
    known[:, ~np.load("data/processed/splendor/normalizer.npz")["is_normalised"]] = 0
    part = PartRows("splendor", "train")
    raw, names = part.read("X", rows), part.fields["X"].columns
    for scores, values, text in zip(known, raw, show_table.unusual(part, rows), strict=True):
        farthest = np.argsort(-np.abs(scores), kind="stable")[:3].tolist()
        assert text.splitlines()[:3] == [f"{names[i]} {values[i]:.5g} ({scores[i]:+.1f})" for i in farthest]


def test_a_feature_far_below_its_mean_is_as_far_as_one_above():
    scores, values = np.array([1.5, -4.0, 0.3, 2.0]), np.array([10, 20, 30, 40])
    assert show_table.far(list("abcd"), scores, values) == "b 20 (-4.0)\nd 40 (+2.0)\na 10 (+1.5)"


def test_rows_are_chosen_by_a_condition_and_a_seed(shown):
    text = shown("3", "turn_number == 5")
    assert text.count("turn_number 5\n") + text.count("turn_number 5 ") == 3
    assert "3 of " in text.splitlines()[-1]
    assert shown("3", "", "1") == shown("3", "", "1") != shown("3", "", "2")
    assert shown("3", "turn_number == 999").startswith("0 of 0 rows where turn_number == 999")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ten",), "ROWS is 'ten'"),
        (("10", "turn_numbr == 1"), "did you mean 'turn_number'"),
        (("10", "", "x"), "SEED is 'x', expected a whole number"),
    ],
)
def test_what_cannot_be_shown_is_told(shown, words, said):
    with pytest.raises(ExpectedError, match=said):
        shown(*words)


def test_alone_it_lists_what_there_is(run, at_home):
    """Of toy, which has not run, as well."""
    done = run("commands.show", cwd=at_home)
    assert done.returncode == 0, done.stderr
    assert "splendor\n  rows      train 3," in done.stdout
    assert "action_type (4 classes)" in done.stdout
    assert "toy\n  no finished arrays; `make preprocess` makes them" in done.stdout


@pytest.mark.slow
def test_boards_and_courses_are_drawn(nursery, tmp_path_factory, here, capsys):
    link_arrays(small_sample(tmp_path_factory, nursery), here)
    drawn = {}
    for dataset in SHIPPED:
        part = PartRows(dataset, "train")
        show.show(load().dataset(dataset), part, ":3")
        drawn[dataset] = capsys.readouterr().out
    known = part_arrays(here / "data/processed/hex", "train")
    boards = draw(PartRows("hex", "train"), np.arange(3))
    for board, stones, move in zip(boards, known["board"], known["label_policy"], strict=False):
        assert all(line.strip() in drawn["hex"] for line in board.splitlines())
        lines = [line.split()[1:] for line in board.splitlines()[1:]]
        assert np.array_equal(np.array(lines) == "B", stones[0])
        assert np.array_equal(np.array(lines) == "R", stones[1])
        assert np.flatnonzero(np.array(lines).reshape(-1) == "*").tolist() == ([move] if move >= 0 else [])
    assert "close, 40 bars up to it" in drawn["market"]
    assert "▁" in drawn["rugs"]
    assert "price, 40 steps up to it" in drawn["rugs"]


@pytest.mark.slow
def test_it_takes_less_than_two_seconds_of_cpu_at_full_size(at_home, run):
    """With 460,000 rows, as 7,259 games have: labels and keys are repeated, the features lie in a sparse file."""
    folder = at_home / "data/processed/splendor"
    source, n_rows = folder.resolve(), 460_000
    (at_home / "data/processed").unlink()
    shutil.copytree(source, folder)
    columns = np.load(source / "X_train.npy", mmap_mode="r").shape[1]
    with (folder / "X_train.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, columns)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + n_rows * columns * 4)
    for role in ("labels", "masks", "keys"):
        with np.load(source / f"{role}_train.npz") as members:
            repeated = {
                name: members[name] if name == "units" else np.resize(members[name], (n_rows, *members[name].shape[1:]))
                for name in members
            }
        np.savez(folder / f"{role}_train.npz", **repeated)
    started = time.monotonic()
    done = run("commands.show", "splendor", "train", "10", "action_type == 'build' and turn_number > 20", cwd=at_home)
    assert done.returncode == 0, done.stderr
    assert "of 460,000" in done.stdout
    assert time.monotonic() - started < 2 * slowness(time.monotonic)
