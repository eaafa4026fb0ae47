"""Count what the figures show, a chunk of steps at a time: only a few numbers of each episode stay in memory.

Rewards and returns are counted in slots of half a decade on both sides of 0. Observations are standardised; prices are
made of them with normalizer.npz, for the few episodes that are drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stages.datasets.rugs.schema import ACTIONS, BUY, FEATURE_NAMES, SELL
from stages.datasets.rugs.training.transitions import weights_of
from stages.processed import Processed

CHUNK_ROWS: Final = 1 << 16
KEYS: Final = ("group_id", "terminated", "truncated", "player_known", "reward", "executed", "kept")
SMALLEST: Final = 1e-6  # SOL: what is nearer to 0 shares a slot with it
EDGES: Final = np.concatenate([-np.logspace(2, -6, 17), np.logspace(-6, 2, 17)])  # up to 100 SOL
MAX_PATHS: Final = 4
LOWEST: Final = 1e-4  # of a price: float32 has lost what is below where others are high, and logarithms need > 0
PRICE: Final = FEATURE_NAMES.index("price")


@dataclass(frozen=True)
class Tally:
    """Counts of one part with S steps in E episodes.

    Attributes
    ----------
    n_steps, n_known
        Steps, and those with a known player.
    start, length
        int64 (E,): first step of each episode, and how many it has.
    is_rugged
        bool (E,): whether it was seen to its rug.
    total
        float64 (E,): sum of its rewards, SOL.
    presses
        int64 (E,): steps with a press.
    rewards
        int64 (slots): non-zero rewards by slot of `EDGES`, those beyond in the outermost ones.
    actions
        int64 (4,): transitions by action.
    answered
        int64 (2, 2): BUY and SELL, and those of them that a trade answered.
    """

    n_steps: int
    n_known: int
    start: np.ndarray
    length: np.ndarray
    is_rugged: np.ndarray
    total: np.ndarray
    presses: np.ndarray
    rewards: np.ndarray
    actions: np.ndarray
    answered: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The weight of each action that makes all that occur count the same, float64 (4,); 0 for one not there."""
        return weights_of(self.actions)


@dataclass(frozen=True)
class PricePath:
    """The price of one episode: `tick` int64 (n,), `price` float64 (n,), `action` int64 (n,), all steps of it."""

    game: str
    tick: np.ndarray
    price: np.ndarray
    action: np.ndarray
    is_rugged: bool


def count(folder: Path, part: str) -> Tally:
    """Count the steps of one part."""
    pieces: list[dict[str, np.ndarray]] = []
    rewards, actions = np.zeros(len(EDGES) - 1, np.int64), np.zeros(len(ACTIONS), np.int64)
    answered, n_known, n_steps, last = np.zeros((2, 2), np.int64), 0, 0, None
    for rows in Processed(folder).chunks(part, CHUNK_ROWS, KEYS, ("action",)):
        pieces.append(_episodes(rows, n_steps, last))
        last, n_steps = rows["group_id"][-1], n_steps + len(rows["group_id"])
        found = rows["reward"][rows["reward"] != 0].astype(np.float64)
        rewards += np.histogram(np.clip(found, EDGES[0], EDGES[-1]), EDGES)[0]
        is_transition = (rows["action"] >= 0) & (rows["kept"] != 0)
        actions += np.bincount(rows["action"][is_transition], minlength=len(ACTIONS))
        n_known += int(np.count_nonzero(rows["player_known"]))
        for i, action in enumerate((BUY, SELL)):
            is_pressed = rows["action"] == action
            answered[i] += [is_pressed.sum(), np.count_nonzero(rows["executed"][is_pressed])]
    return Tally(n_steps, n_known, **_joined(pieces), rewards=rewards, actions=actions, answered=answered)


def _episodes(rows: dict[str, np.ndarray], n_before: int, last: np.uint64 | None) -> dict[str, np.ndarray]:
    """Return what a chunk holds of each episode; `is_new` is False for one that goes on from the chunk before."""
    group = rows["group_id"]
    first = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    is_press = rows["action"] > 0
    return {
        "is_new": group[first] != last if last is not None else np.ones(len(first), bool),
        "start": first + n_before,
        "length": np.diff(np.append(first, len(group))),
        "is_rugged": np.maximum.reduceat(rows["terminated"], first) > 0,
        "total": np.add.reduceat(rows["reward"], first, dtype=np.float64),
        "presses": np.add.reduceat(is_press, first, dtype=np.int64),
    }


def _joined(pieces: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put together the episodes of all chunks."""
    names = ("start", "length", "is_rugged", "total", "presses")
    if not pieces:
        return {name: np.zeros(0, bool if name == "is_rugged" else np.int64) for name in names}
    own = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    first = np.flatnonzero(own["is_new"])
    return {"start": own["start"][first], "is_rugged": np.logical_or.reduceat(own["is_rugged"], first)} | {
        name: np.add.reduceat(own[name], first) for name in ("length", "total", "presses")
    }


def paths_of(folder: Path, part: str, tally: Tally) -> list[PricePath]:
    """Return the prices of the episodes of a part with the most presses, in raw units."""
    chosen = np.argsort(-tally.presses, kind="stable")[:MAX_PATHS]
    spans = [slice(int(tally.start[i]), int(tally.start[i] + tally.length[i])) for i in sorted(chosen.tolist())]
    data = Processed(folder)
    normalizer = data.normalizer()
    mean, scale = float(normalizer["mean"][PRICE]), float(normalizer["scale"][PRICE])
    observation = data.feature("observation", part)
    prices = [observation.at(np.arange(span.start, span.stop))[:, PRICE].astype(np.float64) for span in spans]
    rows = _picked(data.chunks(part, CHUNK_ROWS, ("tick", "game"), ("action",)), spans)
    return [
        PricePath(
            own["game"][0].decode(),
            own["tick"].astype(np.int64),
            np.maximum(price * scale + mean, LOWEST),
            own["action"].astype(np.int64),
            bool(tally.is_rugged[np.searchsorted(tally.start, span.start)]),
        )
        for own, span, price in zip(rows, spans, prices, strict=True)
    ]


def _picked(chunks: Iterator[dict[str, np.ndarray]], spans: list[slice]) -> list[dict[str, np.ndarray]]:
    """Return some runs of rows, each by name."""
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in spans]
    start = 0
    for rows in chunks:
        n_rows = len(next(iter(rows.values())))
        for own, span in zip(found, spans, strict=True):
            inside = slice(max(0, span.start - start), max(0, span.stop - start))
            own.append({name: values[inside].copy() for name, values in rows.items()})
        start += n_rows
    return [{name: np.concatenate([piece[name] for piece in own]) for name in own[0]} for own in found]
