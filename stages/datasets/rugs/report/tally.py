"""Count what the figures show, a chunk of steps at a time: only a few numbers of each episode stay in memory.

Rewards and returns are counted in slots of half a decade on both sides of 0. Observations are standardised; prices are
made of them with normalizer.npz, for the few episodes that are drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stages.core import arrays
from stages.datasets.rugs.schema import ACTIONS, BUY, FEATURE_NAMES, SELL

PARTS: Final = ("train", "val", "test")
CHUNK_ROWS: Final = 1 << 16
KEYS: Final = ("group_id", "terminated", "truncated", "player_known", "reward", "executed", "kept")
SMALLEST: Final = 1e-6  # SOL: what is nearer to 0 shares a slot with it
EDGES: Final = np.concatenate([-np.logspace(2, -6, 17), np.logspace(-6, 2, 17)])  # up to 100 SOL
MAX_PATHS: Final = 4
MAX_POINTS: Final = 400  # of a path
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
        share = self.actions.sum() / max(1, np.count_nonzero(self.actions))
        return np.divide(share, self.actions, out=np.zeros(len(ACTIONS)), where=self.actions > 0)


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
    for rows in _chunks(folder, part):
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


def _chunks(folder: Path, part: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield keys and labels of some steps of a part, by name."""
    columns: dict[str, Iterator[np.ndarray]] = {}
    for path, names in ((folder / f"keys_{part}.npz", KEYS), (folder / f"labels_{part}.npz", ("action",))):
        headers = arrays.npz_headers(path)
        columns |= {name: arrays.member_chunks(path, headers[name], CHUNK_ROWS) for name in names}
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


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
    with np.load(folder / "normalizer.npz", allow_pickle=False) as file:
        mean, scale = float(file["mean"][PRICE]), float(file["scale"][PRICE])
    prices = np.load(folder / f"observation_{part}.npy", mmap_mode="r")
    tick, game = (_picked(folder / f"keys_{part}.npz", name, spans) for name in ("tick", "game"))
    action = _picked(folder / f"labels_{part}.npz", "action", spans)
    return [
        PricePath(
            game[i][0].decode(),
            tick[i].astype(np.int64),
            np.maximum(prices[span, PRICE].astype(np.float64) * scale + mean, LOWEST),
            action[i].astype(np.int64),
            bool(tally.is_rugged[np.searchsorted(tally.start, span.start)]),
        )
        for i, span in enumerate(spans)
    ]


def _picked(path: Path, name: str, spans: list[slice]) -> list[np.ndarray]:
    """Return some runs of rows of one array of an NPZ."""
    found: list[list[np.ndarray]] = [[] for _ in spans]
    start = 0
    for rows in arrays.member_chunks(path, arrays.npz_headers(path)[name], CHUNK_ROWS):
        for own, span in zip(found, spans, strict=True):
            own.append(rows[max(0, span.start - start) : max(0, span.stop - start)].copy())
        start += len(rows)
    return [np.concatenate(own) for own in found]
