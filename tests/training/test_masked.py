"""Cross-entropy over legal classes alone."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; `make test-train` installs it")

from stages.core.errors import ExpectedError  # noqa: E402
from stages.training.masked import Target, log_probabilities, nll, require_legal  # noqa: E402

pytestmark = pytest.mark.train

LEGAL = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)


def target(*labels):
    label = torch.tensor(labels)
    return Target(label, LEGAL, label >= 0)


def test_probabilities_are_among_legal_classes():
    """Worked by hand: exp(2) of exp(2) + exp(1); the only legal class is sure; a row that does not count costs 0."""
    logits = torch.tensor([[1.0, 2.0, 9.0], [5.0, 5.0, 0.0], [1.0, 1.0, 1.0]])
    given = target(1, 2, -1)
    log_p = log_probabilities(logits, given)
    assert torch.isneginf(log_p[:2]).tolist() == [[False, False, True], [True, True, False]]
    cost = nll(log_p, given)
    assert cost.tolist() == pytest.approx([math.log(1 + math.exp(-1)), 0, 0], abs=1e-6)
    assert given.has_choice.tolist() == [True, False, False]


def test_gradients_are_numbers_and_reach_legal_classes_only():
    """Also where a row has no legal class at all."""
    logits = torch.randn(3, 3, requires_grad=True)
    given = target(0, 2, -1)
    nll(log_probabilities(logits, given), given).sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).tolist() == [[True, True, False], [False] * 3, [False] * 3]


def test_an_illegal_label_costs_infinitely_much_and_is_named():
    given = target(2, 2, -1)
    assert nll(log_probabilities(torch.zeros(3, 3), given), given).tolist() == [math.inf, 0, 0]
    with pytest.raises(ExpectedError, match=r"^a\.csv, row 7: label_kind is 2, expected one of .* \[0, 1\] \(1 such"):
        require_legal(given, "kind", ["a.csv, row 7", "b", "c"])
    require_legal(target(1, 2, -1), "kind", ["a", "b", "c"])
