"""What stages/datasets/base/__init__.py asks of a dataset's package holds for each that lies in stages/datasets."""

import inspect
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets import base
from stages.datasets.rugs.encode import Table as Rugs
from stages.datasets.splendor import schema as splendor
from tests.helpers.places import REPOSITORY
from tests.helpers.samples import SETTINGS, write_alone

FOLDER = REPOSITORY / "stages/datasets"
DATASETS = sorted(path.parent.name for path in FOLDER.glob("*/find.py"))
ROWS_OF_GROUPS = {"group_id": "uint64", "group_offsets": "int64", "source": "int32"}
SKELETON_FILES = {
    "1.csv": "temperature,humidity,alarm\n1.5,2,0\n3,4,1\n",
    "b/2.csv": "temperature,humidity,alarm\n5,6,1",
}

each_dataset = pytest.mark.parametrize("dataset", DATASETS)
each_field = pytest.mark.parametrize(
    ("dataset", "name"), [(dataset, name) for dataset in DATASETS for name in base.encoder(dataset).FIELDS]
)


def parameters(function):
    return list(inspect.signature(function).parameters)


@each_dataset
def test_a_package_has_its_rooms(dataset):
    """dvc.yaml lists these for every dataset."""
    rooms = {path.name for path in (FOLDER / dataset).iterdir()}
    assert rooms >= {"__init__.py", "schema", "reading", "find.py", "encode"}


@each_dataset
def test_functions_have_the_parameters_of_the_interface(dataset):
    encoder = base.encoder(dataset)
    assert len(parameters(base.finder(dataset).find)) == 2
    assert [len(parameters(f)) for f in (encoder.read, encoder.encode, encoder.line)] == [3, 2, 1]
    assert encoder.CHUNK_UNITS >= 1


