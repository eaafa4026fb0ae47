"""Observations and training data of events in memory: the arrays of `encode`, one event at a time."""

import json
import math
import random
import time
from dataclasses import asdict

import numpy as np
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.rugs import encode, simulate
from stages.datasets.rugs.find import find
from stages.datasets.rugs.reading.store import NOT_NEEDED
from stages.datasets.rugs.schema import FEATURE_NAMES, Options
from stages.datasets.rugs.training.live import EpisodeSegmenter, ObservationBuilder, TrainingDataGenerator
from stages.datasets.rugs.training.live.episodes import canonical
from stages.datasets.rugs.training.live.files import read_files
from stages.datasets.rugs.training.live.messages import message, messages
from stages.datasets.rugs.training.live.observation import N_EARLY
from tests.helpers.places import REFERENCE_DIR
from tests.helpers.rugs_rows import unpack_store, write_rows

REFERENCE = REFERENCE_DIR / "rugs"
REFERENCES = ("ref1_plain_round", "ref2_dirty_truncated", "ref3_presale_sidebet")
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference is not beside the repository")
ME = "did:me"
START_MS = 1_766_916_000_000
PLAYER_STATE = ("cash", "positionQty", "avgCost", "cumulativePnL", "totalInvested")
STATISTICS = ("connectedPlayers", "averageMultiplier", "count2x", "count10x", "count50x", "count100x", "highestToday")


def frame(game, tick=None, price=None, **more):
    """Make a frame in play; what is None is missing."""
    data = {"gameId": game, "tickCount": tick, "price": price, "active": True, "rugged": False, "cooldownTimer": 0}
    data = {key: value for key, value in {**data, "allowPreRoundBuys": False, **more}.items() if value is not None}
    return {"event_name": "gameStateUpdate", "data": data}


def waiting(game, timer, presale, **more):
    return frame(game, active=None, rugged=None, cooldownTimer=timer, allowPreRoundBuys=presale, **more)


def update(**data):
    return {"event_name": "playerUpdate", "data": {"id": ME, **data}}


def trade(game, side, tick, price, player=ME, name="t"):
    data = {"id": name, "gameId": game, "playerId": player, "type": side, "tickIndex": tick, "price": price}
    return {"event_name": "standard/newTrade", "data": data}


def press(game, button, tick, category="action", **more):
    data = {"game_id": game, "button_id": button, "button_category": category, "tick": tick, **more}
    return {"event_name": "button_event", "data": data}


def numbered(events):
    """Give events their places in a session, and times of 50 ms apart where they have none."""
    return [
        {"session_id": "s", "seq": seq, "ts": START_MS + 50 * seq, "doc_type": "", **event}
        for seq, event in enumerate(events)
    ]


def messy(seed, n_events=150):
    """Make a session of some games with everything that is dirty in real ones."""
    rng = random.Random(seed)
    events, game, tick, is_over = [update(cash=1.0)] * rng.randrange(2), 0, 0, True
    for _ in range(n_events):
        if is_over and rng.random() < 0.3:
            game, tick, is_over = game + 1, rng.choice((-1, -1, 40)), False
            events.append(waiting(f"g{game}", 15_000, presale=False))
        events.append(_event(rng, game, tick))
        if "tickCount" in events[-1]["data"] and events[-1]["data"]["gameId"] == f"g{game}":
            tick = max(tick, events[-1]["data"]["tickCount"])
            is_over = is_over or bool(events[-1]["data"].get("rugged"))
    return numbered(events)


