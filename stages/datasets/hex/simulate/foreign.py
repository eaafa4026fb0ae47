"""Evaluators by name: the embedded one, or one of the user's own code, whose every answer is checked.

In: the setting ``evaluator``, "distance" or ``module:function``; the function takes no arguments and returns an
`Evaluator`. Whatever that code does wrong is one line that names the setting: the games would be wrong, or end in a
traceback far from the cause.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.datasets.hex.schema import N_CELLS
from stages.datasets.hex.simulate.evaluate import EMBEDDED, DistanceEvaluator, Evaluator

SETTING = "simulate.hex.evaluator"

# What foreign code raises when it fails: anything, and sys.exit() at the end of a script that is no module.
FAILURES = (Exception, SystemExit)


def load(name: str = EMBEDDED) -> Evaluator:
    """Return the evaluator of a name.

    Parameters
    ----------
    name
        "distance", or "module:function" of a function without arguments that returns an `Evaluator`.

    Raises
    ------
    ExpectedError
        When there is no such function, it fails, or what it returns is no evaluator.
    """
    if name == EMBEDDED:
        return DistanceEvaluator()
    evaluator = _call(f"{SETTING}: {name!r}", _function(name))
    for method in ("policy", "value"):
        if not callable(getattr(evaluator, method, None)):
            raise ExpectedError(
                f"{SETTING}: {name!r} returned {_kind(evaluator)} without method {method}, expected policy and value, "
                "see stages/datasets/hex/simulate/evaluate.py"
            )
    return CheckedEvaluator(name, evaluator)


def _function(name: str) -> Callable[[], Any]:
    """Return what a name stands for."""
    module_name, _, function_name = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except FAILURES as error:
        raise ExpectedError(
            f"{SETTING}: no {name!r} ({_told(error)}), expected {EMBEDDED!r} or module:function; correct the name"
        ) from error
    if not callable(function):
        raise ExpectedError(f"{SETTING}: {name!r} is {_kind(function)}, expected a function; correct the name")
    return function


class CheckedEvaluator:
    """An evaluator of the user's own; an answer that is not as `Evaluator` says is an error.

    Parameters
    ----------
    name
        As in params.yaml.
    evaluator
        What is asked.
    """

    def __init__(self, name: str, evaluator: Any) -> None:
        self.name = name
        self._where = f"{SETTING}: {name!r}"
        self._evaluator = evaluator

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits as `Evaluator.policy` does."""
        logits = self._answer("policy", boards, movers, (len(boards), N_CELLS))
        is_free = ~boards.any(axis=1).reshape(len(boards), N_CELLS)
        if not np.array_equal(np.isfinite(logits), is_free) or not np.isneginf(logits[~is_free]).all():
            self._refuse("policy", "other values", "finite logits of the free cells, and -inf where a stone stands")
        return logits

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return P(red wins) as `Evaluator.value` does."""
        values = self._answer("value", boards, movers, (len(boards),))
        strange = values[~((values > 0) & (values < 1))]
        if len(strange):
            self._refuse("value", f"{float(strange[0])!r}", "probabilities strictly between 0 and 1")
        return values

    def _answer(self, method: str, boards: np.ndarray, movers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the answer to a question, of the right dtype and shape; nothing is asked about no boards."""
        if not len(boards):
            return np.empty(shape, np.float32)
        answer = _call(f"{self._where}: {method}", getattr(self._evaluator, method), boards, movers)
        if not (isinstance(answer, np.ndarray) and (answer.dtype, answer.shape) == (np.float32, shape)):
            self._refuse(method, _kind(answer), f"a NumPy array float32 {shape}")
        return answer

    def _refuse(self, method: str, found: str, expected: str) -> None:
        raise ExpectedError(f"{self._where}: {method} returned {found}, expected {expected}; correct it")


def _call(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except FAILURES as error:
        raise ExpectedError(f"{where} failed ({_told(error)}); correct it, LOG=debug shows where") from error


def _kind(value: object) -> str:
    """Return the type of a value, and dtype and shape of an array."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
