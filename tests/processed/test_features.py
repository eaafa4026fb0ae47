"""A feature as a trainer reads it: the same bits whether split standardised it or the reader does."""

import json
import shutil

import numpy as np
import pytest

from stages.core.arrays import DamagedFile, npy_header, read_npz, save_npz
from stages.core.part_files import PARTS
from stages.processed import Processed
from tests.helpers.stores import STORES, WITH_STANDARD, split_both, write_merged

ALL = (*WITH_STANDARD, "left", "board")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Give the folders of both forms; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("stores"))
        write_merged()
        return split_both()


@pytest.fixture
def folders(made, here):
    """Give copies of them, in a working directory that has the merged arrays as well."""
    shutil.copytree(made["stored"].parents[1], here, dirs_exist_ok=True)
    return {store: here / store / "toy" for store in made}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("chunk_rows", [1, 37, 10_000])
def test_rows_come_standardised_from_both(folders, store, chunk_rows):
    """A chunk at a time and by their numbers."""
    data = Processed(folders[store])
    for part in PARTS:
        for name in ALL:
            expected = np.load(folders["float32"] / f"{name}_{part}.npy")
            feature = data.feature(name, part)
            assert feature.dtype == expected.dtype
            pieces = [rows.copy() for rows in feature.chunks(chunk_rows)]
            assert np.concatenate(pieces).tobytes() == expected.tobytes()
            rows = np.random.default_rng(1).integers(0, len(expected), 50)
            assert feature.at(rows).tobytes() == expected[rows].tobytes()
            assert feature.at(rows[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("store", STORES)
def test_mean_and_scale_are_found_by_the_names_of_the_columns(folders, store):
    data = Processed(folders[store])
    found = read_npz(folders[store] / "normalizer.npz")
    for name, columns in (("X", slice(0, 5)), ("grid", slice(5, 11)), ("wide", slice(11, 13))):
        mean, scale = data.fit(name)
        np.testing.assert_array_equal(mean, found["mean"][columns])
        np.testing.assert_array_equal(scale, found["scale"][columns])
    assert data.fit("left") is None


def test_nothing_is_left_to_do_where_split_did_it(folders):
    header = npy_header(folders["float32"] / "X_val.npy")
    assert Processed(folders["float32"]).standard("X", header) is None
    assert Processed(folders["stored"]).standard("left", header) is None


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
def test_files_that_do_not_fit_together_are_damaged(folders, change, message):
    path = folders["stored"] / "stats.json"
    content = json.loads(path.read_text())
    content["stored"]["X"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=message):
        Processed(folders["stored"]).feature("X", "train")


def test_a_missing_normaliser_is_told(folders):
    (folders["stored"] / "normalizer.npz").unlink()
    with pytest.raises(DamagedFile, match=r"stats.json: X is not described as expected \(KeyError\('mean'\)\)"):
        Processed(folders["stored"]).feature("X", "train")
    save_npz(folders["stored"] / "normalizer.npz", {"mean": [np.zeros(13)]})
    with pytest.raises(DamagedFile, match=r"KeyError\('scale'\)"):
        Processed(folders["stored"]).feature("X", "train")
