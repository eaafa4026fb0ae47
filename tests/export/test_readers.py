"""pandas, polars, DuckDB and `datasets` open an export of each dataset, and find every value of its parts there.

Each is left out where it is not installed: `pip install -e '.[export]'`.
"""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.core.part_files import PARTS
from stages.export.command import ExportSettings, export
from tests.export.test_command import expected_columns, same
from tests.helpers.looking import link_arrays
from tests.helpers.places import SHIPPED
from tests.helpers.small_sample import small_sample

pytestmark = pytest.mark.slow
each_dataset = pytest.mark.parametrize("dataset", SHIPPED)
INSTALL = "`pip install -e '.[export]'` does it"


@pytest.fixture(scope="module")
def home(nursery, tmp_path_factory):
    """Folder with exports of all datasets."""
    folder = tmp_path_factory.mktemp("readers")
    link_arrays(small_sample(tmp_path_factory, nursery), folder)
    before = Path.cwd()
    os.chdir(folder)
    for dataset in SHIPPED:
        for form in ("parquet", "hf"):
            export(dataset, ExportSettings(form))
    os.chdir(before)
    return folder


@pytest.fixture
def files(home, monkeypatch):
    """Give the file of a part of a dataset."""
    monkeypatch.chdir(home)
    return lambda dataset, part: Path("data/export/parquet", dataset, f"{part}-00000-of-00001.parquet")


def flat(values):
    """Return rows of lists as a list of rows of numbers, for those who give no arrays of them."""
    return [np.asarray(row).reshape(-1).tolist() for row in values]


@each_dataset
def test_pandas(dataset, files):
    pd = pytest.importorskip("pandas", reason=f"pandas is not installed; {INSTALL}")
    for part in PARTS:
        frame = pd.read_parquet(files(dataset, part))
        for name, values in expected_columns(dataset, part).items():
            column = frame[name]
            if isinstance(values, list):
                assert same(column.astype(object), values), name
            elif values.ndim > 1:
                stacked = np.array([_whole(row) for row in column])
                np.testing.assert_array_equal(stacked, values)
            else:
                np.testing.assert_array_equal(column.to_numpy(dtype=values.dtype), values)
            if name.startswith("label_"):
                assert isinstance(column.dtype, pd.CategoricalDtype)


def _whole(row):
    """Return nested arrays of objects, as pandas gives them, as one."""
    return np.array([_whole(one) for one in row]) if row.dtype == object else row


@each_dataset
def test_polars(dataset, files):
    pl = pytest.importorskip("polars", reason=f"polars is not installed; {INSTALL}")
    for part in PARTS:
        frame = pl.read_parquet(files(dataset, part))
        for name, values in expected_columns(dataset, part).items():
            column = frame[name]
            if isinstance(values, list):
                assert column.cast(pl.String).to_list() == values, name
            elif values.ndim > 1:
                assert column.dtype.shape == values.shape[1:]
                np.testing.assert_array_equal(column.to_numpy(), values)
            elif values.dtype.kind == "M":
                np.testing.assert_array_equal(column.dt.epoch("ns").to_numpy(), values.view(np.int64))
            else:
                np.testing.assert_array_equal(column.to_numpy(), values)


@each_dataset
def test_duckdb(dataset, files):
    duckdb = pytest.importorskip("duckdb", reason=f"DuckDB is not installed; {INSTALL}")
    with duckdb.connect() as connection:
        connection.sql("SET TimeZone = 'UTC'")
        for part in PARTS:
            table = connection.sql(f"SELECT * FROM read_parquet('{files(dataset, part)}')").to_arrow_table()
            for name, values in expected_columns(dataset, part).items():
                column = table[name]
                if isinstance(values, list):
                    assert column.to_pylist() == values, name
                elif values.ndim > 1:
                    assert flat(_as_lists(column)) == flat(values), name
                else:
                    found = column.to_numpy()
                    np.testing.assert_array_equal(found.astype(values.dtype), values)


def _as_lists(column):
    return column.to_pylist()


@each_dataset
def test_datasets(dataset, files, home, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason=f"datasets is not installed; {INSTALL}")
    folder = home / "data/export/hf" / dataset
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert list(loaded) == list(PARTS)
    for part in PARTS:
        table, features = loaded[part].with_format("arrow")[:], loaded[part].features  # which are copied each time
        for name, values in expected_columns(dataset, part).items():
            feature = features[name]
            if isinstance(feature, datasets.ClassLabel):
                names = [None if label < 0 else feature.int2str(label) for label in table[name].to_pylist()]
                assert names == values, name
            elif isinstance(values, list):
                assert table[name].to_pylist() == values, name
            elif values.ndim > 1:  # the way of all columns, but it takes minutes for 1,308 of them
                column = loaded[part].select_columns([name]).with_format("numpy")[:][name]
                np.testing.assert_array_equal(np.asarray(column).astype(values.dtype), values)
            else:
                np.testing.assert_array_equal(table[name].to_numpy().astype(values.dtype), values)
    if dataset == "hex":
        assert loaded["train"].features["board"] == datasets.Array3D((2, 13, 13), "uint8")


@each_dataset
def test_the_card_is_one_of_the_hub(dataset, home):
    """huggingface_hub keeps all of it, and `datasets` reads the same types from it as from the files."""
    hub = pytest.importorskip("huggingface_hub", reason=f"huggingface_hub is not installed; {INSTALL}")
    datasets = pytest.importorskip("datasets", reason=f"datasets is not installed; {INSTALL}")
    folder = home / "data/export/hf" / dataset
    card = hub.DatasetCard.load(folder / "README.md")
    assert isinstance(card.data, hub.DatasetCardData)
    written = card.data.to_dict()
    assert written["configs"][0]["data_files"][0] == {"split": "train", "path": "data/train-*"}
    told = datasets.Features._from_yaml_list(written["dataset_info"]["features"])
    schema = pq.read_schema(folder / "data/train-00000-of-00001.parquet")
    in_files = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert told == datasets.Features.from_dict(in_files)
