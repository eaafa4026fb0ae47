"""The counts of a split, and the figures and plots that DVC compares: right, readable, the same bytes again."""

import csv
import doctest
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import merge, split
from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.fields import NamedField
from stages.core.params import SplitParams
from stages.splitting import stats

PARTS = ("train", "val", "test")
PARAMS = SplitParams(0.5, 0.25, 0.25)


def table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def toy(write_toy):
    """Merge and split a dataset in two batches, with one group that comes twice and one bad unit."""
    groups = [(group, 1 + group * 7 % 11) for group in range(1, 41)]
    bad = {"b1": [{"unit": "z", "reason": "z:1: empty"}]}
    write_toy({"b0": {"a": groups[:10], "c": groups[10:25]}, "b1": {"b": groups[25:], "d": groups[:1]}}, bad)
    merge.merge("toy", 1)
    split.split("toy", PARAMS)


@pytest.fixture
def unlabelled(toy):
    """Split the same dataset without its label and its mask."""
    folder = paths.merged_dir("toy")
    fields = json.loads((folder / "fields.json").read_text())
    kept = [field for field in fields if field["role"] in ("feature", "key")]
    (folder / "fields.json").write_text(json.dumps(kept))
    split.split("toy", PARAMS)


def test_more_than_255_legal_actions_are_counted():
    """A row of a large board has more legal actions than a byte counts."""
    counter = stats.LegalCounter(NamedField("mask_move", np.dtype("u1"), (361,), "mask"))
    counter.add(np.ones((4, 361), np.uint8))
    counter.add(np.zeros((4, 361), np.uint8))
    assert counter.result() == {"mean": 180.5, "min": 0, "max": 361}


def test_no_rows_have_no_legal_actions():
    """As the parts of a raw file that is asked about have them."""
    counter = stats.LegalCounter(NamedField("mask_move", np.dtype("u1"), (3,), "mask"))
    counter.add(np.empty((0, 3), np.uint8))
    assert counter.result() == {"mean": 0.0, "min": 0, "max": 0}


def test_a_class_without_rows_and_rows_without_a_class_are_counted():
    """Minus one is no class; a class that never occurs counts 0."""
    counter = stats.ClassCounter(NamedField("label_end", np.dtype("i2"), (), "label", names=("win", "draw", "loss")))
    for rows in ([0, 0, -1], [2], []):
        counter.add(np.array(rows, np.int16))
    assert counter.result() == {"not_applicable": 1, "classes": {"win": 2, "draw": 0, "loss": 1}}


def test_a_value_of_no_class_is_refused_at_the_end():
    """Not before: the checksum of a damaged file is compared behind its last row."""
    counter = stats.ClassCounter(NamedField("label_end", np.dtype("i2"), (), "label", names=("win", "loss")))
    counter.add(np.array([0, 2, -2, 32767, 1], np.int16))
    with pytest.raises(ExpectedError, match=r"^label_end: 3 rows of no class, expected -1\.\.1; correct the encoder"):
        counter.result()


def test_more_legal_actions_than_there_are_are_refused_at_the_end():
    """As above."""
    counter = stats.LegalCounter(NamedField("mask_move", np.dtype("u1"), (3,), "mask"))
    counter.add(np.array([[1, 1, 1], [1, 129, 1]], np.uint8))
    with pytest.raises(ExpectedError, match=r"^mask_move: 1 rows with more legal actions than 3, expected 0 or 1"):
        counter.result()


def test_the_worked_examples_are_what_the_functions_give():
    """The docstrings' examples run."""
    found = doctest.testmod(stats)
    assert found.attempted
    assert not found.failed


@given(st.integers(2, 400), st.integers(1, 1000))
def test_evenness_is_1_for_equal_classes_and_0_for_one(n_classes, n_rows):
    """The two ends of the scale, for any number of classes."""
    names = list(map(str, range(n_classes)))
    assert stats.balance(dict.fromkeys(names, n_rows))["evenness"] == 1
    one = stats.balance(dict.fromkeys(names, 0) | {"1": n_rows})
    assert one == {"labelled": n_rows, "seen": 1, "largest": "1", "share": 1, "evenness": 0}


@given(st.dictionaries(st.text(), st.integers(0, 10**9), min_size=1))
def test_the_balance_of_any_counts_is_of_finite_numbers(counts):
    """A head that no row has, or with one class, gives numbers too."""
    found = stats.balance(counts)
    assert 0 <= found["share"] <= 1
    assert 0 <= found["evenness"] <= 1 + 1e-6
    assert all(math.isfinite(value) for name, value in found.items() if name != "largest")


