"""The tests that the plan of this dataset set out with, on the names that it uses.

Two of them cannot hold as written:

- The plan lists 37 attributes of an observation and asserts 36 features, `game_id` at place 8 and `latency_ms` at 35.
  `trade_id`, an identity without order or size, is the attribute that has no place in the vector.
- It reads captures from an absolute path in somebody's home; here a small store is written instead.

Two leave a choice open, and are held to it here: the phase of a frame in play is 2 under both rules, and an episode of
one event is an episode, though it has no transition.
"""

from dataclasses import fields

import numpy as np
import pytest

from stages.datasets.rugs.schema import FEATURE_COUNT, FEATURE_NAMES, Options
from stages.datasets.rugs.training.live import EpisodeSegmenter, Observation, ObservationBuilder, TrainingDataGenerator
from tests.helpers.rugs_rows import write_rows

GAME = "20251228-0123456789abcdef"


def flat(tick, price, game_id=GAME, rugged=False):
    """Make an event as the plan's tests write it: no `active`, no envelope, no order."""
    return {"event_name": "gameStateUpdate", "game_id": game_id, "tick": tick, "price": price, "rugged": rugged}


def frame(**data):
    """Make an event of the feed without its name."""
    return {"data": {"gameId": GAME, "active": True, "rugged": False, **data}}


def built(*events):
    """Return the observation after some events."""
    builder = ObservationBuilder()
    for event in events:
        builder.update(event)
    return builder.build()


def test_there_are_36_features():
    assert FEATURE_COUNT == len(FEATURE_NAMES) == 36
    assert (FEATURE_NAMES[0], FEATURE_NAMES[8], FEATURE_NAMES[35]) == ("tick", "game_id", "latency_ms")


def test_observation_has_37_attributes_and_trade_id_is_the_one_without_a_place():
    names = [field.name for field in fields(Observation)]
    assert len(names) == 37
    assert [name for name in names if name != "trade_id"] == list(FEATURE_NAMES)


def test_observation_is_made_of_its_first_32_names():
    """The five of the execution are optional."""
    given = dict.fromkeys(FEATURE_NAMES[:32], 0.0)
    observation = Observation(**{**given, "game_id": GAME, "balance": 1.0, "balance_at_risk_pct": 0.09})
    vector = observation.to_numpy()
    assert (vector.shape, vector.dtype) == ((36,), np.float32)
    assert (vector[9], vector[28], *vector[32:]) == (1.0, np.float32(0.09), 0, 0, 0, 0)
    assert 0 < vector[8] == observation.game_id_hash < 1
    assert observation.trade_id is None


def test_observation_of_a_frame():
    observation = built(frame(tickCount=100, price=2.5, cooldownTimer=0, connectedPlayers=180))
    assert (observation.tick, observation.price, observation.game_id) == (100, 2.5, GAME)
    assert (observation.connected_players, observation.active, observation.rugged) == (180, 1, 0)
    assert observation.game_phase == 2


@pytest.mark.parametrize("rule", ["evidence", "design"])
def test_a_frame_in_play_is_of_phase_2(rule):
    builder = ObservationBuilder(Options(phase_rule=rule))
    builder.update(frame(tickCount=5, price=1.0, cooldownTimer=0, allowPreRoundBuys=False))
    assert builder.build().game_phase == 2


def test_player_update_comes_before_any_frame():
    observation = built({"data": {"cash": 1.5, "positionQty": 0.1, "avgCost": 2.0, "cumulativePnL": 0.2}})
    assert (observation.balance, observation.position_qty, observation.avg_entry_price) == (1.5, 0.1, 2.0)
    assert observation.cumulative_pnl == 0.2
    assert np.isfinite(observation.to_numpy()).all()


def test_player_state_lasts_until_the_next_update():
    """Carried forward, not interpolated."""
    observation = built(
        frame(tickCount=1, price=1.0),
        {"event_name": "playerUpdate", "data": {"cash": 0.9, "positionQty": 0.1, "avgCost": 1.0}},
        frame(tickCount=2, price=1.1),
        frame(tickCount=3, price=1.5),
    )
    assert (observation.balance, observation.position_qty) == (0.9, 0.1)
    assert observation.unrealized_pnl == pytest.approx(0.05)
    assert observation.position_pnl_pct == pytest.approx(0.5)


