"""Episodes in the formats of offline reinforcement learning: a Minari dataset, or the flat arrays of D4RL.

Observations are exported raw, not standardised: a user of the export decides on that, and other tools expect it so.
They are those of data/merged/rugs, bit for bit as encoded; the part of an episode is computed as split does it.

    python -m stages.datasets.rugs.training.export train exports  # Minari: rugs/pipeline-d-train-v0 in exports/
    python -m stages.datasets.rugs.training.export all exports --format d4rl  # exports/rugs-all.npz

    MINARI_DATASETS_PATH=exports python -c "import minari; print(minari.load_dataset('rugs/pipeline-d-train-v0'))"

======================  ==================  =====================  ==================================
here                    Minari              D4RL                   RLDS
======================  ==================  =====================  ==================================
observation (T+1 rows)  observations (T+1)  observations,          observation
                                            next_observations
label_action            actions (T)         actions                action
reward                  rewards             rewards                reward
terminated              terminations        terminals              is_terminal of the following step
truncated               truncations         timeouts               is_last, not is_terminal
refused (T+1 rows)      infos (T+1)         refused (T)
======================  ==================  =====================  ==================================

A Minari episode has T+1 observations for T actions. So it has all its steps, also those that the option `hold_keep`
leaves out of the transitions, and one of a single step has no action and is left out. `infos` holds tick, player_known,
refused (1 where the mask forbids the action) and, where it is there, the mask of legal actions, for T+1 steps; D4RL has
`refused` for each transition. Episodes are stored as HDF5, Minari's default: writing 1,000 of 190 steps takes 2.3 s.
Its Parquet would need no h5py but takes 38 s, since it measures the whole folder anew after each episode.

References
----------
Minari: minari.farama.org, "Dataset standards". D4RL: Fu et al., arXiv:2004.07219. RLDS: Ramos et al., arXiv:2111.02767.
"""

import argparse
import importlib.util
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from stages.core import arrays, paths
from stages.core.errors import ExpectedError
from stages.core.params import load
from stages.core.part_files import PARTS
from stages.datasets.rugs.schema import ACTIONS, FEATURE_COUNT, FEATURE_NAMES
from stages.datasets.rugs.training.transitions import Transitions, of_merged
from stages.runtime import cli

if TYPE_CHECKING:
    from minari.data_collector import EpisodeBuffer

logger = logging.getLogger("batchwise")

D4RL: Final = {"terminals": "dones", "timeouts": "truncateds"}
D4RL_SAME: Final = ("observations", "actions", "rewards", "next_observations", "refused")
DATASET_ID: Final = "rugs/pipeline-d-v0"
DESCRIPTION: Final = (
    "Games of a crash game as one human played them: a step is the first frame of a tick. "
    f"Actions: {', '.join(f'{number} {name}' for number, name in enumerate(ACTIONS))}. "
    "Reward: change of equity in SOL, 0 while the player's state is unknown. Observations are not standardised: "
    f"{', '.join(FEATURE_NAMES)}."
)
PACKAGES: Final = ("minari", "gymnasium", "h5py", "PIL")


@dataclass(frozen=True)
class About:
    """What a Minari dataset says of itself; None says nothing. `code_permalink` is the code's address at a commit."""

    author: str = "batchwise"
    author_email: str | None = None
    code_permalink: str | None = None
    description: str = DESCRIPTION
    algorithm_name: str = "human"


def to_d4rl(dataset: Transitions) -> dict[str, np.ndarray]:
    """Return all transitions as flat arrays, in memory.

    Returns
    -------
    dict
        observations and next_observations float32 (N, 36), actions int64 (N,), rewards float32 (N,), terminals,
        timeouts and refused (the mask forbids the action) bool (N,). The next observations are those of the same
        episode, so nothing is to be derived.
    """
    batch = dataset.take(slice(None))
    return {**{name: batch[name] for name in D4RL_SAME}, **{name: batch[own] for name, own in D4RL.items()}}


