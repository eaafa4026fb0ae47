"""The peers of `make bench-peers` give the values that batchwise gives, in the columns that both have."""

import importlib.util
import sys

import numpy as np
import pytest

from stages.datasets.splendor import encode, schema, simulate
from stages.datasets.splendor.find import find
from tests.helpers.places import REPOSITORY

sys.path.append(str(REPOSITORY / "tests/bench"))  # its modules are scripts that stand side by side
import baselines
import peer_columns
import peers

pytestmark = pytest.mark.slow

N_GAMES = 20
NO_REPAIR = "card_reservation"  # blind reservations stay as they were logged


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers") / "raw"
    simulate.write(folder, {"games": N_GAMES, "seed": 42})
    return folder


@pytest.fixture(scope="module")
def expected(raw):
    """Return what batchwise reads and encodes, dealt to the peers' parts and standardised there, by part and array."""
    arrays = encode.encode(encode.read(raw, find(raw, {}), {}), {})
    names = list(encode.FIELDS["X"].names)
    x = arrays["X"][:, [names.index(name) for name in baselines.base_names()]].astype(np.float64)
    part = peer_columns.part_of(arrays["game_id"])
    train = x[part == 0]
    use = baselines.is_normalised() & (train.std(0) > 0)
    x = np.where(use, (x - train.mean(0)) / np.where(use, train.std(0), 1), x - baselines.is_normalised() * train[0])
    heads = {head: arrays[f"label_{head}"] for head in schema.HEADS}
    keys = np.stack([arrays[name] for name in peer_columns.KEYS], axis=1)
    found = {"X": x, "keys": keys, **heads}
    return {name: {key: one[part == i] for key, one in found.items()} for i, name in enumerate(peer_columns.PARTS)}


def in_order(arrays):
    """Return arrays with their rows in the order of the keys, which some peers do not keep."""
    order = np.lexsort(arrays["keys"].T[::-1])
    return {name: array[order] for name, array in arrays.items()}


@pytest.mark.parametrize("name", peers.PROGRAMS)
def test_a_peer_gives_the_values_of_batchwise(name, raw, expected, tmp_path):
    library = peers.PROGRAMS[name][0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; `make bench-peers` installs it")
    out = tmp_path / "out"
    peers.run_peer(name, raw, out, REPOSITORY)
    assert {path.name for path in out.iterdir()} == {
        f"{array}_{part}.npy" for part in peer_columns.PARTS for array in ("X", "keys", *schema.HEADS)
    }
    for part in peer_columns.PARTS:
        found = in_order({array: np.load(out / f"{array}_{part}.npy") for array in expected[part]})
        wanted = in_order(expected[part])
        assert found["X"].dtype == np.float32
        assert found["X"].shape == (len(wanted["keys"]), len(baselines.base_names()))
        np.testing.assert_allclose(found.pop("X"), wanted.pop("X"), rtol=1e-4, atol=1e-4)
        for array in wanted.keys() - {NO_REPAIR}:
            np.testing.assert_array_equal(found[array], wanted[array], err_msg=f"{array} of {part}")


def test_games_are_in_all_parts_eight_to_one_to_one():
    counts = np.bincount(peer_columns.part_of(np.arange(1, 10_001)))
    np.testing.assert_allclose(counts, [8_000, 1_000, 1_000], rtol=0.1)


def test_a_report_names_the_best_peer_and_what_it_takes():
    figures = {"cpu_s": 2.0, "wall_s": 1.0, "peak_mb": 100.0}
    sizes = {250: {"batchwise": figures, "polars": figures | {"cpu_s": 3.0}, "pandas": figures | {"cpu_s": 9.0}}}
    assert "250 games: polars takes 1.50 times our CPU, goal 2: MISS" in peers.report(sizes)
