"""What an entry of `train` says: defaults of the trainer and the task, and errors that name the key."""

import pytest

pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.core.sections import ParamsError
from stages.training.settings import EarlyStop, read_recipe

pytestmark = pytest.mark.train

DEFAULTS = {"model": {"width": 16, "dropout": 0.3}, "policy_weight": 1.0, "lr": 0.003, "epochs": 5}


def recipe(**entry):
    return read_recipe("toy", entry, DEFAULTS)


def test_defaults_are_the_tasks_then_the_trainers():
    found = recipe()
    assert (found.settings.lr, found.settings.epochs, found.settings.batch_size) == (0.003, 5, 256)
    assert found.of_task == DEFAULTS


def test_an_entry_comes_before_both_and_fills_a_section_key_by_key():
    found = recipe(lr=0.01, model={"dropout": 0.0}, policy_weight=2.0, early_stop={"patience": 3})
    assert found.settings.lr == found.of_task["lr"] == 0.01
    assert found.of_task["model"] == {"width": 16, "dropout": 0.0}
    assert found.of_task["policy_weight"] == 2.0
    assert found.settings.early_stop == EarlyStop(3)
    assert recipe(early_stop=None).settings.early_stop is None


def test_samples_take_the_place_of_the_epochs_of_a_default():
    assert (recipe(samples=1000).settings.epochs, recipe(samples=1000).settings.samples) == (None, 1000)
    assert read_recipe("toy", {"samples": 9}, {}).settings.epochs is None
    assert read_recipe("toy", {"epochs": 9}, {"samples": 7}).settings.samples is None


WRONG = [
    ({"batchsize": 3}, "unknown key 'batchsize'.*did you mean 'batch_size'"),
    ({"polcy_weight": 3}, "unknown key 'polcy_weight'.*did you mean 'policy_weight'"),
    ({"lr": 0}, "train.toy.lr: 0, expected a number above 0"),
    ({"lr": float("nan")}, "train.toy.lr: nan, expected a number above 0"),
    ({"epochs": 3, "samples": 4}, "both epochs and samples"),
    ({"schedule": "cosin"}, "schedule: 'cosin', expected one of constant"),
    ({"early_stop": {"patience": 2, "metrik": "nll"}}, "early_stop: unknown key 'metrik'.*did you mean 'metric'"),
    ({"sources": [{"folder": "a", "rows": [1]}]}, r"sources\[0\].rows: \[1\], expected two numbers"),
    ({"head_lr_factor": 0.5}, "heads: none, expected submodules"),
    ({"precision": "fp16"}, "precision: fp16 on a CPU, expected fp32 or bf16"),
]


@pytest.mark.parametrize(("entry", "message"), WRONG)
def test_what_is_wrong_is_named(entry, message):
    with pytest.raises(ParamsError, match=message):
        recipe(**entry)
