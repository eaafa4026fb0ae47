"""What batchwise is compared with: a plain pandas loop over files, a pyarrow one, and np.save alone.

Run as ``python tests/bench/baselines.py pandas|pyarrow RAW OUT`` or ``... floor PROCESSED OUT``.

The first two read all games of RAW, build the 422 base columns (375 raw, 24 positions, 23 one-hot) and the seven
labels, split by game, standardise with the train rows and save X_<part>.npy (float32) and labels_<part>.npz: the code
a competent user would write for data that fit in memory. They do less than batchwise: no 886 strategic columns, no
masks, no validation, no repair of blind reservations, no intermediate files.

The floor loads each array that batchwise left in PROCESSED (X, labels, masks), saves it with np.save three times, and
prints as JSON the CPU seconds of the saves alone (of each array the least of the three), of the repetitions, and the
bytes. It is what writing the result must cost.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from stages.datasets.splendor import schema

SAVES = 3  # of each array; the least CPU counts
PARTS = ("train", "val", "test")
STATE_NAMES = schema.RAW_COLUMNS[: schema.ACTION_COLUMN]
MOVE_NAMES = schema.RAW_COLUMNS[schema.ACTION_COLUMN + 1 :]
FIRST_MOVE_COLUMN = schema.ACTION_COLUMN + 1
POSITION_COLUMNS = [schema.PLAYERS_COLUMN + seat * schema.PLAYER_WIDTH for seat in range(schema.N_SEATS)]


def raw_files(raw_dir: Path) -> list[Path]:
    """Return the games of a raw folder in the order both baselines read them."""
    return sorted(raw_dir.glob("*_games/*.csv"))


def read_pandas(files: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read games with pandas: state (N, 383), 0 where empty; moves (N, 19), -1 where empty; action types (N,)."""
    import pandas as pd

    table = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    state = table[list(STATE_NAMES)].fillna(0).to_numpy(np.int32)
    moves = table[list(MOVE_NAMES)].fillna(-1).to_numpy(np.int32)
    actions = table["action_type"].map({name: i for i, name in enumerate(schema.ACTION_TYPES)}).to_numpy(np.int16)
    return state, moves, actions


