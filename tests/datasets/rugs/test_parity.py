"""Rugs: every number of three rounds worked out by hand, and of a whole store, is the reference's."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.datasets.rugs import schema
from stages.datasets.rugs.encode import FIELDS, Table, encode, findings, observe, read, rewards
from stages.datasets.rugs.encode.matches import match, recognised
from stages.datasets.rugs.find import find
from stages.datasets.rugs.schema import ACTIONS, FEATURE_NAMES
from tests.helpers.places import REFERENCE_DIR
from tests.helpers.rugs_rows import read_rows, unpack_store, write_rows

REFERENCE = REFERENCE_DIR / "rugs"
ROUNDS = ("ref1_plain_round", "ref2_dirty_truncated", "ref3_presale_sidebet")
pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference rounds are not beside the repository")


def features(table: Table) -> np.ndarray:
    """Return the observations before they are cast, float64 (S, 36)."""
    found = observe.features(table.events, table.steps, match(table.events, recognised(table.events)), schema.Options())
    return np.stack([found[name] for name in FEATURE_NAMES], axis=-1)


def reference(name):
    content = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    assert content["feature_names"] == list(FEATURE_NAMES)
    assert list(content["action_ids"]) == list(ACTIONS)
    return content


def by_game(folder: Path, n_units: int = 1000, options=None) -> dict[str, dict[str, bytes]]:
    """Return the bytes of all fields of each episode, read in chunks of so many."""
    units, result = find(folder, options or {}), {}
    for start in range(0, len(units), n_units):
        chunk = units[start : start + n_units]
        arrays = encode(read(folder, chunk, options or {}), options or {})
        for group, source in enumerate(arrays["source"].tolist()):
            rows = slice(*arrays["group_offsets"][group : group + 2])
            result[chunk[source].key] = {name: arrays[name][rows].tobytes() for name in FIELDS}
    return result


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_are_the_references(name, tmp_path):
    expected = reference(name)
    folder = write_rows(expected["rows"], tmp_path)
    table = read(folder, find(folder, {}), {"max_bad_rows": 0.1})
    arrays, exact = encode(table, {}), features(table)
    games = [table.events.game_ids[source] for source in arrays["source"]]
    assert sorted(games) == sorted(episode["game_id"] for episode in expected["episodes"])
    unmatched = Counter(found.reason for found in findings(table) if found.reason.startswith("unmatched:"))
    wanted = Counter(f"unmatched:{why}" for episode in expected["episodes"] for *_, why in episode["unmatched_presses"])
    assert unmatched == wanted
    for episode in expected["episodes"]:
        group = games.index(episode["game_id"])
        rows = slice(*arrays["group_offsets"][group : group + 2])
        np.testing.assert_allclose(exact[rows], episode["observations"], rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(arrays["observation"][rows], episode["observations"], rtol=1e-6, atol=1e-9)
        assert arrays["label_action"][rows].tolist() == [*episode["actions"], -1]
        np.testing.assert_allclose(arrays["reward"][rows], [*episode["rewards"], 0], rtol=1e-6, atol=1e-9)
        assert arrays["terminated"][rows].tolist() == [*episode["dones"], False]
        assert arrays["truncated"][rows].tolist() == [*episode["truncated"], False]


@pytest.mark.parametrize("rows_per_file", [1, 3, 1000])
def test_order_of_rows_and_files_does_not_matter(rows_per_file, tmp_path):
    """Rows in any order, in one file or many, some of them stored twice; episodes read together or one by one."""
    rows = reference(ROUNDS[2])["rows"]
    expected = by_game(write_rows(rows, tmp_path / "as_recorded"))
    assert len(expected) == 3
    order = np.random.default_rng(rows_per_file).permutation(len(rows))
    shuffled = [rows[index] for index in [*order, *order[:5]]]
    assert by_game(write_rows(shuffled, tmp_path / "shuffled", rows_per_file), n_units=1) == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return unpack_store(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def whole(store) -> Table:
    return read(store, find(store, {}), {})


@pytest.fixture(scope="module")
def expected():
    return json.loads((REFERENCE / "store_expected.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_episodes_of_the_store_are_the_references(whole, expected):
    """All that the reference says of each of the 40 episodes."""
    table, arrays, exact = whole, encode(whole, {}), features(whole)
    found = observe.features(table.events, table.steps, match(table.events, recognised(table.events)), schema.Options())
    reward = rewards.rewards(table.events, table.steps, found)
    assert len(expected["episodes_detail"]) == len(table.events.game_ids) == expected["episodes"]
    for episode in expected["episodes_detail"]:
        index = table.events.game_ids.index(episode["game_id"])
        rows = slice(*table.steps.offsets[index : index + 2])
        label = arrays["label_action"][rows]
        assert exact[rows][[0, -1], 0].tolist() == [episode["first_tick"], episode["last_tick"]]
        assert (len(label), int((label >= 0).sum())) == (episode["steps"], episode["transitions"])
        assert int(arrays["player_known"][rows][:-1].sum()) == episode["known_transitions"]
        assert bool(table.steps.is_terminal[index]) == episode["is_terminal"]
        assert bool(arrays["terminated"][rows].any()) == episode["is_terminal"]
        assert {str(action): count for action, count in Counter(label[:-1].tolist()).items()} == episode["actions"]
        assert reward[rows].sum() == pytest.approx(episode["sum_rewards"], abs=1e-12)
        assert exact[rows].sum() == pytest.approx(episode["obs_sum"], abs=2e-6)
        unmatched = [
            [ACTIONS[action], table.events.press_tick[row], why]
            for row, action, why in zip(table.presses.row, table.presses.action, table.presses.reason, strict=True)
            if why and table.events.episode[row] == index
        ]
        assert unmatched == episode["unmatched"]


@pytest.mark.slow
def test_totals_of_the_store_are_the_references(whole, expected):
    arrays, exact, steps, presses = encode(whole, {}), features(whole), whole.steps, whole.presses
    label = arrays["label_action"]
    assert steps.is_terminal.sum() == expected["terminal_episodes"]
    assert (len(label), (label >= 0).sum()) == (expected["steps"], expected["transitions"])
    assert ((label >= 0) & (arrays["player_known"] == 1)).sum() == expected["known_transitions"]
    assert {name: int((label == action).sum()) for action, name in enumerate(ACTIONS)} == expected["actions"]
    unmatched = {found.reason: 0 for found in findings(whole) if found.reason.startswith("unmatched:")}
    for found in findings(whole):
        if found.reason in unmatched:
            unmatched[found.reason] += found.count
    assert unmatched == {f"unmatched:{why}": count for why, count in expected["unmatched"].items()}
    is_matched = presses.step >= 0
    moved = steps.tick[presses.step[is_matched]] != whole.events.press_tick[presses.row[is_matched]]
    assert moved.sum() == expected["moved_by_tolerance_or_conflict"]
    assert np.isfinite(arrays["observation"]).all() == expected["all_finite"]
    found = {name: [column.min(), column.max()] for name, column in zip(FEATURE_NAMES, exact.T, strict=True)}
    assert found == expected["feature_min_max"]
    kept = {least: int((steps.n_ticks >= int(least)).sum()) for least in expected["min_ticks_effect"]}
    assert kept == expected["min_ticks_effect"]


@pytest.mark.slow
def test_most_presses_were_legal_by_what_was_known(whole):
    """The rule refuses 3 of 91 presses; 43 of the 63 buys and sells were confirmed by an own trade, and none of the 3.

    The reference has no masks: what it says of labels, rewards and observations is not touched by them.
    """
    arrays = encode(whole, {})
    label = arrays["label_action"]
    pressed = np.flatnonzero(label > 0)
    is_refused = arrays["mask_action"][pressed, label[pressed]] == 0
    assert is_refused.sum() == 3
    assert np.flatnonzero(arrays["refused"]).tolist() == pressed[is_refused].tolist()
    assert not arrays["executed"][pressed[is_refused]].any()
    assert arrays["executed"].sum() == 43
    assert not arrays["executed"][label <= 0].any()


@pytest.mark.slow
def test_rewards_are_the_servers_profit(whole):
    """Rewards add up to the server's last number in all terminal episodes that have one, but one that lost tick 0."""
    arrays, events = encode(whole, {}), whole.events
    n_equal, others = 0, []
    for index, game in enumerate(events.game_ids):
        rows = slice(*events.offsets[index : index + 2])
        told = events.pnl[rows][~np.isnan(events.pnl[rows])]
        total = arrays["reward"][slice(*whole.steps.offsets[index : index + 2])].astype(float).sum()
        if whole.steps.is_terminal[index] and len(told):
            is_equal = abs(total - told[-1]) < 2e-8
            n_equal += is_equal
            others += [] if is_equal else [game]
    assert (n_equal, others) == (31, ["20251228-9147868b04fd3cad"])


@pytest.mark.slow
def test_the_store_gives_the_same_bytes_however_it_is_cut(store, tmp_path):
    """Rows shuffled into few large files, and episodes read in chunks of 7 instead of together.

    Copies of a row that is stored twice are equal, so it is all the same which of them comes first.
    """
    rows = read_rows(store)
    np.random.default_rng(5).shuffle(rows)
    assert by_game(write_rows(rows, tmp_path, 5000), n_units=7) == by_game(store)
