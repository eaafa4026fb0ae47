"""What differs between two versions is told exactly: units, rows, groups, classes and columns of seeded changes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from stages.core.part_files import PARTS
from stages.datasets.splendor import simulate
from stages.differences import rows, words
from stages.differences.compare import compare
from stages.differences.places import DataVersion
from stages.differences.units import GroupChanges, GroupSizes, group_changes, read_groups
from stages.processed import Processed
from tests.helpers.shared import made_once
from tests.helpers.verbs import FROM_RAW

GONE, OTHER_ENDS, NEW = "2_games/7.csv", "3_games/1.csv", 61


def raw_rows(data, field="X"):
    """Return the rows of all parts in raw units, float64."""
    mean, scale = data.fit(field) or (0.0, 1.0)
    stored = np.concatenate([np.load(data.feature_path(field, part)) for part in PARTS]).astype(np.float64)
    return stored.reshape(len(stored), -1) * scale + mean


@pytest.fixture(scope="session")
def changed(finished, run, tmp_path_factory):
    """Give the folder of the 60 games with one removed, one more, and one whose lines end otherwise."""

    def make(folder):
        shutil.copytree(finished / "raw", folder / "raw")
        shutil.copy(finished / "params.yaml", folder)
        more = tmp_path_factory.mktemp("more")
        simulate.write(more, {"games": NEW, "seed": 7})
        (new,) = more.rglob(f"{NEW}.csv")
        shutil.copy(new, folder / "raw" / new.parent.name)
        (folder / "raw" / GONE).unlink()
        path = folder / "raw" / OTHER_ENDS
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
        for verb in FROM_RAW:
            done = run(verb, "splendor", cwd=folder)
            assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "changed", make)


@pytest.fixture(scope="session")
def found(finished, changed):
    return compare(DataVersion("before", finished), DataVersion("after", changed), "splendor")


def test_the_seed_is_what_the_test_thinks(games):
    """The games that are removed and changed are there."""
    assert (games / GONE).is_file()
    assert (games / OTHER_ENDS).is_file()


@pytest.mark.slow
def test_units_are_told_by_name(found):
    """One added, one removed, and one whose bytes changed though its rows did not."""
    (new,) = found.units.added
    assert new.endswith(f"/{NEW}.csv")
    assert (found.units.removed, found.units.changed) == ([GONE], [OTHER_ENDS])
    assert (found.units.before, found.units.after) == (60, 60)


@pytest.mark.slow
def test_rows_and_groups_are_those_of_the_parts(found, finished, changed):
    """By part; a game more, a game less, and none that changed its part or length."""
    for name in ("rows", "groups"):
        both = [Processed(folder / "data/processed/splendor").stats()[name] for folder in (finished, changed)]
        assert getattr(found, name) == {part: (both[0][part], both[1][part]) for part in PARTS}
    assert found.moves == GroupChanges(added=1, removed=1)


@pytest.mark.slow
def test_classes_are_counted_exactly(found, finished, changed):
    """Against the label arrays: rows of each head, and the share of the class that differs most."""
    datas = [Processed(folder / "data/processed/splendor") for folder in (finished, changed)]
    for shift in found.classes:
        names = datas[0].label_classes(shift.head)
        counts = [
            np.bincount(values[values >= 0], minlength=len(names))
            for data in datas
            for values in [np.concatenate([data.labels(part, [shift.head])[shift.head] for part in PARTS])]
        ]
        assert (shift.before, shift.after) == tuple(count.sum() for count in counts)
        shares = [count / count.sum() for count in counts]
        assert abs(shares[1] - shares[0]).max() == pytest.approx(abs(shift.shares[1] - shift.shares[0]))
        assert shift.shares[0] == pytest.approx(shares[0][names.index(shift.what)])


@pytest.mark.slow
def test_columns_have_mean_and_spread_of_all_rows(found, finished, changed):
    """In raw units, though both versions standardise by other means; whoever did not change has no shift."""
    before, after = (raw_rows(Processed(folder / "data/processed/splendor")) for folder in (finished, changed))
    names = Processed(finished / "data/processed/splendor").column_names("X")
    place = [names.index(column.name) for column in found.columns]
    assert sorted(place) == list(range(len(names)))
    for side, values in enumerate((before, after)):
        means = [column.mean[side] for column in found.columns]
        spreads = [column.spread[side] for column in found.columns]
        np.testing.assert_allclose(means, values.mean(axis=0)[place], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(spreads, values.std(axis=0)[place], rtol=1e-3, atol=1e-4)
    same = [i for i, name in enumerate(names) if (np.unique(before[:, i]).size, np.unique(after[:, i]).size) == (1, 1)]
    assert {names[i] for i in same} & {column.name for column in found.changed_columns()} == set()
    assert (found.n_columns, found.n_read, found.large()) == (len(names), None, [])


def test_equal_versions_differ_in_nothing_and_no_array_is_opened(finished, tmp_path):
    """The checksums of stats.json say it: a copy without its arrays is enough."""
    for name in ("data/processed", "data/manifests"):
        shutil.copytree(finished / name, tmp_path / name, ignore=shutil.ignore_patterns("*.npy", "*.npz"))
    found = compare(DataVersion("a", tmp_path), DataVersion("b", finished), "splendor")
    assert found.is_none
    assert words.text(found).count("\n") == 2


def test_groups_that_changed_part_are_named_with_why(finished, run, tmp_path, write_params):
    """Another seed of the split moves games; the numbers are those of a plain count."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    write_params(tmp_path, split="seed: 7")
    assert run("split", "splendor", cwd=tmp_path).returncode == 0
    found = compare(DataVersion("a", finished), DataVersion("b", tmp_path), "splendor")
    where = [
        {group: part for part in PARTS for group in np.unique(data.keys(part)["group_id"]).tolist()}
        for data in (Processed(folder / "data/processed/splendor") for folder in (finished, tmp_path))
    ]
    expected = {}
    for group, part in where[0].items():
        if where[1][group] != part:
            name = f"{part} -> {where[1][group]}"
            expected[name] = expected.get(name, 0) + 1
    assert found.moves.moved == expected != {}
    assert found.settings == {"seed": (42, 7)}
    assert any("groups changed part (the settings of the split differ)" in line for line in found.large())
    assert any("expected none" in line for line in replace(found, settings={}).large())
    assert found.moves.examples[0] in words.text(found)


