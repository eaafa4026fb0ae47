"""An export has every value of every part, in its shape and under its name, and the same bytes each time."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from stages.core.errors import ExpectedError
from stages.core.part_files import PARTS
from stages.export import command, shards
from stages.export.command import ExportSettings, export, settings
from tests.helpers.looking import link_arrays, names_of_features, part_arrays
from tests.helpers.places import REPOSITORY, SHIPPED
from tests.helpers.small_sample import small_sample

WINDOWS = {"market": "strategic", "rugs": "observation"}
TIMES = ("market", "rugs")


@pytest.fixture(scope="module")
def home(nursery, tmp_path_factory):
    """Folder with small arrays of all datasets, to export into."""
    folder = tmp_path_factory.mktemp("exports")
    link_arrays(small_sample(tmp_path_factory, nursery), folder)
    return folder


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def processed(dataset):
    return command.EXPORT_DIR.parents[0] / "processed" / dataset


def expected_columns(dataset, part):  # noqa: C901  a line for each kind of column
    """Return what each column of an export says: arrays of the row's shape, labels and keys as their names."""
    known, names = part_arrays(processed(dataset), part), names_of_features(processed(dataset))
    classes = {
        head: [*found] for head, found in json.loads((processed(dataset) / "label_mappings.json").read_text()).items()
    }
    found = {}
    all_names = [name for own in names.values() for name in own] + list(known)
    for field, values in known.items():
        if field in names and values.ndim == 2:
            own = [name if all_names.count(name) == 1 else f"{field}.{name}" for name in names[field]]
            found |= dict(zip(own, values.T, strict=True))
        elif field.startswith("label_"):
            own = classes[field.removeprefix("label_")]
            found[field] = [None if label < 0 else own[label] for label in values.tolist()]
        elif field.startswith("mask_"):
            found[field] = values == 1
        elif field == "unit":
            found[field] = known["units"][values].tolist()
        elif values.dtype.kind == "S":
            found[field] = [value.decode() for value in values.tolist()]
        elif field == "time" and dataset in TIMES:
            found[field] = values.view("datetime64[ns]")
        elif field != "units":
            found[field] = values
    return found


def same(column, expected):
    """Say whether a column as NumPy has it is what is expected."""
    if isinstance(expected, list):
        return [None if value is None or value != value else value for value in column] == expected
    values = np.stack([np.array(row.tolist()) for row in column]) if column.dtype == object else column
    return np.array_equal(values, expected, equal_nan=expected.dtype.kind == "f")


def arrow_column(column):
    """Return a column of Arrow as NumPy has it: lists in their shape, names and texts as objects."""
    column = column.combine_chunks()
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        return column.to_pylist()
    if pa.types.is_timestamp(column.type):
        return column.to_numpy(zero_copy_only=False).astype("datetime64[ns]")
    shape = []
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False).reshape(-1, *shape)


@pytest.mark.parametrize("dataset", SHIPPED)
def test_every_value_and_shape_is_that_of_the_part(dataset, at_home):
    folder = export(dataset)
    for part in PARTS:
        table = pq.read_table(folder / f"{part}-00000-of-00001.parquet")
        expected = expected_columns(dataset, part)
        assert sorted(table.column_names) == sorted(expected)
        for name, values in expected.items():
            assert same(arrow_column(table[name]), values), name


def test_a_board_is_one_and_labels_keep_all_their_classes(at_home):
    schema = pq.read_schema(export("hex") / "train-00000-of-00001.parquet")
    board = schema.field("board").type
    assert (board.list_size, board.value_type.list_size, board.value_type.value_type.list_size) == (2, 13, 13)
    value = pq.read_table(export("hex") / "val-00000-of-00001.parquet")["label_policy"].combine_chunks()
    assert value.dictionary.to_pylist() == [f"{'abcdefghijklm'[i % 13]}{i // 13 + 1}" for i in range(169)]


def test_the_same_arrays_give_the_same_bytes(at_home, snapshot):
    for form in ("parquet", "hf"):
        given = ExportSettings(form)
        first = snapshot(export("rugs", given))
        assert snapshot(export("rugs", given)) == first
        assert len(first) == (3 if form == "parquet" else 4)


@pytest.mark.parametrize("dataset", sorted(WINDOWS))
def test_windows_are_rows_with_the_columns_of_their_last_row(dataset, at_home):
    field = WINDOWS[dataset]
    folder = export(dataset, ExportSettings(window=field))
    table = pq.read_table(folder / "train-00000-of-00001.parquet")
    starts = np.load(processed(dataset) / f"starts_{field}_train.npy")
    known = part_arrays(processed(dataset), "train")
    size = json.loads((processed(dataset) / "stats.json").read_text())["windows"][field]["window"]
    np.testing.assert_array_equal(table["first_row"], starts)
    rows = starts[:, None] + np.arange(size)
    np.testing.assert_array_equal(arrow_column(table[field]), known[field][rows])
    np.testing.assert_array_equal(table["group_id"], known["group_id"][rows[:, -1]])


def test_raw_values_are_those_of_a_frame(at_home):
    stages = pytest.importorskip("stages")
    pytest.importorskip("pandas", reason="pandas is not installed; `pip install -e '.[look]'` does it")
    folder = export("splendor", ExportSettings(standardised=False))
    table = pq.read_table(folder / "val-00000-of-00001.parquet")
    frame = stages.frame("splendor", "val", columns=["features"])
    for name in frame.columns:
        np.testing.assert_array_equal(table[name], frame[name])
    assert (frame.to_numpy() == np.rint(frame.to_numpy())).all()


