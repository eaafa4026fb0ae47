"""``store: stored``: features as merged beside the normaliser, everything else as with float32."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stages import split
from stages.core import paths
from stages.core.part_files import PARTS
from stages.datasets.market import report as market_report
from stages.report import columns
from stages.splitting import parts
from tests.helpers.merged_fields import write_fields
from tests.helpers.stores import PARAMS, WITH_STANDARD, split_both, write_merged


@pytest.fixture
def merged(here):
    write_merged()
    return paths.merged_dir("toy")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("shuffle", [False, True])
def test_only_the_standardised_features_and_the_counts_differ(merged, shuffle):
    params = replace(PARAMS, shuffle=shuffle, windows={} if shuffle else PARAMS.windows)
    found = {store: files(folder) for store, folder in split_both(params=params).items()}
    assert found["float32"].keys() == found["stored"].keys()
    changed = {name for name in found["stored"] if found["stored"][name] != found["float32"][name]}
    assert changed == {"stats.json", *(f"{name}_{part}.npy" for name in WITH_STANDARD for part in PARTS)}
    stats = {store: json.loads(content["stats.json"]) for store, content in found.items()}
    assert stats["stored"].pop("stored") == {
        "X": {"dtype": "int8", "shape": [5], "first": 0},
        "grid": {"dtype": "int16", "shape": [2, 3], "first": 5},
        "wide": {"dtype": "float64", "shape": [2], "first": 11},
    }
    for content in stats.values():
        content.pop("files")
    assert stats["stored"] == stats["float32"]


def test_rows_are_those_of_merged_and_zero_where_not_valid(merged):
    folder = split_both()["stored"]
    with np.load(merged / "groups.npz") as groups:
        row_part = np.repeat(parts.assign(groups["group_id"], PARAMS), np.diff(groups["group_offsets"]))
    for name in (*WITH_STANDARD, "left", "board"):
        values = np.load(merged / f"{name}.npy")
        if name in ("X", "wide"):
            values[np.load(merged / f"valid_{name}.npy") == 0] = 0
        for number, part in enumerate(PARTS):
            found = np.load(folder / f"{name}_{part}.npy")
            assert found.dtype == values.dtype
            np.testing.assert_array_equal(found, values[row_part == number])


def test_the_report_says_the_same_of_both(merged):
    """Ranges, means and constant columns; the market's histograms of a feature of which not all rows are valid."""
    found = split_both()
    assert columns.read_columns(found["stored"]) == columns.read_columns(found["float32"])
    assert {column.kind for column in columns.read_columns(found["stored"])} == {"constant", "varies"}
    counts = [market_report.count(folder, "X") for folder in found.values()]
    np.testing.assert_array_equal(*counts)
    assert counts[0].sum() > 0


def test_metrics_and_plots_are_the_same(here, merged, snapshot):
    split.split("toy", PARAMS)
    before = [snapshot(path) for path in (paths.metrics_dir("toy"), paths.plots_dir("toy"))]
    split.split("toy", replace(PARAMS, store="stored"))
    assert [snapshot(path) for path in (paths.metrics_dir("toy"), paths.plots_dir("toy"))] == before
    assert all(before)


def test_without_a_standardised_feature_nothing_is_left_to_a_reader(here):
    """And so nothing is said of it, and no byte differs."""
    write_merged()
    path = paths.merged_dir("toy") / "fields.json"
    entries = [entry | {"normalise": None} for entry in json.loads(path.read_text())]
    write_fields(path.parent, entries)
    params = replace(PARAMS, windows={})
    values = np.load(path.parent / "wide.npy")
    assert np.isnan(values).any()
    found = [files(folder) for folder in split_both(params=params).values()]
    assert found[0] == found[1]
