"""Learning rates against closed formulas and against torch's own schedulers."""

import math
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")
from stages.training.schedule import Patience, lr_factor  # noqa: E402
from stages.training.settings import TrainSettings  # noqa: E402

pytestmark = pytest.mark.train

N = 40


def factors(**settings):
    return [lr_factor(TrainSettings(**settings), step, N) for step in range(N)]


def test_constant_rises_in_the_first_steps_and_stays():
    assert factors(schedule="constant", warmup=0.1) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 37])


def test_no_warmup_begins_at_the_full_rate():
    assert factors(schedule="constant", warmup=0.0) == [1.0] * N


def test_cosine_is_its_formula():
    found = factors(schedule="cosine", warmup=0.25, lr_end=0.1)
    expected = [0.1 + 0.9 * (1 + math.cos(math.pi * (step - 10) / 30)) / 2 for step in range(10, N)]
    assert found == pytest.approx([*[(step + 1) / 10 for step in range(10)], *expected])


def test_step_multiplies_at_each_share_of_the_run():
    found = factors(schedule="step", warmup=0.0, lr_steps=[0.5, 0.75], lr_factor=0.1)
    assert found == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


def test_plateau_multiplies_for_each_plateau():
    settings = TrainSettings(schedule="plateau", warmup=0.0, lr_factor=0.5)
    assert [lr_factor(settings, 7, N, n) for n in range(3)] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.5])
def test_onecycle_is_that_of_torch(warmup):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, N, pct_start=warmup, cycle_momentum=False)
    expected = []
    for _ in range(N):
        expected.append(optimiser.param_groups[0]["lr"])
        with warnings.catch_warnings(action="ignore"):  # there is no step of the optimiser
            theirs.step() if len(expected) < N else None
    assert factors(schedule="onecycle", warmup=warmup) == pytest.approx(expected)


def test_patience_counts_what_is_not_better_by_enough():
    patience = Patience(min_delta=0.1)
    assert [patience.see(value) for value in (1.0, 0.95, 0.85, math.nan, 0.9)] == [True, False, True, False, False]
    assert (patience.best, patience.n_without) == (0.85, 2)
