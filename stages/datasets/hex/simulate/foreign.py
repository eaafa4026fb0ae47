"""Evaluators by name: the embedded one, or one of the user's own code, whose every answer is checked.

In: the setting ``evaluator``, "distance", "network" (the model of ``make train``, whose weights.npz ``weights`` names)
or ``module:function``; the function returns an `Evaluator`, of which it may
leave out `digest`, and takes no arguments, or, if the setting ``weights`` names a file, the `Path` of that. Whatever
that code does wrong is one line that names the setting: the games would be wrong, or end in a traceback far from the
cause.

``weights`` gives the file's SHA-256 beside its name, and a file with another one is refused. So params.yaml says which
weights the games are of, a change of them is a change of the settings, which DVC sees, and no games of older weights
pass for those of newer ones. The file itself is no dependency of the stage in dvc.yaml: that is written once for all
datasets, and DVC's templates have neither optional dependencies nor defaults, so all of them would need such a file.
"""

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from stages.core.errors import ExpectedError
from stages.core.params import Must
from stages.datasets.hex.schema import N_CELLS
from stages.datasets.hex.simulate.evaluate import EMBEDDED, DistanceEvaluator, Evaluator

NETWORK = "network"
NETWORK_FUNCTION = "stages.datasets.hex.training.network:load"

SETTING = "simulate.hex.evaluator"
WEIGHTS = "simulate.hex.weights"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[\w.:+-]{1,128}", re.ASCII)

# What foreign code raises when it fails: anything, and sys.exit() at the end of a script that is no module.
FAILURES = (Exception, SystemExit)


@dataclass(frozen=True)
class Weights:
    """The file that an evaluator is made of, from the working directory, and its SHA-256 in hexadecimal digits."""

    file: str
    sha256: Annotated[str, Must(lambda text: bool(_SHA256.fullmatch(text)), "64 digits 0-9a-f, of `sha256sum FILE`")]


def load(name: str = EMBEDDED, weights: Weights | None = None) -> Evaluator:
    """Return the evaluator of a name.

    Parameters
    ----------
    name
        "distance", "network", or "module:function" of a function that returns an `Evaluator`.
    weights
        The file that the function is called with; None is no argument.

    Raises
    ------
    ExpectedError
        When there is no such function, it fails, what it returns is no evaluator, or the weights are others.
    """
    if weights:
        _check_weights(weights)
    if name == EMBEDDED:
        return DistanceEvaluator()
    if name == NETWORK:
        return _network(weights)
    arguments = [Path(weights.file)] if weights else []
    evaluator = _call(f"{SETTING}: {name!r}", _function(name), *arguments)
    for method in ("policy", "value"):
        if not callable(getattr(evaluator, method, None)):
            raise ExpectedError(
                f"{SETTING}: {name!r} returned {_kind(evaluator)} without method {method}, expected policy and value, "
                "see stages/datasets/hex/simulate/evaluate.py"
            )
    return CheckedEvaluator(name, evaluator)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _network(weights: Weights | None) -> Evaluator:
    """Return the model of these weights; without torch nothing is known of it here."""
    if weights is None:
        raise ExpectedError(f"{WEIGHTS}: none, expected the weights.npz of a model with evaluator {NETWORK}; add it")
    if importlib.util.find_spec("torch") is None:
        raise ExpectedError(f"{SETTING}: {NETWORK!r} needs torch, which is not installed; run `make train`")
    evaluator: Evaluator = _function(NETWORK_FUNCTION)(Path(weights.file))
    return evaluator


def _check_weights(weights: Weights) -> None:
    """Raise unless the file has the SHA-256 of the settings."""
    try:
        found = sha256_of(Path(weights.file))
    except OSError as error:
        raise ExpectedError(f"{WEIGHTS}.file: {weights.file!r} cannot be read ({error.strerror}); correct it") from None
    if found != weights.sha256:
        raise ExpectedError(
            f"{WEIGHTS}.sha256: {weights.sha256}, expected {found}, that of {weights.file}; restore the file, or write "
            "this into params.yaml, which plays all games anew"
        )


def _function(name: str) -> Callable[..., Any]:
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
        self.digest = self._digest()

    def _digest(self) -> str | None:
        """Return what the evaluator says it is made of; None if it says nothing."""
        digest = getattr(self._evaluator, "digest", None)
        if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            expected = "1 to 128 ASCII letters, digits and any of _.:+-, or None"
            raise ExpectedError(f"{self._where}: digest is {digest!r}, expected {expected}; correct it")
        return digest

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
