"""A training in this process: what it learns, chooses, leaves and refuses."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.core import arrays  # noqa: E402
from stages.core.errors import ExpectedError  # noqa: E402
from stages.training.loop import make_plan  # noqa: E402
from stages.training.settings import TrainSettings  # noqa: E402
from tests.helpers.trainings import ROWS, write_parts  # noqa: E402

pytestmark = pytest.mark.train

STILL = {"model": {"dropout": 0.0}}  # nothing is drawn in a step


def weights(data):
    return arrays.read_npz(data / "models/toy/weights.npz")


def curve(data):
    with (data / "curves/toy/curve.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def metrics(data):
    return json.loads((data / "train/toy/metrics.json").read_text())


def test_it_learns_and_beats_the_baseline(train):
    found = metrics(train(epochs=30, lr=0.01, **STILL))["test"]
    assert found["model"]["accuracy"] > 0.75
    assert found["model"]["nll"] < found["uniform"]["nll"] / 2


def test_it_overfits_64_samples(train):
    data = train(
        sources=[{"folder": "data/processed/toy", "rows": [0, 64]}],
        epochs=150,
        eval_every=1600,
        lr=0.02,
        schedule="constant",
        **STILL,
    )
    assert curve(data)[-1]["train_loss"] < 0.02


def test_two_runs_give_the_same_bytes(train):
    files = [path for path in train().rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    first = {path: path.read_bytes() for path in files}
    for path in first:
        if "checkpoints" in str(path):
            path.unlink()
    train()
    assert {path: path.read_bytes() for path in first} == first


def test_the_curve_has_a_row_for_each_evaluation_of_the_weights_of_then(train):
    rows = curve(train(samples=960, eval_every=320))
    assert [(row["step"], row["samples"]) for row in rows] == [(10, 320), (20, 640), (30, 960)]
    assert all(row["train_twice"] == pytest.approx(2 * row["train_loss"]) for row in rows)


def test_the_best_weights_are_kept_and_not_the_last(train):
    data = train(epochs=30, lr=0.3, schedule="constant", **STILL)
    rows, about = curve(data), json.loads((data / "models/toy/model.json").read_text())
    best = min(rows, key=lambda row: row["val_loss"])
    assert best["step"] < rows[-1]["step"]
    assert about["step"] == metrics(data)["best_step"] == best["step"]
    assert metrics(data)["val"]["model"]["nll"] == pytest.approx(best["val_loss"])


def test_pieces_of_a_batch_make_the_step_of_the_whole(train):
    whole = weights(train(**STILL))
    for size in (5, 16, 31):
        pieces = weights(train(micro_batch=size, **STILL))
        assert {name: pytest.approx(values, abs=1e-6) for name, values in whole.items()} == pieces


def test_it_stops_early_by_the_metric_that_is_named(train):
    stop = {"patience": 2, "metric": "accuracy", "min_delta": 0.01}
    rows = curve(train(epochs=80, lr=0.01, schedule="constant", early_stop=stop, **STILL))
    values = [row["val_accuracy"] for row in rows]
    assert len(rows) < 80
    assert max(values[-2:]) <= max(values[:-2]) + 0.01


def test_a_metric_of_which_nobody_said_what_is_good_is_refused(train):
    with pytest.raises(ExpectedError, match=r"early_stop.metric is 'loss', expected one of nll, accuracy"):
        train(early_stop={"patience": 2, "metric": "loss"})


def test_a_plateau_lowers_the_rate(train):
    rows = curve(train(epochs=30, lr=0.05, schedule="plateau", lr_patience=1, lr_factor=0.5, warmup=0.0, **STILL))
    rates = [row["lr"] for row in rows]
    assert rates[0] == 0.05
    assert set(np.log2(0.05 / np.array(rates)).round(6) % 1) == {0.0}
    assert rates[-1] <= 0.0125


def test_an_average_of_the_weights_is_what_is_kept(train):
    plain, averaged = weights(train(epochs=1)), weights(train(epochs=1, ema=0.9))
    assert any(np.abs(plain[name] - averaged[name]).max() > 1e-4 for name in plain)


def test_an_average_without_memory_is_the_weights_themselves(train):
    plain, averaged = weights(train(epochs=1)), weights(train(epochs=1, ema=1e-12))
    assert {name: pytest.approx(values, abs=1e-7) for name, values in plain.items()} == averaged


def test_it_begins_with_given_weights(train, tmp_path):
    first = train(epochs=1, **STILL)
    (first / "models/toy").rename(first / "models/before")
    data = train(epochs=1, lr=1e-12, init_from="data/models/before", **STILL)
    before = arrays.read_npz(first / "models/before/weights.npz")
    assert {name: pytest.approx(values, abs=1e-6) for name, values in before.items()} == weights(data)
    with pytest.raises(ExpectedError, match=r"before/weights.npz: 0.bias is float32\(16,\), expected float32\(4,\)"):
        train(epochs=1, init_from="data/models/before", model={"width": 4})
    with pytest.raises(ExpectedError, match="nowhere: not found, expected weights to begin with"):
        train(init_from="nowhere")


def test_other_weights_to_begin_with_are_another_training(train, caplog):
    data = train(epochs=1)
    (data / "models/toy").rename(data / "models/a")
    train(epochs=1, init_from="data/models/a")
    content = arrays.read_npz(data / "models/a/weights.npz")
    arrays.save_npz(data / "models/a/weights.npz", {name: [2 * values] for name, values in content.items()})
    with caplog.at_level(logging.INFO):
        train(epochs=1, init_from="data/models/a")
    assert "is not used, it differs in data.init_from" in caplog.text
    assert "goes on" not in caplog.text


@pytest.mark.parametrize("options", [{"lr": 1e30, "schedule": "constant"}])
def test_a_loss_that_is_no_number_ends_it(train, options):
    with pytest.raises(ExpectedError, match=r"the loss is (nan|inf) at step \d+, expected a number; lower lr"):
        train(**options)


def test_val_samples_are_a_fixed_draw(train):
    rows = curve(train(epochs=2, val_samples=40, lr=1e-12, **STILL))
    assert rows[0]["val_loss"] == pytest.approx(rows[1]["val_loss"], abs=1e-6)
    assert rows[0]["val_accuracy"] * 40 == pytest.approx(round(rows[0]["val_accuracy"] * 40))


def test_damaged_arrays_are_refused(train, tmp_path):
    path = tmp_path / "data/processed/toy/X_train.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(arrays.DamagedFile, match=r"X_train.npy: checksum"):
        train()


def test_without_arrays_it_says_what_to_run(train, tmp_path):
    (tmp_path / "data/processed/toy/stats.json").unlink()
    with pytest.raises(arrays.DamagedFile, match=r"stats.json: not found, expected processed arrays; run `make prepro"):
        train()


def test_a_part_without_rows_is_refused_before_it_begins(train, tmp_path):
    write_parts(tmp_path / "data/processed/toy", ROWS | {"val": 0})
    with pytest.raises(ExpectedError, match=r"processed/toy: no rows in val, expected some in each part to train and"):
        train()
    assert not (tmp_path / "data/checkpoints").exists()


def test_a_plan_counts_whole_steps():
    plan = make_plan(TrainSettings(batch_size=32, epochs=3), 10)
    assert (plan.n_steps, plan.interval, plan.n_epochs) == (30, 10, 3)
    plan = make_plan(TrainSettings(batch_size=32, epochs=None, samples=1000, eval_every=100), 10)
    assert (plan.n_steps, plan.interval, plan.n_epochs) == (32, 4, 4)
    assert [step for step in range(33) if plan.is_evaluation(step)] == [4, 8, 12, 16, 20, 24, 28, 32]


def test_model_json_names_folders_in_their_order(train):
    """Not in that of a set, which is another in each process."""
    folders = [f"data/processed/{name}" for name in ("toy", "zebra", "ape", "cow", "bee")]
    for folder in folders[1:]:
        write_parts(Path(folder))
    data = train(sources=[{"folder": folder} for folder in folders], samples=64, **STILL)
    assert list(json.loads((data / "models/toy/model.json").read_bytes())["data"]) == sorted(folders)
