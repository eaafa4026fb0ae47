"""What is shown and said of a trained model, without torch."""

import json
import shutil

import pytest

from stages.commands.train import rows_of
from stages.core.arrays import DamagedFile
from stages.report import __main__ as command
from stages.report import facts, generations, model_cards, model_charts
from stages.report.model import read_model, shown, verdict
from tests.helpers.model_files import OF_PART, write_model_files


@pytest.fixture
def trained(finished, tmp_path, monkeypatch):
    """Return `data` of a finished run with a model."""
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    write_model_files(tmp_path / "here/data")
    return tmp_path / "here/data"


def test_words_say_where_a_model_is_not_better():
    higher, lower = ({"name": name, "is_higher_better": name == "accuracy"} for name in ("accuracy", "nll"))
    assert verdict(higher, OF_PART) == "not better than coin; better than majority"
    assert verdict(lower, OF_PART) == "better than every baseline"
    assert verdict(lower, {**OF_PART, "coin": {"nll": 0.25}}) == "not better than coin"
    assert verdict(lower, {"model": {"nll": 0.1}, "coin": {}}) == "no baseline has it"
    assert verdict(lower, {"model": {"nll": None}, "coin": {"nll": 0.1}}) == "nothing was counted"
    assert [shown(value) for value in (None, -2e-16, 0.0636)] == ["-", "0.000", "0.064"]


def test_a_small_metric_is_not_shown_as_none():
    assert [shown(value) for value in (-0.0009351, 0.0099, 0.01)] == ["-0.00094", "0.00990", "0.010"]


def test_a_model_is_better_only_where_its_whole_interval_is():
    higher, lower = ({"name": "x", "is_higher_better": is_higher} for is_higher in (True, False))
    own = {"x": 0.4, "x_low": 0.1, "x_high": 0.7}
    found = {"model": own, "near": {"x": 0.3}, "far": {"x": 0.0}, "high": {"x": 0.8}}
    assert verdict(higher, found) == "not better than near, high; better than far"
    assert verdict(lower, found) == "not better than near, far; better than high"


def test_the_page_has_a_section_of_the_model(trained):
    text = command.report(["splendor"]).read_text(encoding="utf-8")
    section = text[text.index('<section id="splendor-model"') :].partition('<section id="splendor-classes"')[0]
    for words in (
        "accuracy is 0.500: not better than coin; better than majority.",
        "nll is 0.250: better than every baseline.",
        "of 30",
        "SHA-256 " + "ab" * 32,
        "a &lt;processor&gt;, 1 thread",
        "90.0% of 10 samples are right.",
        "Lowest forecast 0.25, there 0.2 happened; highest 0.75, there 0.8 happened.",
        "accuracy of val",
    ):
        assert words in section


def test_a_page_without_a_model_says_nothing_of_one(trained):
    shutil.rmtree(trained / "models")
    found = facts.gather("splendor", [])
    assert found.model is None
    assert not [sentence for sentence in found.missing if "model" in sentence]
    assert model_cards.write("splendor") is None


def test_missing_and_damaged_files_of_a_model_are_named(trained):
    (trained / "train/splendor/metrics.json").write_text("{")
    with pytest.raises(
        DamagedFile, match=r"metrics.json: not what a training writes .*; remove it and run `make train`"
    ):
        read_model("splendor")
    (trained / "train/splendor/metrics.json").unlink()
    missing = " ".join(facts.gather("splendor", []).missing)
    assert "The trained model: data/train/splendor/metrics.json is not here" in missing


def test_curves_leave_out_what_was_not_counted(trained):
    accuracy, nll = model_charts.metrics(read_model("splendor"))
    model, levels = (layer["data"]["values"] for layer in accuracy.spec["layer"])
    assert [(row["samples"], row["accuracy"]) for row in model] == [(1280, 0.25), (2560, 0.5)]
    assert levels == [{"of": "coin", "accuracy": 0.5}, {"of": "majority", "accuracy": 0.4}]
    assert len(nll.spec["layer"][0]["data"]["values"]) == 3


def test_a_confusion_is_of_shares_and_leaves_out_classes_that_did_not_occur(trained):
    figure = model_charts.of_task(read_model("splendor"))[0]
    shares = {(row["true"], row["named"]): row["share"] for row in figure.rows}
    assert shares[("go", "go")] == 0.75
    assert not [true for true, _ in shares if true == "never"]


def test_the_card_stands_beside_the_weights(trained):
    text = model_cards.write("splendor").read_text(encoding="utf-8")
    assert "# Model of splendor" in text
    assert "**What it cannot teach**" in text
    assert "| accuracy | 0.500 | 0.500 | 0.400 |" in text
    assert "- accuracy is 0.500: not better than coin; better than majority." in text
    assert (trained / "models/splendor/README.md").read_text(encoding="utf-8") == text


def test_the_table_of_make_train_says_it_in_words(trained):
    first, second = rows_of("splendor", None)
    assert first == (
        *("splendor", "3,840", "30", "-", "accuracy", "0.500"),
        "coin 0.500, majority 0.400: not better than coin; better than majority",
    )
    assert second[-1] == "coin 0.700: better than every baseline"


def test_the_page_has_the_strength_of_generations(trained):
    """With a row for each match of each generation, in the order of their numbers."""
    write_gates(trained)
    found = facts.gather("splendor", [])
    rows = generations.strength(found.generations).spec["data"]["values"]
    assert [(row["generation"], row["share"]) for row in rows if row["against"] == "the anchor"] == [
        (1, 0.25),
        (2, 0.75),
    ]
    assert {(row["generation"], row["kept"]) for row in rows} == {(1, "yes"), (2, "no")}
    text = command.report(["splendor"]).read_text(encoding="utf-8")
    section = text[text.index('<section id="splendor-generations"') :]
    assert "Strength over the generations" in section
    assert "Against the anchor from 0.25 to 0.75 in 2 generations." in section


def write_gates(data):
    for number, share in ((1, 0.25), (2, 0.75)):
        score = {"won": int(40 * share), "distinct": 40, "games": 40, "share": share, "wilson": share / 2}
        gate = {"search": score, "raw": score, "anchor": score, "kept": number == 1}
        path = data / f"generations/splendor-g00{number}/gate.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(gate))