@each_field
def test_a_field_is_well_formed(dataset, name):
    """Its dtype is one of NumPy's, it says what it is, and names and flags are as many as its columns."""
    field = base.encoder(dataset).FIELDS[name]
    assert np.dtype(field.dtype).name == field.dtype or np.dtype(field.dtype).kind == "S"
    assert name not in ROWS_OF_GROUPS
    assert field.doc
    assert not field.doc.endswith(".")
    n_columns = int(np.prod(field.bits or field.shape))
    if field.names is not None:
        assert len(set(field.names)) == len(field.names)
        assert field.role == "label" or len(field.names) == n_columns
    assert field.normalise is None or len(field.normalise) == n_columns
    assert field.bits is None or (field.dtype, field.shape) == ("uint8", (-(-n_columns // 8),))
    json.dumps(field.header(name))


@each_dataset
def test_labels_and_masks_have_classes_and_their_prefix(dataset):
    """The heads of the arrays are named after them, and a mask has the classes of its label."""
    fields = base.encoder(dataset).FIELDS
    for name, field in fields.items():
        for role in ("label", "mask"):
            assert name.startswith(f"{role}_") == (field.role == role)
        if field.role == "mask":
            label = fields.get(f"label_{name.removeprefix('mask_')}")
            assert label is None or label.names == field.names


@each_dataset
def test_an_option_that_is_not_known_is_refused(dataset, tmp_path):
    with pytest.raises(ExpectedError, match="no_such_option"):
        base.finder(dataset).find(tmp_path, {"no_such_option": 1})


def test_a_room_that_is_missing_is_named():
    with pytest.raises(ExpectedError, match=r"stages/datasets/skeleton: no simulate, expected one"):
        base.simulator("skeleton")


@pytest.fixture(scope="module", params=DATASETS)
def some_raw(request, tmp_path_factory):
    """Give a dataset's name and a small raw folder of it: that of its golden test, or a simulated one."""
    folder, dataset = tmp_path_factory.mktemp(request.param), request.param
    golden = REPOSITORY / "tests/datasets" / dataset / "golden"
    if golden.is_dir():
        folder = golden
    elif dataset in SETTINGS:
        write_alone(base.simulator(dataset), folder, SETTINGS[dataset])
    elif dataset == "skeleton":
        for name, text in SKELETON_FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
    else:
        pytest.skip(f"{dataset}: no raw data, expected some in {golden.relative_to(REPOSITORY)}")
    return dataset, folder


@pytest.fixture(scope="module")
def chunk(some_raw):
    """Give the dataset's name, some units, and the table that `read` makes of them."""
    dataset, folder = some_raw
    encoder = base.encoder(dataset)
    units = base.finder(dataset).find(folder, {})[: encoder.CHUNK_UNITS]
    return dataset, units, encoder.read(folder, units, {})


@pytest.fixture(scope="module")
def encoded(chunk):
    """Give the dataset's name, some units, and the arrays of them."""
    dataset, units, table = chunk
    return dataset, units, base.encoder(dataset).encode(table, {})


def test_units_have_a_key_of_their_own_and_the_digest_of_their_bytes(some_raw):
    dataset, folder = some_raw
    units = base.finder(dataset).find(folder, {})
    assert units
    assert len({unit.key for unit in units}) == len(units)
    assert all(unit.digest and unit.sources for unit in units)
    for unit in units[:3]:
        base.check_unit(dataset, folder, unit)


def test_arrays_are_those_of_the_fields(encoded):
    dataset, _, found = encoded
    fields = base.encoder(dataset).FIELDS
    assert set(found) == {*fields, *ROWS_OF_GROUPS}
    n_rows = int(found["group_offsets"][-1])
    for name, field in fields.items():
        assert (name, found[name].dtype, found[name].shape) == (name, np.dtype(field.dtype), (n_rows, *field.shape))
    for name, field in fields.items():
        if field.role == "label":
            assert set(found[name].tolist()) <= set(range(-1, len(field.names)))


def other_splendor_moves(table):
    """Yield the games with the moves of other rows; all rows keep their positions."""
    values = table.values.copy()
    order = np.random.default_rng(1).permutation(values.shape[1])
    values[splendor.ACTION_COLUMN :] = values[splendor.ACTION_COLUMN :, order]
    yield replace(table, values=values), np.ones(values.shape[1], bool)


def other_rugs_presses(table):
    """Yield the episodes with each press in turn of another button; the state is that of before up to its own step.

    Later on a SIDEBET is part of the state: none may follow within 40 ticks.
    """
    presses, steps = table.presses, table.steps
    for row, step in zip(presses.row.tolist(), presses.step.tolist(), strict=True):
        for shift in (1, 2):
            button = table.events.button.copy()
            button[row] = (button[row] + shift) % 3
            is_same = (steps.episode != steps.episode[step]) | (np.arange(len(steps.row)) <= step)
            yield Rugs(replace(table.events, button=button), table.settings), is_same


# For each dataset with masks: tables with the same states and other labels, and in which rows the states are the same.
RELABELLED = {"rugs": other_rugs_presses, "splendor": other_splendor_moves}


def test_no_mask_is_a_function_of_the_label(chunk, encoded):
    """Whoever moves otherwise in the same state has the same legal moves; else masks would tell what is to be learned.

    A dataset whose fields have a mask needs an entry in `RELABELLED`.
    """
    dataset, _, table = chunk
    _, _, expected = encoded
    fields = base.encoder(dataset).FIELDS
    masks = [name for name, field in fields.items() if field.role == "mask"]
    labels = [name for name, field in fields.items() if field.role == "label"]
    assert (dataset in RELABELLED) == bool(masks)
    n_changed = 0
    for other, is_same_state in RELABELLED[dataset](table) if masks else ():
        found = base.encoder(dataset).encode(other, {})
        n_changed += sum(int((found[name] != expected[name])[is_same_state].sum()) for name in labels)
        for name in masks:
            assert (found[name] == expected[name])[is_same_state].all(), name
    assert n_changed or not masks


def test_groups_are_contiguous_and_in_the_order_of_the_units(encoded):
    _, units, found = encoded
    assert {name: found[name].dtype.name for name in ROWS_OF_GROUPS} == ROWS_OF_GROUPS
    offsets, source = found["group_offsets"].tolist(), found["source"].tolist()
    assert len(offsets) == len(source) + 1 == len(found["group_id"]) + 1
    assert offsets[0] == 0
    assert all(first <= second for first, second in pairwise(offsets))
    assert all(first <= second for first, second in pairwise(source))
    assert set(source) <= set(range(len(units)))


def test_a_row_can_be_found_in_its_raw_file(encoded, some_raw):
    """The line of the first and the last row of the first unit exists in a file of the raw folder."""
    dataset, units, found = encoded
    first = int(found["source"][0])
    groups = np.flatnonzero(found["source"] == first)
    n_rows = int(found["group_offsets"][groups[-1] + 1] - found["group_offsets"][groups[0]])
    for row in (0, n_rows - 1):
        [(path, line)] = base.locate(dataset, some_raw[1], units[first], [base.encoder(dataset).line(row)])
        assert Path(path).is_file()
        assert line >= 1
