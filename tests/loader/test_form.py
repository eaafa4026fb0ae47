"""Values standardised or as merged: what a trainer reads does not say how the parts are stored."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from stages.core.arrays import DamagedFile
from stages.core.errors import ExpectedError
from stages.core.part_files import PARTS
from stages.loader import PartArrays, Settings, Share, batches
from tests.helpers.clones import flip
from tests.helpers.stores import PARAMS, split_both

FIELDS = ("X", "board", "grid", "left", "wide", "label_kind", "mask_kind", "row_in_unit", "valid_X")
CHOICES = {
    "rows": Settings(batch_size=33, shuffle_seed=1),
    "packed": Settings(batch_size=33, packed=True),
    "keys": Settings(batch_size=33, shuffle_seed=2, fields=FIELDS),
    "windows": Settings(batch_size=33, shuffle_seed=1, window="X"),
    "all of a window": Settings(batch_size=33, shuffle_seed=1, window="X", fields=FIELDS),
}


def drawn(folder, part, settings):
    """Return all batches as bytes, with dtypes and shapes."""
    with batches(folder, part, settings) as stream:
        return [{name: (v.dtype, v.shape, v.tobytes()) for name, v in batch.items()} for batch in stream]


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("kept_mb", [0, 64])
@pytest.mark.parametrize("choice", CHOICES)
def test_batches_of_both_are_the_same_bits(store_folders, choice, kept_mb, verify, monkeypatch):
    """Of rows, windows and other fields in windows, whose rows need not be valid; whatever pages are given back."""
    monkeypatch.setattr("stages.loader.mapped_file.KEPT_MB", kept_mb)
    settings = replace(CHOICES[choice], verify=verify)
    for part in PARTS:
        found = drawn(store_folders["stored"], part, settings)
        assert found == drawn(store_folders["float32"], part, settings)
        assert found


def test_the_arrays_are_the_trainer_s_own(store_folders):
    with batches(store_folders["stored"], "train") as stream:
        batch = next(stream)
    assert all(values.flags.writeable and values.flags.owndata for values in batch.values() if values.dtype.kind == "f")


@pytest.mark.parametrize("window", [None, "X"])
def test_values_come_as_stored_if_asked_for(store_folders, window):
    """In the dtype of merged, also where a source was sent to another process."""
    settings = Settings(batch_size=10_000, fields=("X", "grid", "wide", "left"), standardised=False, window=window)
    with batches(store_folders["stored"], "val", settings) as stream:
        batch = next(stream)
        source = pickle.loads(pickle.dumps(stream.source))
    rows = np.arange(source.n_rows)
    if window:
        rows = np.load(store_folders["stored"] / "starts_X_val.npy")[:, None] + np.arange(3)
    for name in settings.fields:
        stored = np.load(store_folders["stored"] / f"{name}_val.npy")
        assert batch[name].dtype == stored.dtype == source.layout[name][0]
        np.testing.assert_array_equal(batch[name], stored[rows])
    assert source.read(np.arange(2))["X"].tobytes() == batch["X"][:2].tobytes()


def test_standardised_features_cannot_be_given_as_merged(store_folders):
    """The error says why; fields that nobody standardised are given."""
    message = r"X_train.npy: standardised is False, but split wrote 'X' standardised, expected it as merged; set split"
    with pytest.raises(ExpectedError, match=message):
        batches(store_folders["float32"], "train", standardised=False)
    with batches(
        store_folders["float32"], "train", standardised=False, fields=("left", "board", "label_kind")
    ) as stream:
        assert next(stream)["left"].dtype == np.int8


@pytest.mark.parametrize("order", [("float32", "stored"), ("stored", "float32")])
def test_folders_of_both_forms_are_mixed(store_folders, order):
    settings = Settings(batch_size=33, shuffle_seed=4)
    mixed = drawn([store_folders[store] for store in order], "train", settings)
    assert mixed == drawn([store_folders["float32"], Share(store_folders["float32"])], "train", settings)
    assert np.dtype(np.float32) in {found[0] for found in mixed[0].values()}


def test_folders_of_other_normalisation_are_mixed_as_stored_only(store_folders):
    """Values as merged mean the same whatever would be taken off; standardised they do not."""
    first = store_folders["stored"].rename(store_folders["stored"].with_name("first"))
    store_folders["float32"].rename(store_folders["float32"].with_name("first"))
    second = split_both(params=replace(PARAMS, seed=7))["stored"]
    with pytest.raises(ExpectedError, match=r"'mean' of normalizer.npz is .*, expected"):
        batches([first, second], "train")
    with batches([first, second], "train", standardised=False) as stream:
        assert next(stream)["X"].dtype == np.int8


def test_a_checkpoint_is_of_the_normaliser_too(store_folders):
    """Rows of val may be the same, and what is taken off them another."""
    source = PartArrays(store_folders["stored"], "val", ("X",))
    assert {"X_val.npy", "normalizer.npz", "keys_val.npz"} == set(source.digests({}))
    assert {"X_val.npy"} == set(PartArrays(store_folders["float32"], "val", ("X",)).digests({}))
    assert {"left_val.npy"} == set(PartArrays(store_folders["stored"], "val", ("left",)).digests({}))


@pytest.mark.parametrize("name", ["X_train.npy", "normalizer.npz", "keys_train.npz"])
def test_a_flipped_bit_is_found_before_the_first_batch(store_folders, name):
    flip(store_folders["stored"] / name)
    with pytest.raises(DamagedFile, match=name):
        batches(store_folders["stored"], "train", verify=True, fields=("X",))


def test_files_that_do_not_fit_are_refused(store_folders):
    path = store_folders["stored"] / "stats.json"
    content = json.loads(path.read_text())
    content["stored"]["grid"]["dtype"] = "int8"
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=r"rows of grid are int16 \(2, 3\), expected int8 \(2, 3\) as in stats.json"):
        batches(store_folders["stored"], "train")
