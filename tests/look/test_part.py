"""Values come back as they were before split standardised them, whichever way a part is stored."""

import doctest

import numpy as np
import pytest

from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.core.standardise import Standard
from stages.look import PartRows, part
from stages.look.columns import choose
from tests.helpers.looking import part_arrays

ALL = slice(0, None)


def test_examples_are_right():
    assert doctest.testmod(part).failed == 0


@pytest.mark.parametrize("name", ["X", "grid", "left", "board", "wide"])
def test_both_stores_give_the_same_raw_values(stores, name):
    """Whole numbers exactly, others to seven digits; NaN where a row is not valid."""
    done, left = (PartRows(stores[store], "train").read(name, ALL) for store in ("float32", "stored"))
    assert done.shape == left.shape
    if name == "wide":
        np.testing.assert_allclose(done, left, rtol=1e-6)
        assert np.isnan(done).any()
    else:
        np.testing.assert_array_equal(done, left)


def test_raw_values_are_those_that_merge_wrote(stores):
    stored = np.load(stores["stored"] / "X_train.npy")
    is_valid = np.load(stores["stored"] / "keys_train.npz")["valid_X"].astype(bool)
    found = PartRows(stores["float32"], "train").read("X", ALL)
    np.testing.assert_array_equal(found[is_valid], stored[is_valid])
    assert np.isnan(found[~is_valid]).all()


@pytest.mark.parametrize("store", ["float32", "stored"])
def test_standardised_values_are_the_bits_that_a_trainer_reads(stores, store):
    expected = part_arrays(stores["float32"], "val")
    rows = PartRows(stores[store], "val")
    for name in ("X", "grid", "wide"):
        np.testing.assert_array_equal(rows.read(name, ALL, standardised=True), expected[name])


def test_some_rows_and_columns_are_those_of_all(stores):
    rows = PartRows(stores["float32"], "train")
    [choice] = choose(rows.fields, ["c", "a"], "")
    wanted = np.array([5, 0, 5, 17])
    np.testing.assert_array_equal(rows.take(choice, wanted), rows.read("X", ALL)[wanted][:, [2, 0]])
    np.testing.assert_array_equal(rows.read("board", wanted), rows.read("board", ALL)[wanted])


def test_any_whole_number_comes_back_exactly():
    rng = np.random.default_rng(0)
    fit = Standard(rng.normal(0, 50, 400), rng.uniform(0.01, 90, 400))
    whole = rng.integers(-128, 128, (500, 400)).astype(np.int8)
    np.testing.assert_array_equal(part.computed_back(Standard.of(fit.mean, fit.scale).apply(whole), fit), whole)


def test_what_is_read_outlives_the_file(store_folders):
    rows = PartRows(store_folders["float32"], "train")
    found = rows.read("label_kind", slice(0, 9))
    before = found.copy()
    found[:] = 7
    np.testing.assert_array_equal(rows.read("label_kind", slice(0, 9)), before)


def test_a_dataset_or_part_that_is_not_there_is_told(stores, here):
    (here / "data/processed").mkdir(parents=True)
    (here / "data/processed/toy").symlink_to(stores["stored"])
    assert PartRows("toy", "val").n_rows == PartRows(stores["stored"], "val").n_rows
    with pytest.raises(ExpectedError, match="data/processed/tay: no finished arrays; did you mean 'toy'"):
        PartRows("tay", "val")
    with pytest.raises(ExpectedError, match="part 'vall', expected one of train, val, test"):
        PartRows("toy", "vall")


def test_fields_of_different_lengths_are_told(store_folders):
    folder = store_folders["float32"]
    np.save(folder / "left_train.npy", np.load(folder / "left_train.npy")[1:])
    with pytest.raises(DamagedFile, match=r"different numbers of rows: .*left"):
        PartRows(folder, "train")
