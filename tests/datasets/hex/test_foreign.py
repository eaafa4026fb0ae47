"""An evaluator of the user's own: whatever is wrong with it is one line that names the setting."""

import json

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import N_CELLS
from stages.datasets.hex.simulate import foreign
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator

MOVERS = np.array([0, 0], np.uint8)
MODULE = """
import sys
import numpy as np
from stages.datasets.hex.simulate.evaluate import DistanceEvaluator

class Own(DistanceEvaluator):
    {body}

def build():
    return {built}

number = 5
"""


def boards():
    """Two boards with a stone each."""
    result = np.zeros((2, 2, 13, 13), np.uint8)
    result[:, 0, 6, 6] = 1
    return result


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module; return the name of a function in it, a new one each time since modules are kept."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(body="pass", built="Own()", function="build"):
        module = f"own_{abs(hash((str(tmp_path), body, built)))}"
        (tmp_path / f"{module}.py").write_text(MODULE.format(body=body, built=built))
        return f"{module}:{function}"

    return write


def told(name, ask=None):
    """Return the one line that loading or asking ends in."""
    evaluator = foreign.load(name) if ask else None
    with pytest.raises(ExpectedError) as caught:
        getattr(evaluator, ask)(boards(), MOVERS) if ask else foreign.load(name)
    text = str(caught.value)
    assert text.startswith("simulate.hex.evaluator: ")
    assert name in text
    return text


def test_a_sound_evaluator_is_asked(own):
    evaluator, embedded = foreign.load(own()), DistanceEvaluator()
    assert np.array_equal(evaluator.policy(boards(), MOVERS), embedded.policy(boards(), MOVERS))
    assert np.array_equal(evaluator.value(boards(), MOVERS), embedded.value(boards(), MOVERS))


@pytest.mark.parametrize(("body", "digest"), [("pass", None), ("digest = 'sha256:0af9'", "sha256:0af9")])
def test_it_may_say_what_it_is_made_of(own, body, digest):
    assert foreign.load(own(body)).digest == digest


@pytest.mark.parametrize("digest", ["''", "'a b'", "'a\\nb'", "5", "'x' * 129"])
def test_a_digest_that_is_no_word_is_told(own, digest):
    """It becomes a line of a header."""
    assert "expected 1 to 128 ASCII letters, digits" in told(own(f"digest = {digest}"))


def test_it_is_not_asked_about_no_boards(own):
    evaluator = foreign.load(own("policy = value = None.__class__"))
    assert evaluator.policy(boards()[:0], MOVERS[:0]).shape == (0, N_CELLS)
    assert evaluator.value(boards()[:0], MOVERS[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        ("None", "returned NoneType without method policy, expected policy and value"),
        ("5", "returned int without method policy"),
        ("1 / 0", "failed (ZeroDivisionError: division by zero); correct it, LOG=debug shows where"),
        ("sys.exit(3)", "failed (SystemExit: 3)"),
    ],
)
def test_a_function_that_makes_no_evaluator_is_told(own, built, reason):
    assert reason in told(own(built=built))


def test_what_is_no_function_is_told(own):
    assert "is int, expected a function; correct the name" in told(own(function="number"))
    assert "AttributeError" in told(own(function="nothing"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [("1 / 0", "ZeroDivisionError"), ("def", "SyntaxError"), ("import none_such", "ModuleNotFoundErr")],
)
def test_a_module_that_cannot_be_imported_is_told(own, tmp_path, text, kind):
    name = own(body=f"x = {kind!r}")
    (tmp_path / f"{name.partition(':')[0]}.py").write_text(text)
    assert f"no '{name}' ({kind}" in told(name)


POLICY = "def policy(self, boards, movers): return {}"
VALUE = "def value(self, boards, movers): return {}"


@pytest.mark.parametrize(
    ("ask", "body", "reason"),
    [
        ("policy", POLICY.format("1 / 0"), "policy failed (ZeroDivisionError: division by zero)"),
        ("policy", "def policy(self): pass", "policy failed (TypeError: "),
        ("policy", POLICY.format("None"), "policy returned NoneType, expected a NumPy array float32 (2, 169)"),
        ("policy", POLICY.format("[0.5] * 169"), "policy returned list"),
        (
            "policy",
            POLICY.format("np.zeros((2, 169))"),
            "policy returned float64 (2, 169), expected a NumPy array float32",
        ),
        ("policy", POLICY.format("np.zeros((2, 13, 13), np.float32)"), "policy returned float32 (2, 13, 13)"),
        ("policy", POLICY.format("np.zeros((2, 169), np.float32)"), "-inf where a stone stands"),
        ("policy", POLICY.format("np.full((2, 169), -np.inf, np.float32)"), "expected finite logits of the free cells"),
        ("policy", POLICY.format("np.full((2, 169), np.nan, np.float32)"), "expected finite logits of the free cells"),
        ("policy", POLICY.format("-DistanceEvaluator().policy(boards, movers)"), "-inf where a stone stands"),
        ("value", VALUE.format("1 / 0"), "value failed (ZeroDivisionError"),
        ("value", VALUE.format("0.5"), "value returned float, expected a NumPy array float32 (2,)"),
        ("value", VALUE.format("np.full((2, 1), 0.5, np.float32)"), "value returned float32 (2, 1)"),
        ("value", VALUE.format("np.full(2, 0.5, np.float16)"), "value returned float16 (2,)"),
        (
            "value",
            VALUE.format("np.ones(2, np.float32)"),
            "value returned 1.0, expected probabilities strictly between",
        ),
        ("value", VALUE.format("np.full(2, np.nan, np.float32)"), "value returned nan, expected probabilities"),
    ],
)
def test_a_wrong_answer_is_told(own, ask, body, reason):
    assert reason in told(own(body), ask)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_wrong_answer_is_one_line_of_the_verb(run, own, here, backend):
    name = own(POLICY.format("np.zeros(3)"))
    entry = {"games": 2, "workers": 2, "seed": 1, "started": "2025-01-01T00:00:00", "widths": [2], "evaluator": name}
    (here / "params.yaml").write_text(f"datasets: {{}}\nsimulate: {{hex: {json.dumps(entry)}}}\n")
    done = run("simulate", "hex", BACKEND=backend, JOBS="2", LOG="warning")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith(f"error: simulate.hex.evaluator: '{name}': policy returned float64 (3,), expected ")