def test_metrics_are_the_figures_of_the_arrays(toy):
    """Rows, groups and units are counted again from the arrays, the balance from the labels."""
    size = json.loads((paths.metrics_dir("toy") / "size.json").read_text())
    labels = []
    for part in PARTS:
        with np.load(paths.processed_dir("toy") / f"keys_{part}.npz") as keys:
            assert size["rows"][part] == len(keys["group_id"])
            assert size["groups"][part] == len(set(keys["group_id"].tolist()))
        with np.load(paths.processed_dir("toy") / f"labels_{part}.npz") as found:
            labels.append(found["kind"])
    assert {name: size[name] for name in ("units", "batches", "bad_units")} == {
        "units": 4,
        "batches": 2,
        "bad_units": 1,
    }
    assert size["duplicates"] == {"groups": 1, "rows": 8}
    counts = np.bincount(np.concatenate(labels) + 1)[1:]
    shares = counts / counts.sum()
    assert json.loads((paths.metrics_dir("toy") / "labels/kind.json").read_text()) == {
        "labelled": counts.sum(),
        "seen": 3,
        "largest": ("win", "draw", "loss")[counts.argmax()],
        "share": pytest.approx(shares.max(), abs=1e-6),
        "evenness": pytest.approx(-(shares * np.log(shares)).sum() / np.log(3), abs=1e-6),
    }


def test_plots_are_the_figures_of_stats(toy):
    """Each table has the counts of stats.json and of merge's report, no more."""
    folder = paths.plots_dir("toy")
    found = json.loads((paths.processed_dir("toy") / "stats.json").read_text())
    assert table(folder / "parts.csv") == [
        {"part": part, "kind": kind, "count": str(found[kind][part])} for kind in ("rows", "groups") for part in PARTS
    ]
    batches = {(row["batch"], row["kind"]): int(row["count"]) for row in table(folder / "batches.csv")}
    assert (batches["b0", "units"], batches["b1", "units"]) == (2, 2)
    assert (batches["b0", "groups"], batches["b1", "groups"]) == (25, 15)
    assert batches["b0", "rows"] + batches["b1", "rows"] == sum(found["rows"].values())
    for row in table(folder / "labels/kind.csv"):
        counts = found["labels"]["kind"][row["part"]]["classes"]
        assert int(row["rows"]) == counts[row["class"]]
        assert float(row["share"]) == pytest.approx(counts[row["class"]] / sum(counts.values()), abs=1e-6)
    legal = [
        {"head": "kind", "part": part, **{name: str(value) for name, value in counts.items()}}
        for part, counts in found["legal_actions"]["kind"].items()
    ]
    assert table(folder / "masks/legal_actions.csv") == legal


def test_a_class_of_no_row_is_not_drawn_and_one_of_some_part_is_drawn_in_all():
    """Of hundreds of classes the plot shows those that occur, the same in every part."""
    parts = {"train": {"classes": {"a": 3, "b": 0, "c": 1}}, "val": {"classes": {"a": 0, "b": 0, "c": 2}}}
    counts = {"rows": {"train": 4, "val": 2}, "groups": {"train": 1, "val": 1}, "legal_actions": {}}
    report = {"by_batch": {"b": {"units": 2, "groups": 2, "rows": 6}}}
    text = stats.plots({**counts, "labels": {"kind": parts}}, report)["labels/kind.csv"]
    assert text == "class,part,rows,share\na,train,3,0.75\nc,train,1,0.25\na,val,0,0.0\nc,val,2,1.0\n"


def test_without_labels_and_masks_their_folders_are_empty(unlabelled):
    """No table is left of an earlier run, and none is empty: DVC draws an empty folder as nothing."""
    made = {str(p.relative_to("data")) for top in ("metrics", "plots") for p in paths.Path("data", top).rglob("*")}
    assert made == {
        *("metrics/toy", "metrics/toy/size.json", "metrics/toy/labels", "plots/toy", "plots/toy/parts.csv"),
        *("plots/toy/batches.csv", "plots/toy/labels", "plots/toy/masks"),
    }


def test_metrics_and_plots_again_are_the_same_bytes(toy, snapshot):
    """No time, place or order of a run enters them."""
    before = [snapshot(f"data/{name}") for name in ("metrics", "plots")]
    split.split("toy", PARAMS)
    assert [snapshot(f"data/{name}") for name in ("metrics", "plots")] == before
    assert len(before[1]) == 4
