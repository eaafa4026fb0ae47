"""With `verify` a stream of bytes that are not those of split does not begin."""

import os
import pickle
import shutil

import pytest

from stages.core import arrays
from stages.loader import Settings, batches, open_source


@pytest.fixture
def folder(finished, tmp_path):
    """Give a copy of the processed arrays of 60 games."""
    return shutil.copytree(finished / "data/processed/splendor", tmp_path / "splendor")


def flip(path, place=-5):
    before, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_sound_folders_are_streamed(folder):
    with batches(folder, "train", batch_size=64, verify=True) as stream:
        assert next(stream)["X"].shape == (64, 1308)
    with batches([folder, folder], "val", verify=True, epoch_samples=50) as stream:
        assert sum(len(batch["X"]) for batch in stream) == 50


USED = ["X_train.npy", "labels_train.npz", "masks_train.npz", "normalizer.npz", "label_mappings.json"]


@pytest.mark.parametrize("name", USED)
def test_a_flipped_bit_in_a_file_of_the_stream_or_of_all_parts_is_named(folder, name):
    flip(folder / name)
    with pytest.raises(arrays.DamagedFile, match=name):
        batches(folder, "train", verify=True)


def test_the_message_says_what_to_do(folder):
    flip(folder / "X_train.npy")
    said = r"X_train\.npy: checksum: found \w{8}, expected \w{8} as in stats\.json; copy the folder again, or `make ver"
    for folders in (folder, [folder, folder]):
        with pytest.raises(arrays.DamagedFile, match=said):
            batches(folders, "train", verify=True)


def test_a_file_of_another_run_is_named_though_it_is_whole(folder):
    """An NPZ has checksums of its own, which do not tell whether it belongs here."""
    shutil.copy(folder / "masks_val.npz", folder / "masks_train.npz")
    settings = Settings(fields=("mask_noble",), verify=True)
    with pytest.raises(arrays.DamagedFile, match=r"masks_train\.npz: checksum"):
        batches(folder, "train", settings)


def test_files_that_are_not_in_use_are_not_read(folder):
    flip(folder / "X_test.npy")
    flip(folder / "keys_train.npz", 200)
    batches(folder, "train", verify=True).close()


def test_without_verify_nothing_is_compared(folder):
    flip(folder / "X_train.npy")
    batches(folder, "train").close()


def test_a_worker_process_does_not_read_everything_again(folder):
    source = open_source(folder, "train", Settings(verify=True))
    (folder / "stats.json").write_text("{}")
    assert len(pickle.loads(pickle.dumps(source))) == len(source)


def test_a_folder_without_checksums_is_refused(folder):
    (folder / "stats.json").write_text("{}")
    with pytest.raises(arrays.DamagedFile, match=r"stats\.json: no checksums of the files .*; run `dvc repro`"):
        batches(folder, "train", verify=True)
