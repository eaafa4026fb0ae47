"""Steps of episodes as transitions (observation, action, reward, next observation, done), for a trainer.

The arrays hold each step once; the next observation is the next row of the same episode, so it costs no bytes, the last
observation is kept, and no transition can reach into another episode::

    from stages.datasets.rugs.training.transitions import get_batch, of_part

    dataset = of_part("data/processed/rugs", "train")     # standardised; `of_merged` and `of_batch` give raw values
    observation, action, reward, next_observation, done = dataset[0]
    batch = get_batch(dataset, 256)                       # goes on with the dataset's own random numbers
    batch = dataset.batch(256, rng=7, balanced=True, extras=("mask_action",))

A transition starts at each step but the last of an episode, except at the HOLDs that the option `hold_keep` leaves out.
`refused` marks the presses that the mask of their step forbids, such as a SELL without a position. A policy that keeps
to the mask cannot press them: behaviour cloning leaves them out (``skip_refused=True``), evaluation counts them.

`dones` says that the game was over, so the value of the next state is 0; `truncateds` that only the recording was, so
its value is unknown and not 0.

Files are mapped, not loaded; the number of a row stays in memory for each transition, 8 bytes.

With `split.windows: {observation: {window: 2, step: 1}}` in params.yaml the loader streams transitions as well, with
its shuffling, shares and checkpoints: a sample is then two steps, and `from_pairs` makes a transition of it::

    settings = Settings(shuffle_seed=42, window="observation", fields=STEP_FIELDS, transform=from_pairs)
    with batches("data/processed/rugs", "train", settings) as stream: ...

References
----------
Rows shifted over episode borders, and lost final observations, are known defects of older readers of such data:
D4RL issues 145, 182 and 204, d3rlpy issue 98. Termination against truncation: RLDS, "is_terminal".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from stages.core import arrays, merged_files
from stages.core.errors import ExpectedError
from stages.core.params import SplitParams
from stages.core.part_files import PARTS
from stages.core.standardise import Standard
from stages.datasets.rugs.schema import ACTIONS, FEATURE_COUNT
from stages.loader.mapped_file import MappedFile, mapped
from stages.processed import Processed
from stages.splitting.parts import open_merged

STEP_FIELDS: Final = (
    "observation", "label_action", "reward", "terminated", "truncated", "player_known", "kept", "refused", "tick",
)  # fmt: skip
NAMED: Final = {  # name in a batch: field and dtype
    "actions": ("label_action", np.int64),
    "rewards": ("reward", np.float32),
    "dones": ("terminated", np.bool_),
    "truncateds": ("truncated", np.bool_),
    "player_known": ("player_known", np.bool_),
    "refused": ("refused", np.bool_),
    "tick": ("tick", np.int64),
}

Arrays = Mapping[str, np.ndarray]
Batch = dict[str, np.ndarray]
Transition = tuple[np.ndarray, int, float, np.ndarray, bool]
Rng = int | np.random.Generator | None


class Transitions:
    """The transitions of some episodes.

    Parameters
    ----------
    steps
        Arrays of S steps by the names of `STEP_FIELDS`: observation float32 (S, 36), label_action (-1 or an index in
        `schema.ACTIONS`), reward (SOL), terminated, truncated, player_known, kept and refused (0 or 1), tick. Others
        may be with them.
    offsets
        int64 (E+1,): first step of each episode, and S.
    chosen
        bool (E,): which episodes to take; None is all.
    seed
        Of the random numbers of `batch` without any of its own.
    skip_refused
        Whether transitions whose action the mask forbids are left out.

    Attributes
    ----------
    starts, stops
        int64: first step of each episode taken, and the one after its last.
    rows
        int64 (N,): the step that each transition starts at.

    Raises
    ------
    ExpectedError
        When an array is missing or has not S rows.
    """

    def __init__(
        self,
        steps: Arrays,
        offsets: np.ndarray,
        chosen: np.ndarray | None = None,
        seed: int = 0,
        *,
        skip_refused: bool = False,
    ) -> None:
        _check(steps, int(offsets[-1]))
        is_taken = np.diff(offsets) > 0 if chosen is None else chosen & (np.diff(offsets) > 0)
        self.steps = steps
        self.starts, self.stops = offsets[:-1][is_taken], offsets[1:][is_taken]
        is_start = (steps["kept"] != 0) & np.repeat(is_taken, np.diff(offsets))
        is_start[self.stops - 1] = False
        if skip_refused:
            is_start &= steps["refused"] == 0
        self.rows = np.flatnonzero(is_start)
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Transition:
        """Return (observation float32 (36,), action, reward, next observation float32 (36,), done)."""
        row = self.rows[range(len(self))[index]]
        steps = self.steps
        observation, following = (np.array(steps["observation"][at], np.float32) for at in (row, row + 1))
        action, reward = int(steps["label_action"][row]), float(steps["reward"][row])
        return observation, action, reward, following, bool(steps["terminated"][row])

    def take(self, indices: np.ndarray | slice, extras: Sequence[str] = ()) -> Batch:
        """Return some transitions as arrays of their own.

        Parameters
        ----------
        indices
            int64 (B,), or a slice.
        extras
            Further fields to give, by name, for example ``mask_action``.

        Returns
        -------
        dict
            observations and next_observations float32 (B, 36), actions int64 (B,), rewards float32 (B,), dones,
            truncateds, player_known and refused bool (B,), tick int64 (B,), and episode int64 (B,), an index in
            `starts`.
        """
        rows = self.rows[indices]
        batch: Batch = {name: self.steps[field][rows].astype(dtype) for name, (field, dtype) in NAMED.items()}
        for name, at in (("observations", rows), ("next_observations", rows + 1)):
            batch[name] = self.steps["observation"][at].astype(np.float32, copy=False)
        batch["episode"] = np.searchsorted(self.starts, rows, side="right") - 1
        return batch | {name: _field(self.steps, name)[rows] for name in extras}

    def batch(self, size: int, rng: Rng = None, balanced: bool = False, extras: Sequence[str] = ()) -> Batch:
        """Return `size` random transitions as `take` does; all different if there are as many.

        Parameters
        ----------
        size
            At least 1.
        rng
            A seed, or a generator that goes on; None goes on with the dataset's own.
        balanced
            Draw each action that occurs equally often instead of as often as it occurs; a rare one is then repeated.
        extras
            As in `take`.
        """
        if not len(self):
            raise ExpectedError(f"{len(self.starts)} episodes have no transition, expected some; choose another part")
        rng = self._rng if rng is None else np.random.default_rng(rng)
        return self.take(_balanced(self._by_action, size, rng) if balanced else _draw(len(self), size, rng), extras)

    @property
    def actions(self) -> np.ndarray:
        """The action of each transition, int64 (N,)."""
        return self.steps["label_action"][self.rows].astype(np.int64)

    @cached_property
    def _by_action(self) -> list[np.ndarray]:
        """The transitions of each action that occurs."""
        actions = self.actions
        return [np.flatnonzero(actions == action) for action in np.unique(actions)]


def get_batch(dataset: Transitions, batch_size: int, rng: Rng = None) -> Batch:
    """Return `batch_size` random transitions; see `Transitions.batch`."""
    return dataset.batch(batch_size, rng)


def of_batch(path: str | Path) -> Transitions:
    """Open one batch, data/intermediate/rugs/<batch>.npz; values are raw."""
    steps = _npz(Path(path))
    return Transitions(steps, steps["group_offsets"])


def of_part(folder: str | Path, part: str, *, skip_refused: bool = False) -> Transitions:
    """Open one part of data/processed/rugs; observations are standardised.

    Parameters
    ----------
    folder, part
        Where, and train, val or test.
    skip_refused
        See `Transitions`.

    Raises
    ------
    ExpectedError
        When the steps of an episode do not lie together.
    """
    folder = Path(folder)
    data = Processed(folder)
    places = mapped(data.places(part))
    steps: dict[str, Any] = {name: file.array(header) for name, (file, header) in places.items()}
    if standard := data.standard("observation", places["observation"][1]):
        steps["observation"] = _Standardised(steps["observation"], standard)
    group = _field(steps, "group_id")
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    if len(np.unique(group[starts])) < len(starts):
        raise ExpectedError(f"{folder}: the steps of an episode lie apart, expected one run; set split.shuffle: false")
    return Transitions(steps, np.append(starts, len(group)), skip_refused=skip_refused)


@dataclass(frozen=True)
class _Standardised:
    """Rows that are stored as merged, standardised when they are taken; all of them are valid."""

    stored: np.ndarray
    standard: Standard

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def __getitem__(self, rows: Any) -> np.ndarray:
        taken = self.stored[rows]
        return self.standard.apply(taken.reshape(-1, *self.shape[1:])).reshape(taken.shape)


def of_merged(folder: str | Path, params: SplitParams, part: str | None = None) -> Transitions:
    """Open the episodes of one part, or None for all, in data/merged/rugs; values are raw.

    What is in which part is computed as split does it, so these are the steps of `of_part`, bit for bit as encoded.
    """
    merged = open_merged(Path(folder), params)
    steps = {field.name: _npy(merged.folder / merged_files.array(field.name)) for field in merged.fields}
    chosen = None if part is None else merged.part == PARTS.index(part)
    return Transitions(steps, merged.offsets, chosen)


def from_pairs(batch: Batch, _numbers: np.ndarray) -> Batch:
    """Make transitions of samples of two steps each; a `Settings.transform` (see above).

    Gives what `Transitions.take` gives, without `episode`; the HOLDs that `hold_keep` leaves out are left out here too.
    Refused presses are there; ``batch["refused"]`` marks them.
    """
    pairs = {name: values[batch["kept"][:, 0] != 0] for name, values in batch.items()}
    del pairs["kept"]
    result: Batch = {name: pairs.pop(field)[:, 0].astype(dtype) for name, (field, dtype) in NAMED.items()}
    observations = pairs.pop("observation")
    result |= {"observations": observations[:, 0], "next_observations": observations[:, 1]}
    return result | {name: values[:, 0] for name, values in pairs.items()}


def action_histogram(actions: np.ndarray) -> dict[str, int]:
    """Return how often each action occurs, by name; -1 is none."""
    counts = np.bincount(actions[actions >= 0], minlength=len(ACTIONS))
    return dict(zip(ACTIONS, counts.tolist(), strict=True))


def class_weights(actions: np.ndarray) -> np.ndarray:
    """Return the weight of each action that makes all of them count the same, float32 (4,); 0 for one not there.

    ``class_weights(actions)[actions]`` are the weights of samples; their mean is 1.
    """
    return weights_of(np.array(list(action_histogram(actions).values()))).astype(np.float32)


def weights_of(counts: np.ndarray) -> np.ndarray:
    """Return the weights of actions that occur so often, float64 (4,)."""
    share = counts.sum() / max(1, np.count_nonzero(counts))
    return np.divide(share, counts, out=np.zeros(len(counts)), where=counts > 0)


def statistics(dataset: Transitions) -> dict[str, Any]:
    """Return what a reader wants to know of a part.

    Returns
    -------
    dict
        ``episodes``, of them ``terminated``; ``steps``, ``transitions``, of them ``known`` (the player's state) and
        ``refused`` (by their mask); ``return`` and ``length`` of episodes, each {min, mean, max}, in SOL and
        transitions; ``actions``. A return counts all steps, also those that `hold_keep` leaves out.
    """
    sizes = dataset.stops - dataset.starts
    episode = np.repeat(np.arange(len(sizes)), sizes)
    row = np.arange(len(episode)) + np.repeat(dataset.starts - np.cumsum(sizes) + sizes, sizes)
    rewards = np.where(row < dataset.stops[episode] - 1, dataset.steps["reward"][row], 0.0)
    is_over = np.bincount(episode, dataset.steps["terminated"][row], len(sizes)) > 0
    known = dataset.steps["player_known"][dataset.rows]
    return {
        "episodes": len(sizes),
        "terminated": int(is_over.sum()),
        "steps": int(sizes.sum()),
        "transitions": len(dataset),
        "known": int(np.count_nonzero(known)),
        "refused": int(np.count_nonzero(dataset.steps["refused"][dataset.rows])),
        "return": _range(np.bincount(episode, rewards, len(sizes))),
        "length": _range(sizes - 1),
        "actions": action_histogram(dataset.actions),
    }


def statistics_by_part(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return `statistics` of each part of data/processed/rugs."""
    return {part: statistics(of_part(folder, part)) for part in PARTS}


def _range(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"min": 0.0, "mean": 0.0, "max": 0.0}
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}