def test_price_velocity_and_acceleration():
    observation = built(*(flat(tick, price) for tick, price in enumerate((1.0, 1.5, 2.5))))
    assert (observation.price_velocity, observation.price_acceleration) == (1.0, 0.5)


def test_rugpool_ratio():
    observation = built(frame(tickCount=1, price=1.0, rugpool={"rugpoolAmount": 5, "threshold": 10}))
    assert (observation.rugpool_amount, observation.rugpool_threshold, observation.rugpool_ratio) == (5, 10, 0.5)


def test_segmenter_cuts_at_the_game():
    episodes = EpisodeSegmenter().segment([flat(0, 1.0, "g1"), flat(1, 1.1, "g1"), flat(0, 1.0, "g2")])
    assert [(episode.game_id, len(episode.events)) for episode in episodes] == [("g1", 2), ("g2", 1)]


def test_segmenter_finds_the_rug():
    (episode,) = EpisodeSegmenter().segment([flat(0, 1.0), flat(1, 1.1), flat(2, 0.01, rugged=True)])
    assert (episode.is_terminal, episode.terminal_tick) == (True, 2)


def test_segmenter_leaves_out_short_and_incomplete_episodes():
    events = [flat(tick, 1.0) for tick in range(10)]
    assert EpisodeSegmenter(min_ticks=50).segment(events) == []
    assert len(EpisodeSegmenter(min_ticks=10).segment(events)) == 1
    assert EpisodeSegmenter(drop_incomplete=True).segment(events) == []


def test_alignment_gives_the_presses_with_name_and_tick():
    """Only those that belong to a step: an adjusting press is no action, and one far from all frames has no step."""
    buttons = [
        {"button_id": "BUY", "button_category": "action", "tick": 101, "game_id": GAME},
        {"button_id": "INC_01", "button_category": "bet_adjust", "tick": 101, "game_id": GAME},
        {"button_id": "SELL", "button_category": "action", "tick": 500, "game_id": GAME},
    ]
    aligned = TrainingDataGenerator().align_events([flat(tick, 1.0) for tick in (100, 101, 102)], buttons)
    assert [(press["action"], press["tick"], press["game_id"]) for press in aligned] == [("BUY", 101, GAME)]


def test_episode_becomes_transitions():
    (episode,) = EpisodeSegmenter().segment([flat(100, 2.0), flat(101, 0.01, rugged=True)])
    samples = TrainingDataGenerator().process_episode(episode)
    assert len(samples) == 1
    observation, action, reward, next_observation, is_done = samples[0]
    assert observation.shape == next_observation.shape == (36,)
    assert (observation[0], action, reward, next_observation[0], is_done) == (100, 0, 0.0, 101, True)


def test_batch_of_a_store(tmp_path):
    """The plan's end-to-end test, on a store of two games instead of a capture in a home folder."""
    rows = [
        _row(seq, game, tick, tick == 30) for seq, (game, tick) in enumerate((g, t) for g in "ab" for t in range(31))
    ]
    root = write_rows(rows, tmp_path) / "events_parquet"
    generator = TrainingDataGenerator()
    dataset = generator.from_parquet(root / "doc_type=ws_event", limit=50)
    assert len(dataset) == 30 + 18
    batch = generator.get_batch(dataset, batch_size=32)
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "observations": ((32, 36), "float32"),
        "actions": ((32,), "int64"),
        "rewards": ((32,), "float32"),
        "next_observations": ((32, 36), "float32"),
        "dones": ((32,), "bool"),
        "truncateds": ((32,), "bool"),
        "player_known": ((32,), "bool"),
        "refused": ((32,), "bool"),
        "episode": ((32,), "int64"),
        "tick": ((32,), "int64"),
    }
    assert np.isfinite(batch["observations"]).all()
    np.testing.assert_array_equal(batch["next_observations"][:, 0], batch["tick"] + 1)


def _row(seq, game, tick, rugged):
    data = f'{{"gameId": "{game}", "active": true, "rugged": {str(rugged).lower()}, "tickCount": {tick}, "price": 1.5}}'
    return {
        "ts": "2025-12-28T10:00:00",
        "doc_type": "ws_event",
        "session_id": "s",
        "seq": seq,
        "event_name": "gameStateUpdate",
        "game_id": game,
        "raw_json": f'{{"event": "gameStateUpdate", "data": {data}}}',
    }
