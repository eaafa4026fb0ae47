"""Transitions over arrays of steps: never across episodes, sampled as promised, whole episodes in one part."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core import paths
from stages.core.errors import ExpectedError
from stages.core.params import SplitParams, Window
from stages.core.part_files import PARTS
from stages.datasets.rugs.report import tally
from stages.datasets.rugs.schema import FEATURE_NAMES
from stages.datasets.rugs.training import features
from stages.datasets.rugs.training.transitions import (
    STEP_FIELDS,
    Transitions,
    action_histogram,
    class_weights,
    from_pairs,
    get_batch,
    of_batch,
    of_merged,
    of_part,
    statistics,
    statistics_by_part,
)
from stages.loader import Settings, batches
from stages.merge import merge
from stages.split import split
from tests.helpers.rugs_steps import game_id, make_steps, write_batches
from tests.helpers.stores import STORES

LENGTHS = [1, 5, 2, 9, 1, 40, 3, 2, 17, 30]
BY_TIME = SplitParams(train=0.6, val=0.2, test=0.2, by="time", windows={"observation": Window(2, 1)})
BY_GROUP = SplitParams(train=0.6, val=0.2, test=0.2)


def dataset_of(lengths, **kwargs):
    return Transitions(*make_steps(lengths, **kwargs))


@settings(max_examples=80)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=12), st.sampled_from([0.0, 0.5, 1.0]), st.data())
def test_the_next_observation_is_the_next_step_of_the_same_episode(lengths, hold_keep, data):
    """For all transitions of any choice of episodes, with and without thinned HOLDs."""
    steps, offsets = make_steps(lengths, hold_keep=hold_keep)
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    dataset = Transitions(steps, offsets, chosen)
    batch = dataset.take(slice(None))
    seen, following = batch["observations"], batch["next_observations"]
    assert (following[:, 8] == seen[:, 8]).all()
    assert (following[:, 0] == seen[:, 0] + 1).all()
    is_kept = steps["kept"].astype(bool) & (steps["label_action"] >= 0) & np.repeat(chosen, lengths)
    assert seen.tolist() == steps["observation"][is_kept].tolist()
    expected = [(e, length - 2) for e, length in enumerate(lengths) if chosen[e] and length > 1]
    ends = batch["dones"] | batch["truncateds"]
    found = list(zip(seen[ends, 8].astype(int).tolist(), seen[ends, 0].astype(int).tolist(), strict=True))
    assert found == [end for end in expected if steps["kept"][offsets[end[0]] + end[1]]]
    assert (batch["dones"] == (ends & (seen[:, 8] % 2 == 0))).all()


def test_an_item_is_a_transition_of_plain_values():
    """Two episodes worked by hand; the one observation of the third begins nothing."""
    steps, offsets = make_steps([2, 3, 1])
    dataset = Transitions(steps, offsets)
    assert len(dataset) == 3
    for index, row in enumerate([0, 2, 3]):
        seen, action, reward, following, done = dataset[index]
        assert (seen == steps["observation"][row]).all()
        assert (following == steps["observation"][row + 1]).all()
        assert (action, reward, done) == (int(steps["label_action"][row]), float(steps["reward"][row]), row == 0)
        assert (seen.dtype, seen.shape, type(action), type(reward), type(done)) == ("f4", (36,), int, float, bool)
    assert [item[4] for item in dataset] == [True, False, False]
    assert dataset[-1][0].tolist() == dataset[2][0].tolist()
    with pytest.raises(IndexError, match="out of range"):
        dataset[3]


def test_a_batch_has_the_shapes_and_dtypes_that_trainers_expect():
    """And extras under their own names."""
    dataset = dataset_of(LENGTHS)
    batch = dataset.batch(32, 1, extras=("mask_action", "executed"))
    types = {name: (str(array.dtype), array.shape[1:]) for name, array in batch.items()}
    assert types == {
        "observations": ("float32", (36,)),
        "next_observations": ("float32", (36,)),
        "actions": ("int64", ()),
        "rewards": ("float32", ()),
        "dones": ("bool", ()),
        "truncateds": ("bool", ()),
        "player_known": ("bool", ()),
        "refused": ("bool", ()),
        "episode": ("int64", ()),
        "tick": ("int64", ()),
        "mask_action": ("uint8", (4,)),
        "executed": ("uint8", ()),
    }
    assert (batch["tick"] == batch["observations"][:, 0]).all()
    assert (batch["episode"] == batch["observations"][:, 8]).all()
    assert {len(array) for array in batch.values()} == {32}
    with pytest.raises(ExpectedError, match="no field 'trade_id', expected one of executed, game"):
        dataset.batch(3, extras=("trade_id",))


def keys_of(batch):
    return list(zip(batch["episode"].tolist(), batch["tick"].tolist(), strict=True))


def test_cloning_skips_the_refused_presses_and_evaluation_counts_them():
    """And only them; `statistics` says how many there are."""
    steps, offsets = make_steps([60] * 20)
    dataset, legal = Transitions(steps, offsets), Transitions(steps, offsets, skip_refused=True)
    batch, left = dataset.take(slice(None), ("mask_action",)), legal.take(slice(None))
    chosen = batch["mask_action"][np.arange(len(dataset)), batch["actions"]] == 1
    assert batch["refused"].tolist() == (~chosen & (batch["actions"] > 0)).tolist()
    assert 0 < batch["refused"].sum() < (batch["actions"] > 0).sum()
    assert keys_of(left) == [key for key, is_out in zip(keys_of(batch), batch["refused"], strict=True) if not is_out]
    assert not left["refused"].any()
    assert statistics(dataset)["refused"] == batch["refused"].sum()
    assert statistics(legal)["refused"] == 0


@pytest.mark.parametrize("balanced", [False, True])
def test_a_seed_gives_the_same_batch_and_none_goes_on(balanced):
    """No two batches of a dataset are the same unless that was asked for."""
    dataset, other = dataset_of(LENGTHS), dataset_of(LENGTHS)
    assert keys_of(dataset.batch(20, 3, balanced)) == keys_of(other.batch(20, 3, balanced))
    drawn = [keys_of(dataset.batch(20, balanced=balanced)) for _ in range(3)]
    assert drawn == [keys_of(other.batch(20, balanced=balanced)) for _ in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]
    rng = np.random.default_rng(9)
    assert keys_of(get_batch(dataset, 20, rng)) != keys_of(get_batch(dataset, 20, rng))


def test_a_batch_repeats_a_transition_only_if_it_is_larger_than_the_dataset():
    """All of them once is the largest one without repetition."""
    dataset = dataset_of(LENGTHS)
    n = len(dataset)
    assert len(set(keys_of(get_batch(dataset, n)))) == n
    assert len(get_batch(dataset, 2 * n)["actions"]) == 2 * n
    with pytest.raises(ExpectedError, match="2 episodes have no transition"):
        dataset_of([1, 1]).batch(1)


def test_balanced_batches_have_as_many_of_each_action():
    """Those left over go to actions drawn; an action that never occurs gets none."""
    dataset = dataset_of([60] * 20)
    counts = Counter(dataset.batch(402, 1, balanced=True)["actions"].tolist())
    assert sorted(counts.values()) == [100, 100, 101, 101]
    holds = dataset.batch(402, 1, balanced=True)
    holds = [key for key, action in zip(keys_of(holds), holds["actions"], strict=True) if action == 0]
    assert len(set(holds)) == len(holds)
    steps, offsets = make_steps([60] * 20)
    steps["label_action"][steps["label_action"] > 1] = 0
    assert set(Transitions(steps, offsets).batch(50, 1, balanced=True)["actions"].tolist()) == {0, 1}


def test_class_weights_make_all_actions_count_the_same():
    """An action that is not there has none."""
    actions = np.array([0] * 6 + [1] * 2 + [3, -1])
    assert action_histogram(actions) == {"HOLD": 6, "BUY": 2, "SELL": 0, "SIDEBET": 1}
    weights = class_weights(actions)
    assert weights.dtype == np.float32
    assert weights.tolist() == [0.5, 1.5, 0.0, 3.0]


def test_statistics_are_those_of_a_walk_over_the_episodes():
    """Returns count every step, also thinned ones."""
    steps, offsets = make_steps(LENGTHS, hold_keep=0.5)
    chosen = np.array([e % 3 != 0 for e in range(len(LENGTHS))])
    dataset = Transitions(steps, offsets, chosen)
    returns = [steps["reward"][offsets[e] : offsets[e + 1]].sum() for e in np.flatnonzero(chosen)]
    lengths = [LENGTHS[e] - 1 for e in np.flatnonzero(chosen)]
    found = statistics(dataset)
    assert found["return"] == {"min": min(returns), "mean": pytest.approx(np.mean(returns)), "max": max(returns)}
    assert found["length"] == {"min": min(lengths), "mean": pytest.approx(np.mean(lengths)), "max": max(lengths)}
    counts = {name: found[name] for name in ("episodes", "steps", "transitions", "known", "terminated")}
    assert counts == {
        "episodes": len(returns),
        "steps": sum(lengths) + len(lengths),
        "transitions": len(dataset),
        "known": int(dataset.take(slice(None))["player_known"].sum()),
        "terminated": sum(1 for e in np.flatnonzero(chosen) if e % 2 == 0 and LENGTHS[e] > 1),
    }


@pytest.fixture
def steps(here):
    """Write and merge three batches of 60 episodes; return their steps and offsets."""
    lengths = np.random.default_rng(5).integers(1, 20, 60)
    made = make_steps(lengths, hold_keep=0.5)
    write_batches(*made)
    merge("rugs", 0)
    return made


@pytest.mark.parametrize("params", [BY_GROUP, BY_TIME])
def test_an_episode_is_in_one_part_and_with_time_later_ones_are_tested(steps, params):
    """Nothing is left out at a boundary, though game ids do not rise with time."""
    split("rugs", params)
    episodes = {part: set(of_part(paths.processed_dir("rugs"), part).steps["game"].tolist()) for part in PARTS}
    assert sum(map(len, episodes.values())) == len(set.union(*episodes.values())) == 60
    times = {part: [e for e in range(60) if game_id(e).encode() in episodes[part]] for part in PARTS}
    in_order = max(times["train"]) < min(times["val"]) and max(times["val"]) < min(times["test"])
    assert in_order == (params is BY_TIME)
    assert [game_id(e) for e in range(60)] != sorted(game_id(e) for e in range(60))


@pytest.mark.parametrize("params", [BY_GROUP, BY_TIME])
def test_merged_arrays_give_the_same_parts_raw(steps, params):
    """Standardised again with the stored means and scales they are those of the parts."""
    split("rugs", params)
    folder = paths.processed_dir("rugs")
    scale = np.load(folder / "normalizer.npz")
    by_game = {}
    for part in PARTS:
        raw, ready = of_merged(paths.merged_dir("rugs"), params, part), of_part(folder, part)
        again, batch = raw.take(slice(None)), ready.take(slice(None))
        for name in ("observations", "next_observations"):
            again[name] = (again[name] - scale["mean"].astype("f4")) / scale["scale"].astype("f4")
        assert {name: array.tobytes() for name, array in again.items()} == {
            name: array.tobytes() for name, array in batch.items()
        }
        by_game |= {raw.steps["game"][start]: (raw, start) for start in raw.starts}
    made, offsets = steps
    for episode in range(60):
        dataset, start = by_game[game_id(episode).encode()]
        n = offsets[episode + 1] - offsets[episode]
        for name in made:
            original = made[name][offsets[episode] : offsets[episode + 1]]
            assert dataset.steps[name][start : start + n].tobytes() == original.tobytes()
    assert len(of_merged(paths.merged_dir("rugs"), params)) == sum(len(of_part(folder, part)) for part in PARTS)
    assert sum(found["episodes"] for found in statistics_by_part(folder).values()) == 60


@pytest.mark.parametrize("part", PARTS)
def test_parts_as_merged_give_the_same_transitions(steps, part):
    """Standardised when they are taken: many, one, and whole episodes."""
    found = {}
    for store in STORES:
        split("rugs", replace(BY_TIME, store=store))
        dataset = of_part(paths.processed_dir("rugs"), part)
        start, stop = int(dataset.starts[0]), int(dataset.stops[0])
        single = [np.asarray(value).tobytes() for value in dataset[1]]
        many = {name: (array.dtype, array.tobytes()) for name, array in dataset.take(slice(None)).items()}
        found[store] = single, many, np.array(dataset.steps["observation"][start:stop]).tobytes()
    assert found["stored"] == found["float32"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_prices_are_the_same_of_parts_as_merged(steps, part):
    found = {}
    for store in STORES:
        split("rugs", replace(BY_TIME, store=store))
        folder = paths.processed_dir("rugs")
        drawn = tally.paths_of(folder, part, tally.count(folder, part))
        found[store] = [(path.game, path.price.tolist(), path.tick.tolist()) for path in drawn]
    assert found["stored"] == found["float32"]
    assert found["stored"]


def test_a_batch_file_is_mapped_and_gives_its_own_episodes(steps):
    """Every third episode, raw."""
    made, offsets = steps
    dataset = of_batch(paths.intermediate("rugs", "b10"))
    expected = Transitions(made, offsets, np.arange(60) % 3 == 1).take(slice(None))
    found = dataset.take(slice(None))
    assert found["observations"].tobytes() == expected["observations"].tobytes()
    assert found["next_observations"].tobytes() == expected["next_observations"].tobytes()
    assert not dataset.steps["observation"].flags.owndata


def test_the_loader_streams_the_same_transitions(steps):
    """As windows of two steps of the observation, with `from_pairs`."""
    split("rugs", BY_TIME)
    folder = paths.processed_dir("rugs")
    choice = Settings(
        batch_size=50, shuffle_seed=3, window="observation", fields=(*STEP_FIELDS, "mask_action"), transform=from_pairs
    )
    with batches(folder, "train", choice) as stream:
        pieces = list(stream)
    found = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    expected = of_part(folder, "train").take(slice(None), extras=("mask_action",))
    del expected["episode"]
    assert set(found) == set(expected)
    order, wanted = (
        np.lexsort((batch["observations"][:, 1], batch["observations"][:, 8])) for batch in (found, expected)
    )
    assert wanted.tolist() != order.tolist()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name][order].tolist() == array[wanted].tolist()


def test_a_shuffled_part_is_refused(steps):
    """Its steps are no episodes."""
    split("rugs", SplitParams(shuffle=True))
    with pytest.raises(ExpectedError, match=r"lie apart, expected one run; set split\.shuffle: false"):
        of_part(paths.processed_dir("rugs"), "train")


def test_arrays_that_do_not_fit_are_refused():
    """Of another number of rows, or not there."""
    steps, offsets = make_steps([3, 4])
    with pytest.raises(ExpectedError, match=r"reward is \(6,\), expected \(7,\)"):
        Transitions(steps | {"reward": steps["reward"][:6]}, offsets)
    del steps["kept"]
    with pytest.raises(ExpectedError, match="no field 'kept'"):
        Transitions(steps, offsets)


def test_the_groups_hold_each_feature_once():
    """And the default mask leaves out what names the game or traces the human."""
    held = [name for names in features.GROUPS.values() for name in names]
    assert sorted(held) == sorted(FEATURE_NAMES)
    left_out = [name for name in FEATURE_NAMES if name not in features.names()]
    assert left_out == [
        "game_id", "ticks_since_last_action", "bet_amount", "execution_tick", "execution_price", "client_timestamp",
        "latency_ms",
    ]  # fmt: skip
    assert [FEATURE_NAMES.index(name) for name in features.CONSTANT] == [3, 4, 5]


def test_select_keeps_the_columns_of_the_mask():
    """Of any number of axes, and only of 36 columns."""
    observations = np.arange(2 * 3 * 36, dtype=np.float32).reshape(2, 3, 36)
    assert features.select(observations).shape == (2, 3, 29)
    chosen = features.mask("rugpool")
    assert features.select(observations, chosen)[0, 0].tolist() == [14, 15, 16]
    assert features.names(chosen) == ("rugpool_amount", "rugpool_threshold", "instarug_count")
    with pytest.raises(ExpectedError, match="29 columns, expected 36"):
        features.select(features.select(observations))
    with pytest.raises(ExpectedError, match="no group 'orders', expected some of market"):
        features.mask("orders")


def test_constant_features_are_found():
    """By value."""
    observations = np.random.default_rng(0).normal(size=(50, 36))
    observations[:, [3, 5]] = 0, 1
    assert features.constant(observations) == ("cooldown_timer_ms", "active")