def test_both_ways_to_store_are_the_same_data(stores):
    """Standardised or as merged: other bytes, and no column that differs."""
    found = compare(*(DataVersion(form, stores[form], alone=True) for form in stores), "toy")
    assert found.changed_columns() == []
    assert {column.field for column in found.columns} == {"X", "grid", "wide"}
    assert (len(found.columns), found.n_columns) == (5 + 6 + 2, 5 + 6 + 2 + 3 * 5 + 2)
    assert {column.psi for column in found.columns} == {0.0}


def test_a_seeded_shift_is_large_and_first(stores, tmp_path):
    """Two cells of a grid grow by their spread; new and lost columns are told by name."""
    form = stores["stored"]
    shutil.copytree(form, tmp_path / "toy")
    for part in PARTS:
        path = tmp_path / "toy" / f"grid_{part}.npy"
        values = np.load(path)
        values[:, 1, 2] = values[:, 1, 2] // 2 + 15_000
        np.save(path, values)
    stats = json.loads((form / "stats.json").read_text())
    for part in PARTS:
        stats["files"][f"grid_{part}.npy"] = stats["files"][f"left_{part}.npy"] = "00000000"
    (tmp_path / "toy/stats.json").write_text(json.dumps(stats))
    names = json.loads((form / "feature_names.json").read_text())
    (tmp_path / "toy/feature_names.json").write_text(json.dumps({**names, "left": ["l", "new"]}))
    found = compare(DataVersion("a", form, alone=True), DataVersion("b", tmp_path / "toy", alone=True), "toy")
    (column,) = found.changed_columns()
    assert (column.field, column.name, column.size) == ("grid", "grid 5", "large")
    assert column.mean[1] == pytest.approx(column.mean[0] / 2 + 15_000, abs=1)
    assert column.spread[1] == pytest.approx(column.spread[0] / 2, rel=1e-3)
    assert column.shift == pytest.approx((column.mean[1] - column.mean[0]) / column.spread[0])
    assert replace(column, spread=(0.0, 1.0)).shift == float("inf")
    assert replace(column, psi=0.0, mean=(0.0, 0.3 * column.spread[0])).size == "moderate"
    assert (found.new_columns, found.lost_columns) == (["new"], ["r"])
    assert found.units.changed is None
    assert f"1 of {found.n_columns:,} columns: grid 5" in found.large()
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["columns"][0]["size"] == "large"


@pytest.mark.slow
def test_of_many_values_a_sample_is_read_and_said(finished, changed, monkeypatch):
    """The rows of a sample, of all parts by the same share; what stats.json says stays exact."""
    monkeypatch.setattr(rows, "MOST_VALUES", 1308 * 1000)
    found = compare(DataVersion("a", finished), DataVersion("b", changed), "splendor")
    assert found.n_read == (pytest.approx(1000, abs=3), pytest.approx(1000, abs=3))
    assert "rows that were read" in words.text(found)
    assert found.moves == GroupChanges(added=1, removed=1)


def test_a_group_that_lies_in_two_parts_moves_when_it_leaves_one():
    """As when a boundary of time goes through a segment; another length is no move."""
    before = GroupSizes(np.array([1, 2, 3], np.uint64), np.array([[5, 5, 0], [4, 0, 0], [1, 0, 0]]))
    after = GroupSizes(np.array([1, 2, 4], np.uint64), np.array([[5, 0, 0], [9, 0, 0], [0, 0, 1]]))
    found = group_changes(before, after)
    assert found == GroupChanges(1, 1, 2, {"train+val -> train": 1}, ["0000000000000001"])


def test_groups_are_read_in_pieces(finished, monkeypatch):
    """A piece of the keys at a time gives what all at once give."""
    data = Processed(finished / "data/processed/splendor")
    whole = read_groups(data)
    monkeypatch.setattr("stages.differences.units.CHUNK_ROWS", 37)
    pieces = read_groups(data)
    assert np.array_equal(whole.ids, pieces.ids)
    assert np.array_equal(whole.rows, pieces.rows)
    assert whole.rows.sum(axis=0).tolist() == list(data.stats()["rows"].values())