def test_files_are_of_at_most_the_size_that_is_asked_for(at_home, monkeypatch):
    """Rows are in their order, none is lost, and a row group is smaller than a file."""
    monkeypatch.setattr(shards, "GROUP_BYTES", 50_000)
    folder = export("market", ExportSettings(shard_bytes=300_000))
    files = sorted(folder.glob("train-*.parquet"))
    assert len(files) > 1
    assert [file.name for file in files] == [f"train-{i:05}-of-{len(files):05}.parquet" for i in range(len(files))]
    assert all(file.stat().st_size < 300_000 for file in files)
    assert pq.ParquetFile(files[0]).num_row_groups > 1
    closes = np.concatenate([pq.read_table(file)["close"].to_numpy() for file in files])
    np.testing.assert_array_equal(closes, part_arrays(processed("market"), "train")["close"])


def test_the_card_says_types_files_and_rows(at_home):
    text = (export("hex", ExportSettings("hf")) / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    features = {entry["name"]: entry for entry in front["dataset_info"]["features"]}
    assert features["board"]["dtype"] == {"array3_d": {"shape": [2, 13, 13], "dtype": "uint8"}}
    assert features["label_value"]["dtype"] == {"class_label": {"names": {"0": "blue", "1": "red"}}}
    [config] = front["configs"]
    assert [entry["split"] for entry in config["data_files"]] == list(PARTS)
    rows = json.loads((processed("hex") / "stats.json").read_text())["rows"]
    assert {entry["name"]: entry["num_examples"] for entry in front["dataset_info"]["splits"]} == rows
    assert "pretty_name" in front
    assert "## Considerations" in text
    assert "data/processed" not in text[text.index("## How to load") :]


def test_without_merged_arrays_the_committed_card_is_taken_and_that_is_said(at_home, caplog):
    (at_home / "data/merged").rename(at_home / "data/away")
    (at_home / "data/cards").mkdir()
    try:
        with pytest.raises(ExpectedError, match=r"fields.json: not found"):
            export("rugs", ExportSettings("hf"))
        (at_home / "data/cards/rugs.md").write_text("---\nlicense: mit\n---\n\n# Committed\n")
        text = (export("rugs", ExportSettings("hf")) / "README.md").read_text()
    finally:
        (at_home / "data/away").rename(at_home / "data/merged")
    assert "# Committed\n\n## How to load" in text
    assert "data/cards/rugs.md is the card of the export" in caplog.text


@pytest.mark.slow
def test_the_command_exports_all_datasets_and_says_where(run, at_home):
    done = run("export", "", "hf", cwd=at_home)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^data/export/hf/(\w+)/  4 files, [\d.]+ MB$", done.stdout, re.MULTILINE) == sorted(SHIPPED)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xml", "", "", ""), "FORMAT is 'xml', expected one of parquet, hf"),
        (("", "row", "", ""), "VALUES is 'row', expected one of standardised, raw"),
        (("", "", "", "0"), "SHARD_MB is '0', expected a whole number from 1"),
    ],
)
def test_words_that_mean_nothing_are_told(words, said):
    with pytest.raises(ExpectedError, match=said):
        settings(*words)


def test_windows_that_are_not_there_are_told_and_leave_no_folder(at_home):
    with pytest.raises(ExpectedError, match=r"no windows of 'strateg', expected one of: strategic, tactical"):
        export("market", ExportSettings(window="strateg"))
    assert not (command.EXPORT_DIR / "parquet/market-strateg").exists()


PEAK = r"""
import re, sys
from pathlib import Path
from stages.export.command import ExportSettings, export
export("big", ExportSettings(sys.argv[1]))
print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_part(at_home, tmp_path, monkeypatch):
    """Of 300 MB of rows with 1,308 columns."""
    source, folder = processed("splendor").resolve(), tmp_path / "data/processed/big"
    folder.mkdir(parents=True)
    n_copies = -(-300_000_000 // (source / "X_train.npy").stat().st_size)
    for path in source.iterdir():
        if not path.stem.endswith("_train"):
            (folder / path.name).symlink_to(path)
    _repeat(source, folder, n_copies)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert float(done.stdout) < 300, done.stdout
    exported = pq.ParquetFile(tmp_path / "data/export/parquet/big/train-00000-of-00001.parquet")
    assert exported.metadata.num_columns > 1308


def _repeat(source, folder, n_copies):
    """Write a part many times over."""
    rows = np.load(source / "X_train.npy", mmap_mode="r")
    repeated = np.lib.format.open_memmap(
        folder / "X_train.npy", "w+", rows.dtype, (n_copies * len(rows), rows.shape[1])
    )
    for i in range(n_copies):
        repeated[i * len(rows) : (i + 1) * len(rows)] = rows
    del repeated
    for role in ("labels", "masks", "keys"):
        with np.load(source / f"{role}_train.npz") as members:
            np.savez(
                folder / f"{role}_train.npz",
                **{
                    name: members[name] if name == "units" else np.concatenate([members[name]] * n_copies)
                    for name in members
                },
            )