def read_pyarrow(files: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read games with pyarrow, every column's type given; the arrays are those of `read_pandas`."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    types = dict.fromkeys(schema.RAW_COLUMNS, pa.int8()) | {"action_type": pa.string()}
    types |= {"game_id": pa.int32(), "turn_number": pa.int32()}
    options = csv.ConvertOptions(column_types=types, null_values=["nan", ""], strings_can_be_null=True)
    table = pa.concat_tables([csv.read_csv(file, convert_options=options) for file in files])
    state = np.empty((table.num_rows, len(STATE_NAMES)), np.int32)
    for column, name in enumerate(STATE_NAMES):
        state[:, column] = table[name].fill_null(0).to_numpy()
    moves = np.empty((table.num_rows, len(MOVE_NAMES)), np.int32)
    for column, name in enumerate(MOVE_NAMES):
        moves[:, column] = table[name].fill_null(-1).to_numpy()
    actions = pc.index_in(table["action_type"], pa.array(schema.ACTION_TYPES)).to_numpy().astype(np.int16)
    return state, moves, actions


READERS = {"pandas": read_pandas, "pyarrow": read_pyarrow}


def base_names() -> tuple[str, ...]:
    """Return the names of the 422 base columns, in the order of the feature matrix."""
    raw = [STATE_NAMES[column] for column in _raw_columns()]
    positions = [f"card{slot}_position" for slot in range(schema.N_SLOTS)]
    positions += [f"player{p}_reserved{r}_position" for p in range(4) for r in range(schema.RESERVED_LIMIT)]
    one_hot = [f"current_player_{seat}" for seat in range(4)] + [f"num_players_{n}" for n in schema.PLAYER_COUNTS]
    one_hot += [f"player{p}_position_{seat}" for p in range(4) for seat in range(4)]
    return (*raw, *positions, *one_hot)


def is_normalised() -> np.ndarray:
    """Return which of the base columns are standardised, bool (422,): neither positions, bonuses nor one-hots."""
    names = base_names()
    return np.array(
        [i < len(names) - 23 and "position" not in name and "_bonus_" not in name for i, name in enumerate(names)]
    )


def _raw_columns() -> list[int]:
    return [i for i in range(schema.BANK_COLUMN, schema.ACTION_COLUMN) if i not in POSITION_COLUMNS]


def base_columns(state: np.ndarray) -> np.ndarray:
    """Return the base columns, float32 (N, 422), of states (N, 383)."""
    result = np.empty((len(state), len(base_names())), np.float32)
    cards = state[:, schema.CARDS_COLUMN : schema.DECKS_COLUMN].reshape(-1, schema.N_SLOTS, schema.CARD_WIDTH)
    is_card = (cards != 0).any(2)
    gaps = np.flatnonzero((~is_card[:, :-1] & is_card[:, 1:]).any(1))
    order = np.argsort(~is_card[gaps], axis=1, kind="stable")
    cards[gaps] = np.take_along_axis(cards[gaps], order[:, :, None], 1)
    result[:, :375] = state[:, _raw_columns()]
    slots = np.arange(schema.N_SLOTS)
    result[:, 375:387] = np.where(slots < is_card.sum(1)[:, None], slots, -1)
    for seat, start in enumerate(POSITION_COLUMNS):
        reserved = state[:, start + schema.RESERVED_IN_PLAYER : start + schema.PLAYER_WIDTH].reshape(-1, 3, 12)
        first = 387 + 3 * seat
        result[:, first : first + 3] = np.where((reserved != 0).any(2), [12, 13, 14], -1)
    seats = np.arange(schema.N_SEATS)
    result[:, 399:403] = state[:, 3, None] == seats
    result[:, 403:406] = state[:, 1, None] == schema.PLAYER_COUNTS
    is_there = seats < state[:, 1, None]
    result[:, 406:] = ((state[:, POSITION_COLUMNS, None] == seats) & is_there[:, :, None]).reshape(-1, 16)
    return result


def labels(moves: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Return the seven labels, int16 (N,), -1 where a head does not apply."""
    take3, take2 = moves[:, 2:7] == 1, moves[:, 7:12] == 2
    take3_class = np.full(32, -1, np.int16)
    for index, chosen in enumerate(schema.TAKE3_CLASSES):
        take3_class[sum(1 << colour for colour in chosen)] = index if chosen else -1
    removed_class = np.full(4**6, -1, np.int16)
    for index, tokens in enumerate(schema.REMOVED_CLASSES):
        removed_class[np.dot(tokens, 4 ** np.arange(6))] = index
    return {
        "action_type": actions,
        "card_selection": moves[:, 0].astype(np.int16),
        "card_reservation": moves[:, 1].astype(np.int16),
        "gem_take3": take3_class[take3 @ (1 << np.arange(5))],
        "gem_take2": np.where(take2.any(1), take2.argmax(1), -1).astype(np.int16),
        "noble": moves[:, 12].astype(np.int16),
        "gems_removed": removed_class[moves[:, 13:] @ 4 ** np.arange(6)],
    }


def build(library: str, raw_dir: Path, out_dir: Path) -> None:
    """Read all games with one of the libraries and save the parts."""
    state, moves, actions = READERS[library](raw_files(raw_dir))
    games, game = np.unique(state[:, 0], return_inverse=True)
    features, heads = base_columns(state), labels(moves, actions)
    del state, moves
    part = np.digitize(np.random.default_rng(42).random(len(games)), (0.8, 0.9))[game]
    mean, scale = _standardisation(features[part == 0])
    for index, name in enumerate(PARTS):
        rows = part == index
        np.save(out_dir / f"X_{name}.npy", (features[rows] - mean) / scale)
        np.savez(out_dir / f"labels_{name}.npz", **{head: label[rows] for head, label in heads.items()})


def _standardisation(train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    use = is_normalised()
    return np.where(use, mean, 0).astype(np.float32), np.where(use & (std > 0), std, 1).astype(np.float32)


def floor(processed_dir: Path, out_dir: Path) -> None:
    """Save each final array with np.save, one at a time, and print what the saves alone cost."""
    costs = {"saves_cpu_s": 0.0, "repetitions_cpu_s": 0.0, "bytes": 0}

    def save(path: Path, array: np.ndarray) -> None:
        spent = _save_cpu_s(path, array)
        costs["saves_cpu_s"] += min(spent)
        costs["repetitions_cpu_s"] += sum(spent) - min(spent)
        costs["bytes"] += array.nbytes

    for path in sorted(processed_dir.glob("X_*.npy")):
        save(out_dir / path.name, np.load(path))
    for path in sorted([*processed_dir.glob("labels_*.npz"), *processed_dir.glob("masks_*.npz")]):
        with np.load(path) as archive:
            for name in archive.files:
                save(out_dir / f"{path.stem}_{name}.npy", archive[name])
    print(json.dumps(costs))


def _save_cpu_s(path: Path, array: np.ndarray) -> list[float]:
    """Return the CPU seconds of some saves of one array; each time the file is new.

    The first save may take memory the machine has to fetch first; the next one takes what removing the file gave back.
    """
    spent = []
    for _ in range(SAVES):
        path.unlink(missing_ok=True)
        start = time.process_time()
        np.save(path, array)
        spent.append(time.process_time() - start)
    return spent


def main() -> None:
    """Run one baseline from the command line."""
    kind, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    target.mkdir(parents=True)
    if kind == "floor":
        floor(source, target)
    else:
        build(kind, source, target)


if __name__ == "__main__":
    main()
