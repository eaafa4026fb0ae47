"""The reader of data/processed: each thing by its meaning, damage told by file."""

import json

import numpy as np
import pytest

from stages.core import arrays
from stages.core.errors import ExpectedError
from stages.processed import Processed
from tests.helpers.loader_parts import N_ROWS, WINDOW, write_part


@pytest.fixture
def data(tmp_path):
    """A train part with windows of X, class names, and a second feature."""
    folder = write_part(tmp_path / "data", starts=[0, 3])
    np.save(folder / "board_train.npy", np.zeros((N_ROWS, 2, 3), np.uint8))
    (folder / "label_mappings.json").write_text(json.dumps({"kind": {"a": 0, "b": 1, "c": 2}}))
    (folder / "feature_names.json").write_text(json.dumps({"X": ["low", "high"], "board": None}))
    return Processed(folder)


def test_every_array_of_a_part_has_the_name_of_its_field(data):
    """Features first; neither the first rows of windows nor the units are arrays of rows."""
    places = data.places("train")
    assert list(places) == ["X", "board", "label_kind", "mask_kind", "name", "row_in_unit"]
    assert places["label_kind"][0] == data.members_path("label", "train")
    assert {header.shape[0] for _, header in places.values()} == {N_ROWS}
    with pytest.raises(ExpectedError, match="no arrays of part 'val'"):
        data.places("val")
    assert list(data.features("train")) == ["X", "board"]


def test_names_are_those_that_split_wrote(data):
    """Or numbers, where a feature has none, and without the file."""
    assert data.label_classes("kind") == ["a", "b", "c"]
    assert data.column_names("X") == ["low", "high"]
    assert data.column_names("board") == [f"board {index}" for index in range(6)]
    (data.folder / "feature_names.json").write_text('["one", "two"]')
    assert data.column_names("X") == ["one", "two"]
    (data.folder / "feature_names.json").unlink()
    assert data.column_names("X") == ["X 0", "X 1"]


def test_small_arrays_come_whole_and_in_chunks(data):
    """All of a kind or those that are named; chunks have keys and labels of the same rows."""
    assert set(data.keys("train")) == {"name", "row_in_unit", "units"}
    assert set(data.keys("train", ["name"])) == {"name"}
    assert data.units()[:2] == ["u", "u"]
    chunks = [
        {name: rows.copy() for name, rows in chunk.items()} for chunk in data.chunks("train", 300, ["name"], ["kind"])
    ]
    assert [len(chunk["name"]) for chunk in chunks] == [300, 300, 300, 100]
    assert np.array_equal(np.concatenate([chunk["kind"] for chunk in chunks]), data.labels("train")["kind"])
    assert data.masks("train", ["kind"])["kind"].shape == (N_ROWS, 2)
    assert data.window_rows("X") == WINDOW


def test_what_split_may_leave_out_is_empty(data):
    """No column is standardised, no field packed."""
    assert data.normalizer() == {}
    assert data.packed_shapes() == {}


def test_damage_names_the_file(data):
    """Missing, no JSON, without what is asked for."""
    with pytest.raises(arrays.DamagedFile, match=r"stats.json: no size of the windows of 'board'"):
        data.window_rows("board")
    (data.folder / "stats.json").write_text("{")
    with pytest.raises(arrays.DamagedFile, match=r"stats.json: .*expected JSON; remove it"):
        data.stats()
    (data.folder / "stats.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"stats.json"):
        data.stats()
    with pytest.raises(arrays.DamagedFile, match=r"keys_val.npz: not found"):
        data.keys("val")
