"""Which parameters decay, and which learn at another rate."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from torch import nn  # noqa: E402

from stages.core.errors import ExpectedError  # noqa: E402
from stages.training.optimiser import make_optimiser, parameter_groups, set_rate  # noqa: E402
from stages.training.settings import TrainSettings  # noqa: E402

pytestmark = pytest.mark.train


class Net(nn.Module):
    """Each kind of parameter, and two heads whose names begin alike."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.frozen = nn.Conv1d(2, 4, 3), nn.LayerNorm(4), nn.Linear(4, 4)
        self.value, self.value2 = nn.Linear(4, 1), nn.Linear(4, 1)
        self.frozen.requires_grad_(False)


def by_name(settings):
    net = Net()
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, settings)
    return {names[one]: (group["lr_factor"], group["weight_decay"]) for group in groups for one in group["params"]}


def test_biases_and_norms_do_not_decay_and_frozen_parameters_do_not_learn():
    found = by_name(TrainSettings(weight_decay=0.1))
    assert {name for name, (_, decay) in found.items() if decay} == {"conv.weight", "value.weight", "value2.weight"}
    assert {decay for _, decay in found.values()} == {0.0, 0.1}
    assert not any(name.startswith("frozen") for name in found)


def test_a_head_has_its_own_factors():
    found = by_name(TrainSettings(weight_decay=0.1, heads=["value"], head_lr_factor=0.5, head_wd_factor=3.0))
    assert found["value.weight"] == pytest.approx((0.5, 0.3))
    assert found["value.bias"] == (0.5, 0.0)
    assert found["value2.weight"] == found["conv.weight"] == (1.0, 0.1)


def test_the_rate_of_each_group_is_its_factor_of_it():
    optimiser = make_optimiser(Net(), TrainSettings(heads=["value"], head_lr_factor=0.5))
    set_rate(optimiser, 0.2)
    assert sorted({group["lr"] for group in optimiser.param_groups}) == [0.1, 0.2]


def test_a_head_that_the_model_has_not_is_named():
    with pytest.raises(ExpectedError, match="heads is 'vale', expected submodules of the model, such as conv, norm"):
        parameter_groups(Net(), TrainSettings(heads=["vale"]))
