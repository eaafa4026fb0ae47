"""A feature as a trainer reads it: the same bits whether split standardised it or the reader does."""

import json

import numpy as np
import pytest

from stages.core.arrays import DamagedFile, npy_header, read_npz, save_npz
from stages.core.part_files import PARTS
from stages.processed import Processed
from tests.helpers.stores import STORES, WITH_STANDARD

ALL = (*WITH_STANDARD, "left", "board")


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("chunk_rows", [1, 37, 10_000])
def test_rows_come_standardised_from_both(store_folders, store, chunk_rows):
    """A chunk at a time and by their numbers."""
    data = Processed(store_folders[store])
    for part in PARTS:
        for name in ALL:
            expected = np.load(store_folders["float32"] / f"{name}_{part}.npy")
            feature = data.feature(name, part)
            assert feature.dtype == expected.dtype
            pieces = [rows.copy() for rows in feature.chunks(chunk_rows)]
            assert np.concatenate(pieces).tobytes() == expected.tobytes()
            rows = np.random.default_rng(1).integers(0, len(expected), 50)
            assert feature.at(rows).tobytes() == expected[rows].tobytes()
            assert feature.at(rows[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("store", STORES)
def test_mean_and_scale_are_found_by_the_names_of_the_columns(store_folders, store):
    data = Processed(store_folders[store])
    found = read_npz(store_folders[store] / "normalizer.npz")
    for name, columns in (("X", slice(0, 5)), ("grid", slice(5, 11)), ("wide", slice(11, 13))):
        mean, scale = data.fit(name)
        np.testing.assert_array_equal(mean, found["mean"][columns])
        np.testing.assert_array_equal(scale, found["scale"][columns])
    assert data.fit("left") is None


def test_nothing_is_left_to_do_where_split_did_it(store_folders):
    header = npy_header(store_folders["float32"] / "X_val.npy")
    assert Processed(store_folders["float32"]).standard("X", header) is None
    assert Processed(store_folders["stored"]).standard("left", header) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "int16"}, r"rows of X are int8 \(5,\), expected int16 \(5,\) as in stats.json; `dvc repro`"),
        ({"shape": [4]}, r"rows of X are int8 \(5,\), expected int8 \(4,\)"),
        ({"first": 10}, r"stats.json: X is not described as expected \(ValueError"),
        ({"first": None}, r"stats.json: X is not described as expected \(TypeError"),
        ({"dtype": "what"}, r"stats.json: X is not described as expected \(TypeError"),
    ],
)
def test_files_that_do_not_fit_together_are_damaged(store_folders, change, message):
    path = store_folders["stored"] / "stats.json"
    content = json.loads(path.read_text())
    content["stored"]["X"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=message):
        Processed(store_folders["stored"]).feature("X", "train")


def test_a_missing_normaliser_is_told(store_folders):
    (store_folders["stored"] / "normalizer.npz").unlink()
    with pytest.raises(DamagedFile, match=r"stats.json: X is not described as expected \(KeyError\('mean'\)\)"):
        Processed(store_folders["stored"]).feature("X", "train")
    save_npz(store_folders["stored"] / "normalizer.npz", {"mean": [np.zeros(13)]})
    with pytest.raises(DamagedFile, match=r"KeyError\('scale'\)"):
        Processed(store_folders["stored"]).feature("X", "train")
