"""A source that is opened in another process has the same arrays there, or is refused."""

import copy
import json
import os
import pickle
import shutil

import numpy as np
import pytest

from stages.core import checksum
from stages.core.errors import ExpectedError
from stages.core.files import atomic_dir
from stages.loader import PartArrays, Settings, Share, open_source
from tests.helpers.loader_parts import write_part
from tests.helpers.waiting import until_files_get_times_after

REPLACED = r"X_train\.npy: replaced since the source was opened .*, expected the same content; open the source and make"


@pytest.fixture
def folder(tmp_path):
    return write_part(tmp_path / "toy")


def replace(folder, first=1):
    """Put other rows in the place of the same number of rows, as a run of the pipeline does."""
    with atomic_dir(folder) as new:
        write_part(new)
        np.save(new / "X_train.npy", np.load(new / "X_train.npy") + np.float32(first))


def add_checksums(folder):
    files = {path.name: checksum.text(checksum.of_file(path)) for path in folder.iterdir()}
    (folder / "stats.json").write_text(json.dumps({"files": files}))


def mixed(folder):
    return open_source([Share(folder, weight=1), Share(folder, weight=2)], "train", Settings(fields=("X",)))


@pytest.mark.parametrize("opened", [mixed, lambda folder: PartArrays(folder, "train", ("X",))])
@pytest.mark.parametrize("has_checksums", [False, True])
def test_replaced_files_are_refused(folder, opened, has_checksums):
    """Also of the same number of rows; with and without checksums that could say whether they are the same."""
    if has_checksums:
        add_checksums(folder)
    sent = pickle.dumps(opened(folder))
    assert len(pickle.loads(sent)) == len(opened(folder))
    replace(folder)
    with pytest.raises(ExpectedError, match=REPLACED):
        pickle.loads(sent)


def test_a_copy_of_the_source_is_of_the_same_files(folder):
    source = PartArrays(folder, "train", ("X",))
    replace(folder)
    with pytest.raises(ExpectedError, match=REPLACED):
        copy.deepcopy(source)


def test_the_same_content_in_another_place_of_the_disk_is_taken(folder):
    """As DVC checks it out again, or as another machine has it; the checksums are those of the first opening."""
    add_checksums(folder)
    sent = pickle.dumps(PartArrays(folder, "train", ("X",)))
    with atomic_dir(folder) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
    (folder / "stats.json").unlink()
    assert pickle.loads(sent)[7]["X"].tolist() == [7.0, 7.5]


def test_a_file_that_says_nothing_of_its_content_is_not_trusted(folder):
    """Touched, and without a checksum."""
    sent = pickle.dumps(PartArrays(folder, "train", ("X",)))
    until_files_get_times_after((folder / "X_train.npy").stat().st_ctime_ns, folder.parent)
    os.utime(folder / "X_train.npy")
    with pytest.raises(ExpectedError, match=REPLACED):
        pickle.loads(sent)


def test_a_file_that_was_not_there_is_refused(folder):
    sent = pickle.dumps(PartArrays(folder, "train"))
    np.save(folder / "other_train.npy", np.load(folder / "X_train.npy"))
    with pytest.raises(ExpectedError, match=r"other_train\.npy: replaced since"):
        pickle.loads(sent)
