"""A DataFrame has the part's values under their names, of the rows and columns that were asked for."""

import json
import tracemalloc

import numpy as np
import pytest

import stages
from stages.core.errors import ExpectedError
from tests.helpers.looking import link_arrays, names_of_features, part_arrays

pd = pytest.importorskip("pandas", reason="pandas is not installed; `pip install -e '.[look]'` does it")


@pytest.fixture(scope="module")
def folder(finished):
    return finished / "data/processed/splendor"


@pytest.fixture(scope="module")
def known(folder):
    return part_arrays(folder, "train")


def equals_label(series, values, classes):
    """Say whether a categorical column is labels: the names of all classes in order, missing where they are -1."""
    same = np.array_equal(series.cat.codes.to_numpy(), values)
    return same and list(series.cat.categories) == classes and np.array_equal(series.isna(), values == -1)


def test_features_labels_and_index_are_those_of_the_part(folder, known):
    frame = stages.frame(folder, "train", standardised=True)
    mappings = json.loads((folder / "label_mappings.json").read_text())
    names = names_of_features(folder)["X"]
    assert list(frame.columns) == [*names, *(f"label_{head}" for head in sorted(mappings))]
    np.testing.assert_array_equal(frame[names].to_numpy(), known["X"])
    for head, classes in mappings.items():
        assert equals_label(frame[f"label_{head}"], known[f"label_{head}"], list(classes))
    assert frame.index.equals(pd.RangeIndex(len(frame), name="row"))


def test_values_are_raw_unless_they_are_asked_for_as_a_trainer_reads_them(folder):
    frame = stages.frame(folder, "val", columns=["features"])
    merged = np.load(folder.parents[1] / "merged/splendor/X.npy")
    assert frame.to_numpy().min() >= merged.min()
    assert frame.to_numpy().max() <= merged.max()
    rows = {row.tobytes() for row in merged}
    assert all(row.tobytes() in rows for row in frame.to_numpy().astype(merged.dtype))


def test_keys_and_masks_come_where_they_are_asked_for(folder, known):
    frame = stages.frame(folder, "train", columns=["keys", "mask_action_type", "unit"])
    np.testing.assert_array_equal(frame["game_id"], known["game_id"])
    np.testing.assert_array_equal(frame["unit"].astype(str), known["units"][known["unit"]])
    masks = frame[[f"mask_action_type.{name}" for name in ("build", "reserve", "take 2 tokens", "take 3 tokens")]]
    assert set(masks.dtypes) == {np.dtype(bool)}
    np.testing.assert_array_equal(masks.to_numpy(), known["mask_action_type"] == 1)


@pytest.mark.parametrize(
    "rows", [7, slice(3, 9), slice(-4, None), slice(0, 20, 3), range(5), [4, 0, 4, -1], np.array([2, 3]), []]
)
def test_rows_are_those_that_were_asked_for(folder, known, rows):
    frame = stages.frame(folder, "train", rows=rows, columns=["turn_number"])
    every = np.arange(len(known["turn_number"]))
    wanted = slice(0, rows) if isinstance(rows, int) else rows
    expected = every[wanted if isinstance(wanted, slice) else np.array(wanted, int)]
    assert frame.index.tolist() == expected.tolist()
    assert frame["turn_number"].tolist() == known["turn_number"][expected].tolist()


def test_rows_may_be_true_or_false_for_each_row(folder, known):
    is_late = known["turn_number"] > 20
    frame = stages.frame(folder, "train", rows=is_late, columns=["turn_number"])
    assert frame.index.tolist() == np.flatnonzero(is_late).tolist()


def test_rows_that_are_not_there_are_told(folder, known):
    n_rows = len(known["turn_number"])
    for rows, said in (
        ([0, n_rows], f"row {n_rows}, expected -{n_rows}..{n_rows - 1}"),
        (-3, r"expected the number of first rows; slice\(-3, None\)"),
        ([True, False], "rows is bool"),
        ([0.5], "expected whole numbers"),
    ):
        with pytest.raises(ExpectedError, match=said):
            stages.frame(folder, "train", rows=rows)
    with pytest.raises(ExpectedError, match="no column 'gems_bord_white'; did you mean 'gems_board_white'"):
        stages.frame(folder, "train", columns=["gems_bord_white"])
    with pytest.raises(ExpectedError, match="chunk_rows is 0"):
        stages.frame.scan(folder, chunk_rows=0)


def test_chunks_one_behind_the_other_are_the_frame(folder):
    whole = stages.frame(folder, "val", columns=["features", "labels", "keys"])
    chunks = list(stages.frame.scan(folder, "val", columns=["features", "labels", "keys"], chunk_rows=100))
    assert {len(chunk) for chunk in chunks[:-1]} == {100}
    pd.testing.assert_frame_equal(pd.concat(chunks), whole)


def test_memory_is_that_of_the_rows_that_are_asked_for(folder):
    stages.frame(folder, "train", rows=1)
    tracemalloc.start()
    frame = stages.frame(folder, "train", rows=slice(0, 2000), columns=["X"])
    _, whole = tracemalloc.get_traced_memory()
    del frame
    tracemalloc.reset_peak()
    stages.frame(folder, "train", rows=[5, 900], columns=["X"])
    _, few = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_bytes = 2000 * 1308 * 4
    assert whole < n_bytes + (20 << 20)
    assert few < 2 << 20


def test_a_dataset_is_found_by_its_name(finished, folder, here):
    link_arrays(finished, here)
    pd.testing.assert_frame_equal(stages.frame("splendor", "test", rows=5), stages.frame(folder, "test", rows=5))
    with pytest.raises(ExpectedError, match="did you mean 'splendor'"):
        stages.frame("splender")


def test_stages_has_no_other_attributes():
    with pytest.raises(AttributeError, match="module 'stages' has no attribute 'frames_'"):
        _ = stages.frames_


@pytest.mark.slow
def test_bars_have_the_time_as_index(arrays_of):
    folder = arrays_of("market")
    known = part_arrays(folder, "train")
    frame = stages.frame(folder, "train", standardised=True)
    assert str(frame.index.dtype) == "datetime64[ns, UTC]"
    assert frame.index.name == "time"
    np.testing.assert_array_equal(frame.index.asi8, known["time"])
    assert frame["instrument"].tolist() == [name.decode() for name in known["instrument"].tolist()]
    for field, names in names_of_features(folder).items():
        own = [name if name in frame else f"{field}.{name}" for name in names]
        np.testing.assert_array_equal(frame[own].to_numpy(), known[field])
    by_day = frame[frame["instrument"] == "NQ"]["price_momentum_5"].resample("1D").count()
    assert by_day.sum() == (known["instrument"] == b"NQ").sum()


@pytest.mark.slow
def test_a_board_is_a_column_for_each_cell_and_plane(arrays_of):
    folder = arrays_of("hex")
    known = part_arrays(folder, "train")
    frame = stages.frame(folder, "train")
    for plane, row, column in ((0, 0, 0), (1, 6, 12), (1, 12, 12)):
        np.testing.assert_array_equal(frame[f"board_{plane}_{row}_{column}"], known["board"][:, plane, row, column])
    assert equals_label(frame["label_value"], known["label_value"], ["blue", "red"])