def _draw(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `size` of n numbers, all different if there are as many."""
    return rng.choice(n, size, replace=size > n)


def _balanced(by_action: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw as many of each action, with those left over to actions drawn, in random order."""
    shares = np.full(len(by_action), size // len(by_action))
    shares[rng.permutation(len(shares))[: size % len(shares)]] += 1
    drawn = [chosen[_draw(len(chosen), n, rng)] for chosen, n in zip(by_action, shares.tolist(), strict=True)]
    return rng.permutation(np.concatenate(drawn))


def _check(steps: Arrays, n_steps: int) -> None:
    for name in STEP_FIELDS:
        expected = (n_steps, FEATURE_COUNT) if name == "observation" else (n_steps,)
        found = _field(steps, name).shape
        if found != expected:
            raise ExpectedError(f"steps: {name} is {found}, expected {expected}; give the arrays of one run")


def _field(steps: Arrays, name: str) -> np.ndarray:
    if name not in steps:
        raise ExpectedError(f"steps: no field {name!r}, expected one of {', '.join(sorted(steps))}; correct the name")
    return steps[name]


def _npy(path: Path) -> np.ndarray:
    header = arrays.npy_header(path)
    return MappedFile(path).array(header)


def _npz(path: Path) -> dict[str, np.ndarray]:
    headers = arrays.npz_headers(path)
    file = MappedFile(path)
    return {name: file.array(header) for name, header in headers.items()}
