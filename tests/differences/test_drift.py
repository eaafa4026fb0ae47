"""Drift of val and test: what is planted is found, chance is not, however many columns and however rows depend."""

from pathlib import Path

import numpy as np
import pytest

from stages.core import bits
from stages.core.part_files import PARTS
from stages.differences import chance, rows
from stages.differences.drift import read_drift
from stages.processed import Processed
from tests.helpers.drift_parts import grouped, write_parts


def drifted(folder):
    return {drift.part: [one.name for one in drift.drifted()] for drift in read_drift(Processed(folder))}


def test_a_planted_shift_in_one_feature_is_found_and_nothing_else(tmp_path):
    """A shift by twice the spread of the groups, in val alone, among 30 columns; with its means and a large index."""
    values, groups = grouped(np.random.default_rng(3))
    values["val"][:, 7] += 2
    drift, other = read_drift(Processed(write_parts(tmp_path / "p", {"X": values}, groups)))
    (found,) = drift.drifted()
    assert (found.name, found.kind, found.size) == ("X 7", "feature", "large")
    assert found.part[0] - found.train[0] == pytest.approx(2, abs=0.6)
    assert found.train == pytest.approx((values["train"][:, 7].mean(), values["train"][:, 7].std()), rel=1e-4)
    assert other.drifted() == []


def test_another_spread_alone_is_found(tmp_path):
    """The mean of each group stays where it was."""
    rng = np.random.default_rng(4)
    values, groups = grouped(rng)
    for part, spread in zip(PARTS, (1, 1, 3), strict=True):
        own = rng.normal(0, spread, len(groups[part]))
        for group in np.unique(groups[part]):
            own[groups[part] == group] -= own[groups[part] == group].mean()
        values[part][:, 2] = own
    assert drifted(write_parts(tmp_path / "p", {"X": values}, groups)) == {"val": [], "test": ["X 2"]}


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 16), marks=pytest.mark.slow)], ids=["few", "many"])
def test_nothing_is_reported_on_shuffled_parts(tmp_path, seeds):
    """Of 30 columns, whose rows depend on their groups: as if each row were new, most would drift."""
    n_found = 0
    for seed in seeds:
        values, groups = grouped(np.random.default_rng(seed))
        n_found += sum(map(len, drifted(write_parts(tmp_path / str(seed), {"X": values}, groups)).values()))
    assert n_found == 0


@pytest.mark.parametrize("dataset", ["splendor", pytest.param("hex", marks=pytest.mark.slow)])
def test_nothing_is_reported_on_the_parts_of_a_sample(dataset, arrays_of, finished):
    """Their groups are dealt by a hash, of hundreds of columns."""
    folder = finished / "data/processed/splendor" if dataset == "splendor" else arrays_of(dataset)
    drifts = read_drift(Processed(folder))
    assert [drift.drifted() for drift in drifts] == [[], []]


def test_a_planted_shift_in_a_real_feature_is_found(finished, tmp_path):
    """In splendor, of 1,308 columns and five or six groups a part: gems that each game of test has more."""
    folder = tmp_path / "p"
    folder.mkdir()
    source = finished / "data/processed/splendor"
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    name = "gems_board_gold"
    place = Processed(source).column_names("X").index(name)
    moved = np.load(source / "X_test.npy")
    moved[:, place] += 20
    (folder / "X_test.npy").unlink()
    np.save(folder / "X_test.npy", moved)
    assert drifted(folder) == {"val": [], "test": [name]}


def test_a_label_that_drifts_says_which_class(tmp_path):
    """The share of its class in both parts, of the rows to which the head applies."""
    rng = np.random.default_rng(5)
    values, groups = grouped(rng)
    shares = {"train": [0.2, 0.4, 0.4], "val": [0.2, 0.4, 0.4], "test": [0.8, 0.1, 0.1]}
    labels = {part: rng.choice(3, len(groups[part]), p=shares[part]) for part in PARTS}
    labels["train"][:100] = -1
    val, test = read_drift(Processed(write_parts(tmp_path / "p", {"X": values}, groups, labels)))
    assert val.drifted() == []
    (found,) = test.drifted()
    of_train = labels["train"][100:] == 0
    assert (found.kind, found.name, found.what) == ("label", "kind", "a")
    assert (found.train, found.part) == (
        (pytest.approx(of_train.mean()),),
        (pytest.approx((labels["test"] == 0).mean()),),
    )


def test_with_too_few_groups_nothing_is_told(tmp_path):
    """Two games of val differ from the others in all that games differ in; that is said, and no drift."""
    values, groups = grouped(np.random.default_rng(6), n_groups=(16, 2, 8))
    values["val"] += 100
    val, test = read_drift(Processed(write_parts(tmp_path / "p", {"X": values}, groups)))
    assert (val.can_tell, val.drifted(), val.n_groups) == (False, [], (16, 2))
    assert (test.can_tell, test.drifted()) == (True, [])
    assert val.found[0].psi > 1


