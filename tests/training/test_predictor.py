"""A trained model takes arrays and gives arrays, with nothing illegal in them."""

import json
import shutil
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
import stages.datasets  # noqa: E402
from stages.core import arrays  # noqa: E402
from stages.core.errors import ExpectedError  # noqa: E402
from stages.loader import batches  # noqa: E402
from stages.training import load_model  # noqa: E402
from stages.training.predictor import legal_probabilities  # noqa: E402
from stages.training.settings import params_of_task, read_recipe  # noqa: E402
from stages.training.tasks import task_class  # noqa: E402
from tests.helpers.places import REPOSITORY  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Let the package of the toy task be found among the datasets."""
    shutil.copytree(REPOSITORY / "tests/helpers/toy_training", tmp_path / "packages/toy/training")
    (tmp_path / "packages/toy/__init__.py").touch()
    monkeypatch.setattr(stages.datasets, "__path__", [*stages.datasets.__path__, str(tmp_path / "packages")])
    yield
    for name in [name for name in sys.modules if name.startswith("stages.datasets.toy")]:
        del sys.modules[name]


@pytest.fixture
def trained(train, packages):
    """Return `data` with a trained model."""
    return train(epochs=20, lr=0.01, model={"dropout": 0.5})


def test_probabilities_are_of_legal_classes_and_hit_the_label_as_metrics_say(trained):
    model = load_model("toy")
    with batches("data/processed/toy", "test", batch_size=100, **model.settings) as stream:
        batch = next(stream)
    answers = model({name: batch[name] for name in ("X", "mask_largest")})  # without labels
    found = answers["largest"]
    assert (found.dtype, found.shape) == (np.float32, (60, 5))
    assert found[batch["mask_largest"] == 0].max() == 0
    assert found.sum(1) == pytest.approx(np.ones(60), abs=1e-6)
    accuracy = json.loads((trained / "train/toy/metrics.json").read_text())["test"]["model"]["accuracy"]
    assert (found.argmax(1) == batch["label_largest"]).mean() == pytest.approx(accuracy)
    assert np.array_equal(answers["first"], batch["X"][:, 0])
    assert np.array_equal(model(batch)["largest"], found)  # no dropout


def test_a_folder_names_a_model_too(trained):
    shutil.copytree(trained / "models/toy", trained / "kept")
    assert load_model(trained / "kept").about["step"] == load_model("toy").about["step"]


def test_how_a_model_was_trained_does_not_matter_to_who_uses_it():
    recipe = read_recipe("toy", {"samples": 900, "model": {"a": 3}}, {"epochs": 6, "model": {"a": 1, "b": 2}})
    assert params_of_task(recipe.described(), {"epochs": 6, "model": {"a": 1, "b": 2}}) == recipe.of_task
    assert recipe.of_task == {"epochs": None, "model": {"a": 3, "b": 2}}


def test_a_model_that_was_trained_on_so_many_samples_can_be_used(train, packages):
    data = train(samples=200)
    assert json.loads((data / "models/toy/model.json").read_text())["params"]["epochs"] is None
    assert load_model("toy").about["params"]["samples"] == 200


def test_damaged_and_missing_models_are_refused(trained):
    path = trained / "models/toy/weights.npz"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(arrays.DamagedFile, match=r"weights.npz: checksum .*, expected .*; remove it, `make train`"):
        load_model("toy")
    path.unlink()
    with pytest.raises(arrays.DamagedFile, match=r"weights.npz: not found, expected a trained model; run `make train`"):
        load_model("toy")


def test_a_dataset_that_says_nothing_of_training_is_told():
    with pytest.raises(ExpectedError, match="train nothing: no stages/datasets/nothing, expected a Task there"):
        task_class("nothing")


def test_a_sample_without_a_legal_class_has_only_zeros():
    found = legal_probabilities(torch.tensor([[1.0, 2.0], [0.0, -torch.inf]]), torch.tensor([[0, 0], [1, 1]]))
    assert found.tolist() == [[0.0, 0.0], [1.0, 0.0]]