def _event(rng, game, tick):
    kind, name = rng.random(), f"g{game}"
    number = rng.choice((None, math.nan, "0.25", rng.random(), rng.random()))
    if kind < 0.1 or not game:
        return waiting(f"g{max(game, 1)}", rng.randrange(100, 15_000), presale=rng.random() < 0.5)
    if kind < 0.14:
        return frame("g1", 0, 9.0, highestToday=8) if game > 1 else frame(name, None, number)
    if kind < 0.6:
        some = {key: rng.choice((None, rng.randrange(99))) for key in STATISTICS}
        pool = rng.choice((None, {"rugpoolAmount": number, "threshold": rng.choice((10, 0))}))
        following = max(0, tick + rng.choice((-2, 0, 1, 1, 1, 1, 3)))
        some |= {"rugpool": pool, "partialPrices": rng.choice((None, {"values": {str(following): 1.5}}))}
        return frame(name, following, number, rugged=rng.random() < 0.04, **some)
    if kind < 0.75:
        return update(**{key: rng.choice((0, rng.random())) for key in PLAYER_STATE if rng.random() < 0.7})
    if kind < 0.87:
        side, player = rng.choice(("buy", "sell", "short_open")), rng.choice((ME, ME, "did:other"))
        return trade(rng.choice((name, None)), side, max(0, tick), number, player)
    button = rng.choice(("BUY", "SELL", "SIDEBET", "INC_01", "SELL_50"))
    category = {"INC_01": "bet_adjust", "SELL_50": "percentage"}.get(button, "action")
    clicked = START_MS + 50 * rng.randrange(150)
    clock = {"client_timestamp": rng.choice((None, clicked)), "server_ts": rng.choice((None, None, clicked + 7))}
    label = rng.choice(("unknown", name, name, f"g{game + 1}"))
    return press(label, button, max(0, tick), category, bet_amount=number, **clock)


def followed(events, options=None):
    """Return the vector of each step by (game, its number among the game's steps), as a live builder sees it."""
    builder, found = ObservationBuilder(options), {}
    for event in events:
        if builder.update(event):
            number = sum(game == builder.game_id for game, _ in found)
            found[builder.game_id, number] = builder.build().to_numpy()
    return found


def encoded(events, options=None):
    """Return the same, as `encode` sees all of the events at once."""
    episodes = EpisodeSegmenter().segment(events)
    dataset = TrainingDataGenerator(options).process(episodes)
    steps, found = dataset.steps, {}
    for i, (start, stop) in enumerate(zip(steps["group_offsets"][:-1], steps["group_offsets"][1:], strict=True)):
        game = episodes[steps["source"][i]].game_id
        found |= {(game, number): steps["observation"][row] for number, row in enumerate(range(start, stop))}
    return found


def assert_same(found, expected):
    assert list(found) == list(expected)
    for key, vector in found.items():
        differing = [name for name, a, b in zip(FEATURE_NAMES, vector, expected[key], strict=True) if a != b]
        assert vector.tobytes() == expected[key].tobytes(), (key, differing)