def test_bits_are_columns_of_their_own(tmp_path):
    """A cell of a board that is never set in val."""
    rng, shape = np.random.default_rng(7), (2, 3, 4)
    values, groups = grouped(rng)
    boards = {part: rng.integers(0, 2, (len(groups[part]), *shape)).astype(np.uint8) for part in PARTS}
    boards["val"][:, 1, 0, 2] = 0
    packed = {part: bits.pack(board) for part, board in boards.items()}
    folder = write_parts(tmp_path / "p", {"X": values, "board": packed}, groups)
    (folder / "packed.json").write_text('{"board": [2, 3, 4]}')
    assert drifted(folder) == {"val": ["board[1,0,2]"], "test": []}


def test_a_bounded_number_of_rows_is_read(tmp_path, monkeypatch):
    """Of more values than the bound a sample of all groups stands for them, and still tells a shift."""
    monkeypatch.setattr(rows, "MOST_VALUES", 60_000)
    values, groups = grouped(np.random.default_rng(8))
    values["val"][:, 1] += 2
    val, _ = read_drift(Processed(write_parts(tmp_path / "p", {"X": values}, groups)))
    n_all = sum(map(len, groups.values()))
    assert val.n_all == (len(groups["train"]), len(groups["val"]))
    assert val.n_rows == tuple(pytest.approx(n * 2000 / n_all, abs=1) for n in val.n_all)
    assert [one.name for one in val.drifted()] == ["X 1"]


def test_columns_that_two_features_share_have_the_name_of_theirs(tmp_path):
    """A column ``mean`` of each of two features, say."""
    values, groups = grouped(np.random.default_rng(9), n_columns=2)
    folder = write_parts(tmp_path / "p", {"A": values, "B": values}, groups)
    (folder / "feature_names.json").write_text('{"A": ["x", "y"], "B": ["x", "z"]}')
    found = {one.name for one in read_drift(Processed(folder))[0].found}
    assert found == {"A x", "y", "B x", "z"}


def test_rows_that_are_not_valid_do_not_count(stores):
    """Standardised they are 0, as merged NaN: both forms of the same data say the same."""
    found = [
        [(one.name, one.chance, *one.train) for one in read_drift(Processed(stores[form]))[0].found] for form in stores
    ]
    for one, other in zip(*map(sorted, found), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], rel=1e-4, abs=1e-5, nan_ok=True)
        assert np.isfinite(one[2:]).all()
    data = Processed(stores["float32"])
    is_valid = data.keys("train", ["valid_wide"])["valid_wide"] == 1
    expected = np.load(stores["float32"] / "wide_train.npy")[is_valid, 0].std() * data.fit("wide")[1][0]
    assert next(one[3] for one in found[0] if one[0] == "v") == pytest.approx(expected, rel=1e-5)


def test_the_largest_of_many_columns_is_what_has_to_be_beaten():
    """Of 30 null tests with 300 columns each hardly one reports any; single columns at that level would all."""
    rng = np.random.default_rng(10)
    is_second = np.repeat([False, True], [60, 12])
    n_reported = 0
    for _ in range(30):
        deals = chance.Deals(is_second)
        sizes = rng.integers(20, 60, 72)
        values = (rng.normal(0, 1, (72, 300)) + 3) * sizes[:, None]
        n_reported += bool((deals.chance(deals.add(values, sizes)) <= chance.LEVEL).any())
    assert n_reported <= 1


def test_clusters_are_whole_groups():
    """Each has as many groups as the others, or one more; few enough for all parts together."""
    groups = np.random.default_rng(11).permutation(np.repeat(np.arange(1000), 3))
    each = chance.groups_each([1000, 120], 400)
    cluster, n_groups = chance.clusters(groups, each)
    assert (n_groups, each) == (1000, 3)
    own = {group: set(cluster[groups == group].tolist()) for group in range(1000)}
    assert all(len(places) == 1 for places in own.values())
    sizes = np.bincount([next(iter(places)) for places in own.values()])
    assert set(sizes.tolist()) <= {3, 4}
    assert len(sizes) <= 400


def test_parts_without_rows_are_left_out(tmp_path):
    """A sample too small to have a val part."""
    values, groups = grouped(np.random.default_rng(12))
    values["val"], groups["val"] = values["val"][:0], groups["val"][:0]
    assert list(drifted(write_parts(Path(tmp_path, "p"), {"X": values}, groups))) == ["test"]
