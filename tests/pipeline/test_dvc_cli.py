"""DVC without the lines that mean nothing here, and what discover tells once and not twice."""

import logging
import shutil
from pathlib import Path

import pytest

from stages.commands import preprocess
from stages.core.params import DatasetParams, Params

PIPELINE = """
stages:
  draw:
    cmd: mkdir data/plots/masks data/other; echo a line that the stage says
    outs:
      - data/plots/masks
      - data/other
"""


def test_an_empty_folder_of_plots_and_the_hint_at_a_push_are_not_told(here, nursery, dvc):
    (here / "data/plots").mkdir(parents=True)
    (here / "dvc.yaml").write_text(PIPELINE)
    dvc("init", "--no-scm", "--quiet")
    done = nursery("stages.pipeline.dvc_cli", "repro", cwd=here, DVC_NO_ANALYTICS="1")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "a line that the stage says" in text
    assert "Running stage 'draw'" in text
    assert "'data/other' is empty" in text  # nobody said that this one may be
    assert "masks' is empty" not in text
    assert "dvc push" not in text


def test_its_failures_are_those_of_dvc(here, nursery, dvc):
    (here / "dvc.yaml").write_text("stages: {fails: {cmd: exit 3}}\n")
    dvc("init", "--no-scm", "--quiet")
    done = nursery("stages.pipeline.dvc_cli", "repro", cwd=here, DVC_NO_ANALYTICS="1")
    assert done.returncode == 255
    assert "failed to run: exit 3" in done.stderr


@pytest.mark.parametrize(("entry", "raw", "is_told"), [({"defects": True}, "sample", True), ({}, "sample", False)])
def test_a_sample_with_defects_on_purpose_is_named(entry, raw, is_told):
    params = Params({"toy": DatasetParams(f"data/{raw}/toy")}, simulate={"toy": entry})
    lines = preprocess.planted(params, "toy")
    assert [line.startswith("toy: its sample holds what goes wrong") for line in lines] == [True] * is_told


def test_units_that_are_left_out_are_named_with_their_reasons(monkeypatch):
    bad = [{"unit": f"u{number}", "reason": f"u{number}.csv:3: torn"} for number in range(22)]
    monkeypatch.setattr(preprocess, "read_report", lambda dataset: {"bad_units": {"count": 22, "list": bad}})
    lines = preprocess.left_out("toy")
    assert lines[0] == "toy: 22 units are left out, see data/reports/toy.json:\n"
    assert lines[1:3] == ["  u0: u0.csv:3: torn\n", "  u1: u1.csv:3: torn\n"]
    assert lines[-1] == "  and 2 more\n"
    assert len(lines) == 22


def test_a_run_brings_the_data_card_up_to_date_and_tells_of_a_new_one(finished, tmp_path, monkeypatch, caplog):
    """Again, nothing is told; without arrays a warning says so."""
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with caplog.at_level(logging.INFO, "batchwise"):
        preprocess.write_cards(["splendor"])
        assert "data/cards/splendor.md is up to date now, commit it" in caplog.text
        assert "60" in Path("data/cards/splendor.md").read_text()
        caplog.clear()
        preprocess.write_cards(["splendor"])
        assert not caplog.text
        preprocess.write_cards(["toy"])
        assert "no data card: " in caplog.text