def to_minari(dataset: Transitions, folder: Path, dataset_id: str = DATASET_ID, about: About | None = None) -> Path:
    """Write a Minari dataset; an episode in memory at a time.

    Parameters
    ----------
    dataset
        With raw observations.
    folder
        What ``MINARI_DATASETS_PATH`` is to be for a reader.
    dataset_id
        ``namespace/name-v0``.
    about
        Author and so on.

    Returns
    -------
    Path
        The dataset's folder.

    Raises
    ------
    ExpectedError
        When Minari is not installed, or the dataset is there already.
    """
    _require_extra()
    target = folder / dataset_id
    if target.exists():
        raise ExpectedError(f"{target}: there already, expected no such dataset; remove it or choose another id")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _datasets_in(folder):
            _write(dataset, dataset_id, about or About())
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _write(dataset: Transitions, dataset_id: str, about: About) -> None:
    import gymnasium
    import minari

    with warnings.catch_warnings():  # recorded data have no environment; the rest is the user's choice
        warnings.filterwarnings("ignore", message=r"`(eval_env|author_email|code_permalink)` is set|env_spec is None")
        minari.create_dataset_from_buffers(
            dataset_id,
            _episodes(dataset),
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (FEATURE_COUNT,), np.float32),
            action_space=gymnasium.spaces.Discrete(len(ACTIONS)),
            data_format="hdf5",
            **vars(about),
        )


def _episodes(dataset: Transitions) -> "Iterator[EpisodeBuffer]":
    """Yield the episodes with at least one action."""
    from minari.data_collector import EpisodeBuffer

    steps = dataset.steps
    for start, stop in zip(dataset.starts.tolist(), dataset.stops.tolist(), strict=True):
        if stop - start < 2:
            continue
        actions = slice(start, stop - 1)
        infos = {name: steps[name][start:stop].tolist() for name in ("tick", "player_known", "refused")}
        if "mask_action" in steps:
            infos["mask_action"] = np.array(steps["mask_action"][start:stop])
        yield EpisodeBuffer(
            observations=np.array(steps["observation"][start:stop]),
            actions=steps["label_action"][actions].astype(np.int64),
            rewards=steps["reward"][actions].copy(),
            terminations=steps["terminated"][actions].astype(bool),
            truncations=steps["truncated"][actions].astype(bool),
            infos=infos,
        )


def _require_extra() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExpectedError(f"rugs.export: no package {missing[0]!r}, expected the extra rl; pip install -e '.[rl]'")


@contextmanager
def _datasets_in(folder: Path) -> Iterator[None]:
    """Let Minari read and write its datasets in a folder; it takes that from the environment only."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _export(arguments: argparse.Namespace) -> None:
    part = None if arguments.part == "all" else arguments.part
    if arguments.format == "minari":
        _require_extra()
    dataset = of_merged(paths.merged_dir("rugs"), load().split_of("rugs"), part)
    if arguments.format == "d4rl":
        target = arguments.folder / f"rugs-{arguments.part}.npz"
        arrays.save_npz(target, {name: [array] for name, array in to_d4rl(dataset).items()})
    else:
        dataset_id = arguments.id or (DATASET_ID if part is None else f"rugs/pipeline-d-{part}-v0")
        about = About(arguments.author, arguments.author_email, arguments.code_permalink)
        target = to_minari(dataset, arguments.folder, dataset_id, about)
    logger.info("%s: %d episodes, %d transitions", target, len(dataset.starts), len(dataset))


def main() -> int:
    """Run the export from the command line."""
    parser = cli.parser("datasets.rugs.training.export", "Export episodes for offline reinforcement learning.")
    parser.add_argument("part", choices=(*PARTS, "all"))
    parser.add_argument("folder", type=Path, help="where to write; MINARI_DATASETS_PATH of a reader")
    parser.add_argument("--format", choices=("minari", "d4rl"), default="minari")
    parser.add_argument("--id", help="of the Minari dataset (default: rugs/pipeline-d-<part>-v0)")
    for name in ("author", "author_email", "code_permalink"):
        parser.add_argument(f"--{name.replace('_', '-')}", default=getattr(About, name))
    arguments = parser.parse_args()
    return cli.run(lambda: _export(arguments), lambda: "nothing was written")


if __name__ == "__main__":
    sys.exit(main())
