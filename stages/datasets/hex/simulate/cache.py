"""Remember evaluations: the last boards asked for, by board and side to move."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from stages.datasets.hex.simulate.evaluate import Evaluator


class CachedEvaluator:
    """An evaluator that asks another one about boards it has not seen lately, each once a batch.

    What it returns is what the other one would: an evaluator's answer depends on the board and the mover only.

    Parameters
    ----------
    evaluator
        The evaluator that is asked.
    size
        How many policies and how many values are kept; the least recently used go first. A policy takes 0.9 KB, a
        value 0.2 KB (measured).

    Attributes
    ----------
    hits, misses
        Boards that were known (also from earlier in the same batch) and boards that were evaluated.
    """

    def __init__(self, evaluator: Evaluator, size: int) -> None:
        self.name, self.digest = evaluator.name, evaluator.digest
        self.hits = 0
        self.misses = 0
        self._evaluator = evaluator
        self._size = size
        self._policies: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._values: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits as `Evaluator.policy` does."""
        return self._answers(self._policies, self._evaluator.policy, boards, movers)

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return P(red wins) as `Evaluator.value` does."""
        return self._answers(self._values, self._evaluator.value, boards, movers)

    def _answers(
        self,
        known: OrderedDict[bytes, np.ndarray],
        ask: Callable[[np.ndarray, np.ndarray], np.ndarray],
        boards: np.ndarray,
        movers: np.ndarray,
    ) -> np.ndarray:
        """Return the answers about some boards and remember them."""
        keys = _keys(boards, movers)
        unseen = _unseen(keys, known)
        self.misses += len(unseen)
        self.hits += len(keys) - len(unseen)
        all_are_new = len(unseen) == len(keys)
        fresh = ask(boards, movers) if all_are_new else ask(boards[unseen], movers[unseen])
        known.update(zip([keys[row] for row in unseen], _apart(fresh), strict=True))
        result = fresh if all_are_new else _recalled(known, keys, fresh.dtype)
        while len(known) > self._size:
            known.popitem(last=False)
        return result


class CachedTogether(CachedEvaluator):
    """An evaluator that gives policy and value in one answer: either asks for both, once for a board."""

    def __init__(self, evaluator: Any, size: int) -> None:
        super().__init__(evaluator, size)
        self._ask = evaluator.both

    def policy(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return logits as `Evaluator.policy` does."""
        return self._answers(self._policies, self._ask, boards, movers)[:, :-1]

    def value(self, boards: np.ndarray, movers: np.ndarray) -> np.ndarray:
        """Return P(red wins) as `Evaluator.value` does."""
        return self._answers(self._policies, self._ask, boards, movers)[:, -1]


def cached(evaluator: Evaluator, size: int) -> CachedEvaluator:
    """Return an evaluator that remembers, policy and value together where it has a method ``both``.

    That takes what `Evaluator.policy` takes, and returns float32 (B, 170): its answer, and in the last column that of
    `Evaluator.value`.
    """
    made = CachedTogether if hasattr(evaluator, "both") else CachedEvaluator
    return made(evaluator, size)


def _keys(boards: np.ndarray, movers: np.ndarray) -> list[bytes]:
    """Return a key for every board and mover: the board's 338 bits and the mover."""
    bits = np.packbits(boards.reshape(len(boards), -1), axis=1)
    rows = np.concatenate([bits, movers[:, None].astype(np.uint8)], axis=1)
    joined, size = rows.tobytes(), rows.shape[1]
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def _unseen(keys: list[bytes], known: Mapping[bytes, np.ndarray]) -> Sequence[int]:
    """Return the rows of the keys that are not known, the first of each, in order."""
    if known.keys().isdisjoint(keys) and len(set(keys)) == len(keys):  # nearly always so: games seldom meet
        return range(len(keys))
    first = dict(zip(reversed(keys), reversed(range(len(keys))), strict=True))
    return sorted(row for key, row in first.items() if key not in known)


def _recalled(known: OrderedDict[bytes, np.ndarray], keys: list[bytes], dtype: np.dtype[Any]) -> np.ndarray:
    """Return the answers to questions that are known, used now in this order."""
    for key in keys:
        known.move_to_end(key)
    return np.array([known[key] for key in keys], dtype)


def _apart(answers: np.ndarray) -> list[Any]:
    """Return the answers one by one, as numbers or as arrays of their own: a view would keep the whole batch."""
    return list(answers) if answers.ndim == 1 else [answer.copy() for answer in answers]
