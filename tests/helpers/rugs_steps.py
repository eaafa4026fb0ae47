"""Steps of made-up episodes whose numbers say which step of which episode they are, and batches of them."""

import json

import numpy as np

from stages.core import arrays, manifests, paths
from stages.core.files import write_text
from stages.datasets.base import group_id
from stages.datasets.rugs.encode import FIELDS

HOUR = 3600 * 10**9
START = 1_700_000_000 * 10**9
BATCHES = ("b0", "b10", "b11")


def make_steps(lengths, seed=0, hold_keep=1.0):
    """Return the fields of episodes of some lengths, and their offsets.

    Episode e begins at hour e. Column 0 of the observation is the tick, column 8 the episode; the reward is a dyadic
    fraction, so that sums are exact; every second episode is truncated.
    """
    rng = np.random.default_rng(seed)
    lengths = np.array(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n, episode = int(offsets[-1]), np.repeat(np.arange(len(lengths)), lengths)
    tick = np.arange(n) - offsets[episode]
    is_last, ends = tick == lengths[episode] - 1, tick == lengths[episode] - 2
    observation = rng.normal(size=(n, 36)).astype(np.float32)
    observation[:, 0], observation[:, 8] = tick, episode
    action = rng.choice(4, n, p=[0.85, 0.05, 0.05, 0.05])
    mask = rng.integers(0, 2, (n, 4))
    columns = {
        "observation": observation,
        "label_action": np.where(is_last, -1, action),
        "mask_action": mask,
        "reward": np.where(is_last, 0, rng.integers(-64, 64, n) / 64),
        "terminated": ends & (episode % 2 == 0),
        "truncated": ends & (episode % 2 == 1),
        "player_known": rng.integers(0, 2, n),
        "tick": tick,
        "executed": rng.integers(0, 2, n),
        "refused": ~is_last & (action > 0) & (mask[np.arange(n), action] == 0),
        "kept": (action != 0) | (rng.random(n) < hold_keep),
        "line": 3 * tick + 2,
        "player": np.full(n, 7),
        "time": START + episode * HOUR,
        "game": np.array([game_id(e) for e in range(len(lengths))], "S25")[episode],
        "lookback": np.zeros(n),
    }
    return {name: columns[name].astype(field.dtype) for name, field in FIELDS.items()}, offsets


def game_id(episode):
    """Return the game id of an episode: a date and, as in real ones, digits that say nothing of the time."""
    return f"20231114-{(episode * 0x9E3779B97F4A7C15) % 2**64:016x}"


def write_batches(steps, offsets):
    """Write the NPZ of `BATCHES`, as process does, and their list; episodes go round."""
    listed = {}
    for number, batch in enumerate(BATCHES):
        chosen = range(number, len(offsets) - 1, len(BATCHES))
        keys = listed[batch] = [game_id(e) for e in chosen]
        rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in chosen])
        members = {name: [array[rows]] for name, array in steps.items()}
        members["group_id"] = [np.array([group_id(f"rugs {key}") for key in keys], np.uint64)]
        members["group_offsets"] = [np.cumsum([0, *(offsets[e + 1] - offsets[e] for e in chosen)], dtype=np.int64)]
        members["source"] = [np.arange(len(keys), dtype=np.int32)]
        meta = {"batch": batch, "dataset": "rugs", "units": keys, "bad_units": [], "findings": []}
        fields = [field.header(name) for name, field in sorted(FIELDS.items())]
        members["meta"] = [np.frombuffer(json.dumps({**meta, "fields": fields}).encode(), np.uint8)]
        arrays.save_npz(paths.intermediate("rugs", batch), members)
    write_text(paths.batch_list("rugs"), manifests.batch_list_text("rugs", listed))
