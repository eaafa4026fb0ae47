"""One dataset that grows, shrinks, changes and is slimmed, under real git and DVC."""

import shutil
import sys

import pytest

from tests.helpers.clones import Clone, built_clone, in_order_of_a_first_run, recorded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A clone of one dataset in which one bare `dvc repro` ran."""
    return built_clone(tmp_path_factory)[0]


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of the finished clone that a test may change."""
    folder = tmp_path / "clone"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Clone(folder)


def own_games(clone, count):
    """Point the dataset at a raw folder of its own with some of the sample's games; return the others."""
    params = (clone.folder / "params.yaml").read_text()
    assert "raw: data/sample/splendor" in params
    (clone.folder / "params.yaml").write_text(params.replace("raw: data/sample/splendor", "raw: data/games"))
    games = sorted((clone.folder / "data/sample/splendor").rglob("*.csv"))
    for game in games:
        target = clone.folder / "data/games" / game.parent.name
        target.mkdir(parents=True, exist_ok=True)
        if count > 0:
            shutil.copy(game, target)
            count -= 1
    return [game for game in games if not (clone.folder / "data/games" / game.parent.name / game.name).exists()]


def test_one_bare_repro_is_enough_when_the_list_of_batches_grows_and_shrinks(clone):
    others = own_games(clone, 150)
    before = set(clone.batches())
    shrunk = clone.repro()
    after = clone.batches()
    assert set(after) != before
    assert [name for name in shrunk if "process" not in name] == clone.expected_run()
    assert clone.repro() == []
    for game in others:
        shutil.copy(game, clone.folder / "data/games" / game.parent.name)
    grown = clone.repro()
    assert set(clone.batches()) == before
    assert grown == ["discover@splendor", "expand@splendor", "merge@splendor"]
    assert sorted(path.stem for path in (clone.folder / "data/intermediate/splendor").iterdir()) == sorted(before)
    assert clone.repro() == []


def test_a_grown_dataset_has_the_arrays_of_one_built_at_once(clone, finished):
    others = own_games(clone, 150)
    clone.repro()
    for game in others:
        shutil.copy(game, clone.folder / "data/games" / game.parent.name)
    clone.repro()
    assert clone.arrays() == finished.arrays()


def test_a_list_that_was_brought_up_to_date_by_hand_leaves_no_trace_in_the_order_of_dvc_lock(clone):
    """DVC then has the new batches in its plan and puts their entries behind those of merge and split."""
    others = own_games(clone, 150)
    clone.repro()
    before = set(clone.batches())
    for game in others:
        shutil.copy(game, clone.folder / "data/games" / game.parent.name)
    clone.run(sys.executable, "-m", "stages.discover", "splendor")
    clone.repro()
    assert set(clone.batches()) - before
    assert recorded(clone) == in_order_of_a_first_run(clone)


def test_a_changed_game_runs_its_batch_alone(clone):
    own_games(clone, 240)
    clone.repro()
    game = clone.folder / "data/games/2_games/2.csv"
    rows = game.read_text().splitlines(keepends=True)
    game.write_text("".join(rows[:-2]))
    manifests = (clone.folder / "data/manifests/splendor/batches").glob("*.json")
    batch = next(path.stem for path in manifests if '"2_games/2.csv"' in path.read_text())
    ran = clone.repro()
    assert ran == ["discover@splendor", f"process@splendor-{batch}", "merge@splendor", "split@splendor"]


def test_slim_drops_arrays_and_a_later_repro_runs_nothing(clone, finished):
    clone.run(sys.executable, "-m", "stages.commands.slim")
    assert not (clone.folder / "data/intermediate/splendor").exists()
    assert not (clone.folder / "data/merged/splendor").exists()
    assert clone.repro() == []
    assert clone.arrays() == finished.arrays()


def test_slim_keeps_arrays_that_dvc_does_not_hold(clone):
    path = clone.folder / "data/merged/splendor/game_id.npy"
    path.unlink()
    path.write_bytes(b"something else")
    done = clone.run(sys.executable, "-m", "stages.commands.slim", check=False)
    assert done.returncode == 1
    assert f"kept {path.relative_to(clone.folder)}, which DVC's cache does not hold" in done.stderr
    assert [each.name for each in path.parent.iterdir()] == [path.name]
