"""`dvc metrics` and `dvc plots` between two commits, and the committed card, in real clones of this repository."""

import json
import shutil

import numpy as np
import pytest

from tests.helpers.clones import Clone, built_clone, linked_copy_of

pytestmark = pytest.mark.slow

PARTS = ("train", "val", "test")


def figures(clone):
    """Count rows and groups per part and moves of each type from the arrays."""
    found = {"rows": {}, "groups": {}}
    counts = np.zeros(4, int)
    for part in PARTS:
        with np.load(clone.folder / f"data/processed/splendor/keys_{part}.npz") as keys:
            found["rows"][part] = len(keys["group_id"])
            found["groups"][part] = len(set(keys["group_id"].tolist()))
        with np.load(clone.folder / f"data/processed/splendor/labels_{part}.npz") as labels:
            counts += np.bincount(labels["action_type"], minlength=4)
    return {**found, "share": counts.max() / counts.sum()}


def commit(clone, message):
    clone.run("git", "add", "-A")
    clone.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", message)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A clone with a run of all games and one of 200 of them in two commits, and the figures of both runs."""
    clone = linked_copy_of(built_clone(tmp_path_factory)[0], tmp_path_factory.mktemp("grown"))
    clone.run("dvc", "remote", "add", "-d", "store", str(tmp_path_factory.mktemp("remote")))
    cards = (
        clone.run("python", "-m", "stages.report.cards").stdout,
        clone.run("git", "status", "--porcelain", "data").stdout,
    )
    before = figures(clone)
    commit(clone, "all games")
    clone.run("dvc", "push")
    params = (clone.folder / "params.yaml").read_text()
    (clone.folder / "params.yaml").write_text(params.replace("limit: null", "limit: 200"))
    clone.repro()
    commit(clone, "200 games")
    clone.run("dvc", "push")
    return clone, (before, figures(clone)), cards


def assert_metrics(clone, before, after):
    changed = json.loads(clone.run("dvc", "metrics", "diff", "HEAD~1", "--json").stdout)
    size = changed["data/metrics/splendor/size.json"]
    for kind in ("rows", "groups"):
        for part in PARTS:
            old, new = before[kind][part], after[kind][part]
            if old != new:
                assert size[f"{kind}.{part}"] == {"old": old, "new": new, "diff": new - old}
    assert size["units"] == {"old": 240, "new": 200, "diff": -40}
    share = changed["data/metrics/splendor/labels/action_type.json"]["share"]
    assert (share["old"], share["new"]) == pytest.approx((before["share"], after["share"]), abs=1e-6)


def test_metrics_diff_gives_the_figures_of_both_commits(grown):
    """Rows, groups, units and class balance, as counted from the arrays."""
    clone, (before, after), _ = grown
    assert before["rows"]["train"] > after["rows"]["train"] > 0
    assert_metrics(clone, before, after)


def test_metrics_diff_works_in_a_clone_that_pulled(grown, tmp_path):
    """A colleague pulls the last commit only; the figures of the one before come from the remote."""
    clone, (before, after), _ = grown
    clone.run("git", "clone", "-q", str(clone.folder), str(tmp_path / "other"))
    other = Clone(tmp_path / "other")
    other.run("dvc", "pull", "data/metrics/splendor")
    assert_metrics(other, before, after)


def test_plots_diff_gives_the_figures_of_both_commits(grown):
    """Every table is drawn for both, with a colour for each commit."""
    clone, found, _ = grown
    drawn = json.loads(clone.run("dvc", "plots", "diff", "HEAD~1", "HEAD", "--json").stdout)
    assert "errors" not in drawn
    names = {name.removeprefix("data/plots/splendor/") for name in drawn["data"]}
    assert {"parts.csv", "batches.csv", "labels/action_type.csv", "masks/legal_actions.csv"} <= names
    assert len(names) == 10
    content = drawn["data"]["data/plots/splendor/parts.csv"][0]["content"]
    assert content["title"]["text"] == "splendor: train, val and test"
    assert content["encoding"]["color"]["scale"]["domain"] == ["HEAD~1", "HEAD"]
    counts = {(row["rev"], row["kind"], row["part"]): int(row["count"]) for row in content["data"]["values"]}
    for revision, figure in zip(("HEAD~1", "HEAD"), found, strict=True):
        for kind in ("rows", "groups"):
            assert {part: counts[revision, kind, part] for part in PARTS} == figure[kind]


def test_plots_show_works_without_labels_and_masks(grown):
    """The folders of a dataset that has neither are empty, as an output that DVC knows."""
    clone, _, _ = grown
    for name in ("labels", "masks"):
        folder = clone.folder / "data/plots/splendor" / name
        shutil.rmtree(folder)
        folder.mkdir()
    clone.run("dvc", "commit", "--force", "split@splendor")
    drawn = json.loads(clone.run("dvc", "plots", "show", "--json").stdout)
    clone.run("git", "checkout", "dvc.lock")
    clone.run("dvc", "checkout", "--force", "split@splendor")
    assert "errors" not in drawn
    assert set(drawn["data"]) == {"data/plots/splendor/parts.csv", "data/plots/splendor/batches.csv"}


def test_a_fresh_clone_writes_the_committed_card(grown):
    """Every figure of the committed card is that of the data which the committed code and params give."""
    assert grown[2] == ("data/cards/splendor.md\n", "")