@pytest.mark.parametrize("seed", range(4))
def test_builder_gives_the_bits_of_the_arrays(seed):
    """On sessions with missing ticks, stale frames, repeats, NaN, texts, trades of others and presses out of place.

    The builder has seen the events up to the step only, so no step of the arrays depends on one behind its frame.
    """
    options = Options(phase_rule=("evidence", "design")[seed % 2], risk_numerator=("qty", "value")[seed // 2 % 2])
    events = messy(seed)
    expected = encoded(events, options)
    assert len(expected) > 10
    assert_same(followed(events, options), expected)


def test_builder_gives_the_bits_of_a_simulated_session(tmp_path):
    """Some games with a human and all defects, event by event."""
    simulate.write(tmp_path, {"games": 3, "seed": 7, "sessions": 1, "defects": True})
    read = read_files(tmp_path)
    events = [read[i] for i in canonical(read)]
    expected = encoded(events)
    assert len(expected) > 200
    assert len({game for game, _ in expected}) >= 3
    assert_same(followed(events), expected)


def test_an_observation_late_in_a_game_costs_little():
    """Some milliseconds of CPU at 1,000 events, far below a tick of 250 ms; events of earlier games are not kept."""
    builder = ObservationBuilder()
    statistics = dict.fromkeys(STATISTICS, 5)
    events = [frame("g1", 0, 1.0), *([update(cash=1.0, positionQty=0.1)] * 10)]
    for tick in range(500):
        events += [frame("g2", tick, 1.0 + tick / 1000, **statistics), update(cash=1.0 + tick, positionQty=0.1)]
    for event in messages(events):
        builder.take(event)
    assert len(builder._kept) == 1_000
    costs_ms = [cost_ms(builder, frame("g2", tick, 2.0, **statistics)) for tick in range(500, 521)]
    print(f"an observation at 1,000 events: {np.median(costs_ms):.1f} ms of CPU")
    assert np.median(costs_ms) < 25


def cost_ms(builder, event):
    """Return the CPU time of taking in a frame that is a step, and of the observation after it."""
    start_s = time.process_time()
    assert builder.update(event)
    builder.build().to_numpy()
    return (time.process_time() - start_s) * 1000


def test_builder_can_be_asked_in_any_phase():
    """Before all events, in cooldown, presale, play and after the rug; the phase and the state are those of then."""
    builder = ObservationBuilder()
    assert builder.build().to_numpy().tolist() == [0, 1, *[0] * 34]
    phases = []
    for event in (
        waiting("g1", 15_000, presale=False),
        waiting("g1", 5_000, presale=True),
        frame("g1", 0, 1),
        frame("g1", 1, 0.01, rugged=True),
        frame("g1", 3, 7.0, rugged=True),
    ):
        builder.update(event)
        observation = builder.build()
        phases.append((observation.game_phase, observation.tick, observation.cooldown_timer_ms, observation.price))
    assert phases == [(0, 0, 15_000, 1), (1, 0, 5_000, 1), (2, 0, 0, 1), (3, 1, 0, 0.01), (3, 1, 0, 0.01)]
    assert builder.is_terminal
    builder.reset()
    for event in (frame("g1", 5, 1.0), press("g1", "BUY", 5), waiting("g1", 100, presale=True, tickCount=0)):
        builder.update(event)
    assert (builder.build().tick, builder.build().ticks_since_last_action) == (0, 0)
    builder.reset()
    assert builder.build().to_numpy().tolist() == [0, 1, *[0] * 34]


def test_only_the_balance_goes_into_the_next_game():
    """Not the position, the last press or the last trade; a late frame of the old game does not bring it back."""
    builder = ObservationBuilder()
    events = [
        {"event_name": "usernameStatus", "data": {"id": ME}},
        frame("g1", 5, 2.0),
        press("g1", "BUY", 5, bet_amount=0.1),
        trade("g1", "buy", 5, 2.0, name="trade 1"),
        update(cash=0.9, positionQty=0.05, avgCost=2.0, cumulativePnL=0.1, totalInvested=0.1),
    ]
    for event in events:
        builder.update(event)
    before = builder.build()
    assert (before.balance, before.position_qty, before.bet_amount, before.trade_id) == (0.9, 0.05, 0.1, "trade 1")
    builder.update(press("g2", "BUY", 0, bet_amount=0.7))
    assert builder.build().bet_amount == 0.1
    assert builder.update(frame("g2", 0, 1.0))
    assert not builder.update(frame("g1", 6, 3.0))
    after = builder.build()
    assert (after.game_id, after.balance, after.position_qty, after.price) == ("g2", 0.9, 0, 1.0)
    assert (after.bet_amount, after.execution_tick, after.trade_id) == (0.7, 0, None)
    assert builder.player_known


def test_trades_count_once_the_player_is_named():
    """In each game anew: what an episode holds depends on its own events and the balance alone."""
    builder, prices = ObservationBuilder(), []
    for event in (
        frame("g1", 1, 1.0),
        trade("g1", "buy", 1, 1.0),
        {"event_name": "usernameStatus", "data": {"id": ME}},
        trade("g1", "buy", 2, 1.5),
        trade("g1", "buy", 2, 1.6, player="did:other"),
        frame("g2", 1, 1.0),
        trade("g2", "buy", 2, 1.7),
        update(cash=1.0),
        trade("g2", "buy", 2, 1.8),
    ):
        builder.update(event)
        prices.append(builder.build().execution_price)
    assert prices == [0, 0, 0, 1.5, 1.5, 0, 0, 0, 1.8]


def test_an_event_is_the_same_in_all_its_forms():
    """A row of the store, an event of the feed, a list with a trace, and a flat dict."""
    data = {"gameId": "g1", "tickCount": 3, "price": "1.5"}
    forms = [
        {"doc_type": "ws_event", "event_name": "gameStateUpdate", "raw_json": json.dumps({"data": data})},
        {"event_name": "gameStateUpdate", "data": data},
        {"data": [data, {"__trace": True, "cash": 1}]},
        {"game_id": "g1", "tick": 3, "price": 1.5},
    ]
    assert [(event.kind, event.game_id, dict(event.numbers)) for event in map(message, forms)] == [
        (0, "g1", {"tick": 3.0, "price": 1.5})
    ] * 4
    for useless in (
        {"doc_type": "ws_event", "event_name": "playerUpdate", "raw_json": "{"},
        {"doc_type": "game_tick", "raw_json": json.dumps({"data": data})},
        {"event": "ping", "data": None},
    ):
        assert (message(useless).kind, message(useless).numbers) == (NOT_NEEDED, {})


def test_episodes_do_not_depend_on_the_order_of_rows():
    """Nor on rows that were stored twice; sessions are ordered by their first time."""
    events = messy(3)
    expected = [(one.game_id, one.messages) for one in EpisodeSegmenter().segment(events)]
    shuffled = [*events, *events[:30]]
    random.Random(1).shuffle(shuffled)
    assert [(one.game_id, one.messages) for one in EpisodeSegmenter().segment(shuffled)] == expected
    later = [{**frame("a", 0, 1.0), "session_id": "a", "seq": 1, "ts": START_MS + 10**6}]
    games = [one.game_id for one in EpisodeSegmenter().segment([*later, *events])]
    assert games == [*(game for game, _ in expected), "a"]


def test_order_of_doc_types_of_one_seq_does_not_depend_on_the_order_given():
    """The press goes before the feed's event, as in the stages."""
    events = [{**press("g", "BUY", 0), "seq": 1, "doc_type": "button_event"}]
    events.append({**frame("g", 0, 1.0), "seq": 1, "doc_type": "ws_event"})
    assert canonical(messages(events)).tolist() == [0, 1]
    assert canonical(messages(events[::-1])).tolist() == [1, 0]


def test_events_before_the_first_frame_count_in_their_order():
    """Those that name the game to come and those that name none; what is said of a further game waits."""
    builder = ObservationBuilder()
    for event in (press("g", "BUY", 0, bet_amount=0.1), press("h", "BUY", 0, bet_amount=0.3), update(cash=2.0)):
        builder.update(event)
    assert (builder.build().balance, builder.build().bet_amount) == (2, 0)
    builder.update(press("unknown", "BUY", 0, bet_amount=0.2))
    assert builder.build().bet_amount == 0.2
    builder.update(frame("g", 0, 1.0))
    assert (builder.build().balance, builder.build().bet_amount) == (2, 0.2)
    builder.update(frame("h", 0, 1.0))
    assert (builder.build().balance, builder.build().bet_amount) == (2, 0.3)


def test_few_events_of_games_to_come_are_kept():
    """The last ones; those of the present game all stay."""
    builder = ObservationBuilder()
    for number in range(N_EARLY + 5):
        builder.update(frame("g", number, 1.0))
        builder.update(press(f"h{number}", "BUY", 0, bet_amount=number))
    assert len(builder._kept) == 2 * N_EARLY + 5
    builder.update(frame("h4", 0, 1.0))
    assert builder.build().bet_amount == 0
    builder.update(frame("h5", 0, 1.0))
    assert builder.build().bet_amount == 5


def test_builder_carries_a_balance_that_names_another_game():
    """An update that names a game to come counts when it begins; its cash, as any, is carried into the next game."""
    builder = ObservationBuilder()
    for event in (frame("g", 0, 1.0), update(cash=5.0, positionQty=2.0, gameId="h"), frame("h", 0, 1.0)):
        builder.update(event)
    observation = builder.build()
    assert (observation.balance, observation.position_qty) == (5, 2)


def test_segmenter_tells_what_is_missing():
    """The start, ticks in between, and the end of an episode."""
    events = [*(frame("g1", tick, 1.0) for tick in (4, 5, 5, 8)), frame("g2", 1, 1.0), frame("g2", 2, 0, rugged=True)]
    first, second = EpisodeSegmenter().segment(events)
    assert (first.has_start, first.n_missing, first.n_ticks, first.terminal_tick) == (False, 2, 3, None)
    assert (second.has_start, second.n_missing, second.n_ticks, second.terminal_tick) == (True, 0, 2, 2)
    assert [one.game_id for one in EpisodeSegmenter(drop_incomplete=True).segment(events)] == ["g2"]
    assert [one.game_id for one in EpisodeSegmenter(min_ticks=3).segment(events)] == ["g1"]
    assert EpisodeSegmenter().segment([update(cash=1), press("unknown", "BUY", 1)]) == []
    with pytest.raises(ExpectedError, match="min_ticks: 0, expected"):
        EpisodeSegmenter(min_ticks=0)


def test_buttons_without_order_are_placed_by_tick():
    """One in its step, one moved to the step before a lost tick, one before the start, one without tick left out."""
    feed = [frame("g1", tick, 1.0) for tick in (5, 6, 8, 9)]
    buttons = [press("g1", "SELL", 6), press("g1", "BUY", 7), press("unknown", "SIDEBET", 4), press("g1", "BUY", None)]
    found = TrainingDataGenerator().align_events(feed, buttons)
    assert sorted((one["tick"], one["action"], one["press_tick"]) for one in found) == [
        (5, "SIDEBET", 4),
        (6, "SELL", 6),
        (8, "BUY", 7),
    ]
    rug_repeats = [frame("g1", 5, 1.0), frame("g1", 6, 1.0), frame("g1", 6, 0.1, rugged=True)]
    assert [one["tick"] for one in TrainingDataGenerator().align_events(rug_repeats, buttons[:1])] == [6]


def test_episode_keeps_balance_and_player_of_its_session():
    """What came before the episode is not among its events, and still counts in it."""
    clicked = press("g2", "BUY", 0, client_timestamp=START_MS + 250)
    events = numbered(
        [
            {"event_name": "usernameStatus", "data": {"id": ME}},
            *(frame("g1", 0, 1.0), update(cash=0.5), frame("g1", 1, 0.1, rugged=True)),
            *(frame("g2", 0, 1.0), clicked, trade("g2", "buy", 0, 1.0), frame("g2", 1, 2.0), frame("g2", 2, 3.0)),
        ]
    )
    button = events.pop(5)
    episode = EpisodeSegmenter().segment(events)[1]
    generator = TrainingDataGenerator()
    dataset = generator.process_episode(episode, [button])
    observation, action, reward, _, is_done = dataset[0]
    assert (action, reward, is_done, len(dataset)) == (1, 0.0, False, 2)
    assert observation[9] == np.float32(0.5)
    assert dataset.steps["executed"].tolist() == [1, 0, 0]
    with pytest.raises(ExpectedError, match="'g1', 'g2', expected one game"):
        generator.process_episode(events)


def test_batches_are_seeded_and_without_repetition():
    """The same seed gives the same batches; a batch of all transitions holds each once; a larger one repeats."""
    events = messy(5)
    first, second, third = (
        TrainingDataGenerator(seed=seed).process(EpisodeSegmenter().segment(events)) for seed in (7, 7, 8)
    )
    generator, size = TrainingDataGenerator(), len(first)
    orders = [generator.get_batch(one, size)["observations"].tobytes() for one in (first, second, third)]
    assert orders[0] == orders[1] != orders[2]
    batch = generator.get_batch(first, size)
    assert len({*zip(batch["episode"].tolist(), batch["tick"].tolist(), strict=True)}) >= size - 1  # a rug may repeat
    shapes = {name: (array.shape, array.dtype) for name, array in generator.get_batch(first, 3 * size).items()}
    assert shapes["observations"] == shapes["next_observations"] == ((3 * size, 36), np.float32)
    assert [shapes[name][1] for name in ("actions", "rewards", "dones")] == [np.int64, np.float32, bool]


def test_files_give_what_their_events_give(tmp_path):
    """With a limit, the first rows of the feed in canonical order, and the presses before the last of them."""
    rows = [_row(event) for event in messy(6)]
    untimed = {**_row(numbered([frame("another", 0, 1.0)])[0]), "ts": "no time", "seq": 10**6}
    write_rows([untimed, *random.Random(2).sample(rows, len(rows))], tmp_path, rows_per_file=20)
    generator = TrainingDataGenerator()
    folders = [tmp_path / "events_parquet" / f"doc_type={name}" for name in ("ws_event", "button_event")]
    feed = [i for i, row in enumerate(rows) if row["doc_type"] == "ws_event"]
    for limit, end in ((None, len(rows)), (60, feed[59] + 1), (0, 0)):
        expected = generator.process(EpisodeSegmenter().segment(rows[:end])).steps
        for found in (generator.from_parquet(tmp_path, limit=limit), generator.from_parquet(*folders, limit)):
            assert {name: array.tobytes() for name, array in found.steps.items()} == {
                name: array.tobytes() for name, array in expected.items()
            }
    with pytest.raises(ExpectedError, match="no Parquet files, expected"):
        generator.from_parquet(tmp_path / "nowhere")


def _row(event):
    """Make a row of the store of an event."""
    is_press = event["event_name"] == "button_event"
    content = event["data"] if is_press else {"event": event["event_name"], "data": event["data"]}
    stamp = np.datetime64(event["ts"], "ms")
    return {
        "ts": f"{stamp}",
        "doc_type": "button_event" if is_press else "ws_event",
        "session_id": "s",
        "seq": event["seq"],
        "event_name": None if is_press else event["event_name"],
        "raw_json": json.dumps(content),
        "game_id": event["data"].get("game_id") if is_press else event["data"].get("gameId"),
    }


@needs_reference
@pytest.mark.parametrize("name", REFERENCES)
def test_reference_worked_by_hand(name):
    """Observations, actions, rewards and ends of three sessions, and the same bits from the live builder."""
    reference = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    rows, near = reference["rows"], {"rtol": reference["rtol"], "atol": reference["atol"]}
    episodes = EpisodeSegmenter().segment(rows)
    for episode, expected in zip(episodes, reference["episodes"], strict=True):
        assert [episode.game_id, episode.is_terminal, episode.terminal_tick] == [
            expected[key] for key in ("game_id", "is_terminal", "terminal_tick")
        ]
        dataset = TrainingDataGenerator().process_episode(episode)
        found = dataset.take(slice(None))
        np.testing.assert_allclose(dataset.steps["observation"], expected["observations"], **near)
        np.testing.assert_allclose(found["rewards"], expected["rewards"], **near)
        assert [found[key].tolist() for key in ("actions", "dones", "truncateds")] == [
            expected[key] for key in ("actions", "dones", "truncated")
        ]
    in_order = [rows[i] for i in canonical(messages(rows))]
    assert_same(followed(in_order), encoded(rows))


@pytest.fixture(scope="module")
def store_dir(tmp_path_factory):
    """Return the folder of the reference store."""
    return unpack_store(tmp_path_factory.mktemp("store")) / "events_parquet"


@needs_reference
@pytest.mark.slow
def test_reference_store_as_the_stages_read_it(store_dir):
    """Every array but the numbers of lines, episode by episode."""
    options = asdict(Options())
    units = find(store_dir, options)
    expected = encode.encode(encode.read(store_dir, units, options), options)
    found = TrainingDataGenerator().from_parquet(store_dir).steps
    place = {group: i for i, group in enumerate(found["group_id"].tolist())}
    assert len(place) == len(units) == 40
    for i, group in enumerate(expected["group_id"].tolist()):
        here, there = slice(*expected["group_offsets"][i:][:2]), slice(*found["group_offsets"][place[group] :][:2])
        for name in set(encode.FIELDS) - {"line"}:
            assert found[name][there].tobytes() == expected[name][here].tobytes(), (name, group)
