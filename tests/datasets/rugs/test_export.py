"""Exports hold what the merged arrays hold, value for value."""

import numpy as np
import pytest

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.datasets.rugs.training import export
from stages.datasets.rugs.training.transitions import Transitions, of_merged
from stages.merge import merge
from tests.helpers.rugs_steps import make_steps, write_batches

LENGTHS = [4, 1, 2, 9, 1, 12, 3, 2, 5, 6, 7, 2, 3, 8]  # more than ten, so that 10 comes after 9 and not after 1


@pytest.fixture
def minari():
    for name in ("h5py", "PIL"):
        pytest.importorskip(name, reason="needs the extra [rl]")
    return pytest.importorskip("minari", reason="needs the extra [rl]")


def test_d4rl_arrays_are_the_transitions():
    """Next observations come with them, since a shift by a row would cross episodes."""
    steps, offsets = make_steps([3, 1, 2])
    found = export.to_d4rl(Transitions(steps, offsets))
    rows = np.array([0, 1, 4])
    expected = {
        "observations": steps["observation"][rows],
        "actions": steps["label_action"][rows].astype(np.int64),
        "rewards": steps["reward"][rows],
        "terminals": np.array([False, True, True]),
        "timeouts": np.array([False, False, False]),
        "next_observations": steps["observation"][rows + 1],
        "refused": steps["refused"][rows].astype(bool),
    }
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].tolist()) == (array.dtype, array.tolist())
    truncated = export.to_d4rl(Transitions(*make_steps([1, 3])))
    assert truncated["timeouts"].tolist() == [False, True]
    assert truncated["terminals"].tolist() == [False, False]


def assert_same(loaded, dataset):
    """Compare a loaded Minari dataset with the steps, episode by episode."""
    import gymnasium

    assert loaded.observation_space == gymnasium.spaces.Box(-np.inf, np.inf, (36,), np.float32)
    assert loaded.action_space == gymnasium.spaces.Discrete(4)
    steps = dataset.steps
    spans = [span for span in zip(dataset.starts, dataset.stops, strict=True) if span[1] - span[0] > 1]
    assert (loaded.total_episodes, loaded.total_steps) == (len(spans), sum(stop - start - 1 for start, stop in spans))
    for episode, (start, stop) in zip(loaded.iterate_episodes(), spans, strict=True):
        acted = slice(start, stop - 1)
        for found, expected in (
            (episode.observations, steps["observation"][start:stop]),
            (episode.actions, steps["label_action"][acted].astype(np.int64)),
            (episode.rewards, steps["reward"][acted]),
            (episode.terminations, steps["terminated"][acted].astype(bool)),
            (episode.truncations, steps["truncated"][acted].astype(bool)),
        ):
            assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
        for name in ("tick", "player_known", "refused", "mask_action"):
            assert episode.infos[name].tolist() == steps[name][start:stop].tolist()


def test_a_minari_dataset_loads_back_value_for_value(minari, tmp_path, monkeypatch):
    """With all steps, also those that hold_keep leaves out; and it says what it is."""
    dataset = Transitions(*make_steps(LENGTHS, hold_keep=0.5))
    about = export.About("A. Author", "a@example.org", "https://example.org/code/1")
    folder = export.to_minari(dataset, tmp_path / "exports", about=about)
    assert folder == tmp_path / "exports" / "rugs" / "pipeline-d-v0"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "exports"))
    loaded = minari.load_dataset("rugs/pipeline-d-v0")
    assert_same(loaded, dataset)
    said = loaded.storage.metadata
    assert (said["author"], said["author_email"]) == ({"A. Author"}, {"a@example.org"})
    assert said["code_permalink"] == "https://example.org/code/1"
    assert "0 HOLD, 1 BUY, 2 SELL, 3 SIDEBET" in said["description"]
    assert "rugs" in minari.list_local_datasets()["rugs/pipeline-d-v0"]["dataset_id"]
    with pytest.raises(ExpectedError, match="there already, expected no such dataset; remove it"):
        export.to_minari(dataset, tmp_path / "exports")


def test_a_failed_export_leaves_no_dataset(minari, tmp_path, monkeypatch):
    """It would be taken for a whole one."""
    steps, offsets = make_steps([4, 5])
    dataset = Transitions(steps, offsets)
    del steps["tick"]
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    with pytest.raises(KeyError, match="tick"):
        export.to_minari(dataset, tmp_path)
    assert not (tmp_path / "rugs" / "pipeline-d-v0").exists()
    assert "MINARI_DATASETS_PATH" not in export.os.environ


@pytest.fixture
def merged(here):
    """Merge 60 episodes, with params.yaml."""
    write_batches(*make_steps(np.random.default_rng(5).integers(1, 20, 60)))
    (here / "params.yaml").write_text("datasets:\n  rugs: {raw: raw}\nsplit: {train: 0.5, val: 0.25, test: 0.25}\n")
    merge("rugs", 0)
    return here


def test_the_command_exports_one_part_raw(minari, merged, run, monkeypatch):
    """The episodes that split puts into the part, as they are in the merged arrays."""
    result = run("datasets.rugs.training.export", "test", "exports", "--author", "A. Author", cwd=merged)
    assert result.returncode == 0, result.stderr
    dataset = of_merged(paths.merged_dir("rugs"), load().split_of("rugs"), "test")
    assert 0 < len(dataset.starts) < 30
    assert result.stderr.endswith(f"pipeline-d-test-v0: {len(dataset.starts)} episodes, {len(dataset)} transitions\n")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(merged / "exports"))
    assert_same(minari.load_dataset("rugs/pipeline-d-test-v0"), dataset)


def test_the_command_writes_flat_arrays_without_the_extra(merged, run):
    """They need NumPy alone."""
    result = run("datasets.rugs.training.export", "all", "exports", "--format", "d4rl", cwd=merged)
    assert result.returncode == 0, result.stderr
    expected = export.to_d4rl(of_merged(paths.merged_dir("rugs"), load().split_of("rugs")))
    with np.load(merged / "exports" / "rugs-all.npz") as found:
        assert {name: found[name].tobytes() for name in found} == {n: a.tobytes() for n, a in expected.items()}


def test_a_missing_package_is_named_with_the_extra(monkeypatch, tmp_path):
    """Before anything is written."""
    monkeypatch.setattr(export, "PACKAGES", ("no_such_package",))
    with pytest.raises(ExpectedError, match=r"no package 'no_such_package', expected the extra rl; pip install"):
        export.to_minari(Transitions(*make_steps([3])), tmp_path / "exports")
    assert not (tmp_path / "exports").exists()
