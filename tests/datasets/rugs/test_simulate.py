"""The simulated recordings: same bytes everywhere, the server's arithmetic, shapes of frames, defects as counted."""

import doctest
import json
import re
import statistics
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from stages.core.errors import ExpectedError
from stages.datasets.rugs import encode, find, schema, simulate
from stages.datasets.rugs.simulate import account, defects
from stages.datasets.rugs.simulate.game import draw_prices, draw_times
from stages.datasets.rugs.simulate.rows import HERO
from stages.datasets.rugs.simulate.store import SCHEMA
from tests.helpers.samples import write_alone

START = "2025-12-27T23:56:00"
SAMPLE = {"games": 12, "seed": 19, "start": START}
SMALL = {"games": 3, "seed": 3, "sessions": 2}
SHAPES = {"minimal": 7, "start": 14}
WAITING = {"active", "price", "rugged", "tickCount"}


def stored(folder):
    """Return the rows of all files, in the order of the files, with their path and place in it."""
    paths = sorted(Path(folder, "events_parquet").glob("doc_type=*/date=*/*.parquet"))
    rows = []
    for path in paths:
        table = pq.ParquetFile(path).read()
        assert table.schema.equals(SCHEMA)
        rows += [{**row, "path": path} for row in table.to_pylist()]
    return rows


def canonical(rows):
    """Return the rows of sessions by number, without repetitions and broken ones, with their payload."""
    unique = {(row["session_id"], row["seq"], row["doc_type"]): row for row in rows}
    return [{**row, "payload": payload(row)} for _, row in sorted(unique.items()) if is_whole(row)]


def is_whole(row):
    return row["raw_json"].endswith("}")


def payload(row):
    content = json.loads(row["raw_json"])
    content = content["data"] if row["doc_type"] == "ws_event" else content
    return content[-1] if isinstance(content, list) else content


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Give the folder, rows and truth of a sample with defects; not to be changed."""
    folder = tmp_path_factory.mktemp("rugs")
    write_alone(simulate, folder, SAMPLE)
    return folder, stored(folder), json.loads((folder / simulate.TRUTH).read_text())


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Give the rows and truth of a store without defects; not to be changed."""
    folder = tmp_path_factory.mktemp("clean")
    write_alone(simulate, folder, {"games": 8, "seed": 29, "sessions": 2, "defects": False})
    return canonical(stored(folder)), json.loads((folder / simulate.TRUTH).read_text())


def frames_of(rows):
    return [row for row in rows if row["event_name"] == "gameStateUpdate"]


@pytest.mark.slow
def test_bytes_are_a_function_of_the_options(tmp_path, monkeypatch, snapshot):
    """One worker, two, and a folder with another store and a killed run's rest in it give the same files."""
    for name, jobs in (("one", "1"), ("two", "2")):
        monkeypatch.setenv("JOBS", jobs)
        simulate.write(tmp_path / name, SMALL)
    expected = snapshot(tmp_path / "one")
    assert snapshot(tmp_path / "two") == expected
    monkeypatch.setenv("JOBS", "1")
    simulate.write(tmp_path / "two", {**SMALL, "seed": 4, "start": "2024-02-28T12:00:00"})
    assert snapshot(tmp_path / "two").keys() != expected.keys()
    next((tmp_path / "two").rglob("date=*")).joinpath(".half.parquet.tmp").write_bytes(b"PAR1")
    simulate.write(tmp_path / "two", SMALL)
    assert snapshot(tmp_path / "two") == expected
    assert not any(path.is_dir() and not any(path.iterdir()) for path in (tmp_path / "two").rglob("*"))


def test_files_are_those_of_the_recorder(sample):
    """Names tell the time of the flush, folders kind and UTC date; no flush has more than 100 rows."""
    folder, rows, truth = sample
    flushed = Counter(row["path"].name[:22] for row in rows)
    assert max(flushed.values()) == 100
    for row in rows:
        assert row["path"].parent.parent.name == f"doc_type={row['doc_type']}"
        assert row["path"].parent.name == f"date={row['ts'][:10]}"
        assert re.fullmatch(r"\d{8}_\d{6}_\d{6}_[0-9a-f]{8}\.parquet", row["path"].name)
    assert len({row["ts"][:10] for row in rows if not row["session_id"].startswith("cdp")}) == 2
    assert len({row["path"] for row in rows}) == truth["files"]
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3e6


def test_flavours_of_sessions(sample):
    """A recorder counts from 1 with naive times; a converted capture from 0 with an offset and filled columns."""
    _, rows, truth = sample
    assert len(truth["sessions"]) == 3
    for session_id in truth["sessions"]:
        own = [row for row in rows if row["session_id"] == session_id]
        is_capture = session_id.startswith("cdp-capture-")
        assert {row["seq"] for row in own} == set(range(1 - is_capture, max(row["seq"] for row in own) + 1))
        assert {datetime.fromisoformat(row["ts"]).tzinfo is not None for row in own} == {is_capture}
        ticking = [row for row in frames_of(own) if is_whole(row) and "tickCount" in payload(row)]
        assert all((row["tick"] == payload(row)["tickCount"]) == is_capture for row in ticking)
        assert all(("timestamp" in json.loads(row["raw_json"])) == is_capture for row in ticking)
        assert any(row["event_name"] == "playerUpdate" for row in own) != is_capture


def test_frames_have_the_shapes_of_their_phases(clean):
    """Minimal in cooldown and presale, tick 0 without statistics, each tick once, two rug frames that are active."""
    rows, truth = clean
    by_game = defaultdict(list)
    for row in frames_of(rows):
        by_game[row["game_id"]].append(row["payload"])
    assert list(by_game) == [game["game_id"] for game in sorted(truth["games"], key=lambda g: g["session_id"])]
    for game in truth["games"]:
        found = by_game[game["game_id"]]
        minimal = [frame for frame in found if not WAITING & frame.keys()]
        assert [frame["cooldownTimer"] for frame in minimal] == list(range(14_900, 0, -100))
        assert {len(frame) for frame in minimal} == {SHAPES["minimal"]}
        assert all(frame["allowPreRoundBuys"] == (frame["cooldownTimer"] <= 10_000) for frame in minimal)
        live = [frame for frame in found if frame.get("active")]
        start, *ticks, rug, late = live
        assert len(start) == SHAPES["start"]
        assert not {"rugpool", "count2x"} & start.keys()
        assert [frame["tickCount"] for frame in live[:-1]] == list(range(game["terminal_tick"] + 1))
        assert [frame["rugged"] for frame in live] == [False] * (len(live) - 2) + [True] * 2
        assert {len(frame) for frame in [*ticks, rug]} <= {21}
        assert all(f["partialPrices"]["values"][str(f["tickCount"])] == f["price"] for f in live[:-1])
        assert late["tickCount"] - rug["tickCount"] in (1, 2)
        assert rug["price"] == late["price"] == game["rug_price"]
        full = [frame for frame in found if "gameHistory" in frame]
        assert [frame["cooldownTimer"] for frame in full] == [15_000, 0]
        assert all(len(f["gameHistory"]) == 10 and "rugpool" not in f and "highestToday" in f for f in full)


def test_history_tells_how_the_game_before_ended(clean):
    """The first frame of a game has the path of the one before it, as long as its terminal tick says."""
    rows, truth = clean
    ends = {game["game_id"]: (game["terminal_tick"], game["rug_price"]) for game in truth["games"]}
    newest = [row["payload"]["gameHistory"][0] for row in frames_of(rows) if "gameHistory" in row["payload"]]
    told = {entry["id"]: (len(entry["prices"]) - 1, entry["prices"][-1]) for entry in newest if entry["id"] in ends}
    assert told.items() <= ends.items()
    assert len(told) == len(ends) - len(truth["sessions"])


def updates(rows):
    """Yield each playerUpdate with its game, the cash carried into the game and the newest two prices."""
    session = game = cash = carried = None
    prices = [1.0]
    for row in rows:
        content = row["payload"]
        if row["session_id"] != session:
            session, game, cash = row["session_id"], None, None
        if row["event_name"] == "gameStateUpdate":
            if row["game_id"] != game:
                game, carried, prices = row["game_id"], cash, [1.0]
            prices += [content["price"]] if content.get("active") else []
        elif row["event_name"] == "playerUpdate":
            cash = content["cash"]
            if game is not None:
                yield game, carried, content, prices[-2:]


def own_trades(rows):
    trades = (row["payload"] for row in rows if row["event_name"] == "standard/newTrade")
    return [trade for trade in trades if trade["playerId"] == HERO]


def test_server_arithmetic(clean):
    """Cash, position and profit of an update add up; a settled game changes cash by its cumulativePnL."""
    rows, _ = clean
    bought, last, n_open = defaultdict(list), {}, 0
    for trade in own_trades(rows):
        bought[trade["gameId"]] += [trade["price"]] if trade["type"] == "buy" else []
    for game, carried, content, prices in updates(rows):
        profit = content["cumulativePnL"] - (content["cash"] - carried)
        assert min(abs(profit - price * content["positionQty"]) for price in prices) < 3e-8
        if content["positionQty"] > 0:
            n_open += 1
            assert min(bought[game]) * (1 - 1e-5) <= content["avgCost"] <= max(bought[game]) * (1 + 1e-5)
        last[game] = carried, content
    for carried, content in last.values():
        assert content["positionQty"] == content["avgCost"] == 0
        assert content["cash"] - carried == pytest.approx(content["cumulativePnL"], abs=2e-8)
    assert len(last) > 3
    assert n_open > 3


def test_sidebets_pay_five_to_one_when_the_rug_comes_in_time(clean):
    """A sidebet wins exactly if the game ends within its 40 ticks."""
    rows, truth = clean
    ends = {game["game_id"]: game["terminal_tick"] for game in truth["games"]}
    results = [row["payload"] for row in rows if row["event_name"] == "currentSidebetResult"]
    for result in results:
        is_won = ends[result["gameId"]] <= result["startTick"] + 40
        assert result["payout"] == pytest.approx(5 * result["betAmount"] * is_won)
    assert {result["payout"] > 0 for result in results} == {True, False}


def test_own_trades_follow_orders_and_close(clean):
    """Each purchase has its order; proceeds are quantity times price; all that is bought is sold by the end."""
    rows, truth = clean
    held, sides, orders = Counter(), Counter(), Counter(row["event_name"] for row in rows)
    for trade in own_trades(rows):
        assert trade["amount"] == pytest.approx(trade["qty"] * trade["price"], abs=2e-8)
        held[trade["gameId"]] += trade["qty"] if trade["type"] == "buy" else -trade["qty"]
        sides[trade["type"]] += 1
    assert sides["buy"] == orders["buyOrder"]
    assert sides["sell"] > orders["sellOrder"] > 0
    assert held.keys() <= {game["game_id"] for game in truth["games"]}
    assert max(map(abs, held.values())) < 1e-8


def test_presses_are_those_of_the_buttons(sample):
    """Each kind of press is there; an action begins a sequence; the amount is the one before the press."""
    _, rows, truth = sample
    presses = [row for row in canonical(rows) if row["doc_type"] == "button_event"]
    assert {row["button_category"] for row in presses} == {"action", "bet_adjust", "percentage"}
    assert {"BUY", "SELL", "SIDEBET", "CLEAR", "INC_001"} <= {row["button_id"] for row in presses}
    assert len(presses) == truth["documents"]["button_event"]
    for before, row in pairwise(presses):
        content = row["payload"]
        assert content["client_timestamp"] == int(datetime.fromisoformat(content["ts"]).timestamp() * 1000)
        is_adjusted = before["button_id"] == "CLEAR" and before["session_id"] == row["session_id"]
        assert not (is_adjusted and content["bet_amount"])
    assert {row["direction"] for row in presses} == {"sent"}


def test_every_defect_is_planted_and_counted(sample):
    """The truth names all defects, and the rows show as many as it says."""
    _, rows, truth = sample
    counts, unique = truth["defects"], canonical(rows)
    expected = {cut.name for cut in defects.CUTS} | defects.PRESSES.keys() | defects.PAYLOADS.keys()
    assert expected <= {name for name, count in counts.items() if count > 0}
    keys = Counter((row["session_id"], row["seq"], row["doc_type"]) for row in rows)
    assert len(rows) == truth["rows"]
    assert len(rows) - len(keys) == truth["duplicate_rows"] > 0
    assert truth["duplicate_rows"] == counts["reflushed_rows"] + counts["press_stored_twice"]
    assert len(keys) - len(unique) == truth["broken_rows"] == counts["truncated_json"] > 0
    live = [
        row["payload"] for row in frames_of(unique) if row["payload"].get("active") and not row["payload"]["rugged"]
    ]
    seen = {
        "nan_token": sum("NaN" in row["raw_json"] for row in unique),
        "number_as_text": sum(isinstance(frame.get("price"), str) for frame in live),
        "price_missing": sum("price" not in frame for frame in live),
        "stats_null": sum("count2x" in frame and frame["count2x"] is None for frame in live),
    }
    for name, count in seen.items():  # a frame may be repeated or truncated
        assert abs(count - counts[name]) <= 2, name
    traced = [row for row in rows if row["event_name"] == "standard/newTrade" and row["game_id"] is None]
    trades = [row for row in rows if row["event_name"] == "standard/newTrade"]
    assert 0.03 < len(traced) / len(trades) < 0.2
    assert any(row["event_name"] == "ping" and row["payload"] is None for row in unique)
    neighbours = [pair for pair in pairwise(unique) if pair[0]["session_id"] == pair[1]["session_id"]]
    assert sum(a["ts"] > b["ts"] for a, b in neighbours) > 0


def test_cuts_take_what_they_say(sample):
    """Only a game without its rug frames or its end is not terminal; lost and unseen ticks are no steps."""
    _, _, truth = sample
    by_cut = {name: game for game in truth["games"] for name in game["defects"]}
    open_ended = {by_cut[name]["game_id"] for name in ("no_rug_frames", "stopped")}
    assert {game["game_id"] for game in truth["games"] if not game["is_terminal"]} == open_ended
    missing = {name: game["terminal_tick"] + 1 - game["steps"] for name, game in by_cut.items()}
    assert by_cut["joined_late"]["first_tick"] == missing["joined_late"] >= 6
    assert 5 <= missing["lost_ticks"] <= 6  # and a truncated one
    assert by_cut["no_tick_0"]["first_tick"] == 1
    assert missing["hole"] >= 10
    assert missing["stopped"] >= 6


def test_clean_store_has_no_defect(clean):
    """Without defects nothing is there twice or broken, all games end with a rug, and no tick is missing."""
    rows, truth = clean
    assert truth["defects"] == {}
    assert truth["duplicate_rows"] == truth["broken_rows"] == 0
    assert len(rows) == truth["rows"]
    newest = {}
    for row in rows:
        if row["doc_type"] == "button_event":
            assert row["game_id"] == newest[row["session_id"]]
        elif row["event_name"] == "gameStateUpdate":
            newest[row["session_id"]] = row["game_id"]
    assert all(game["is_terminal"] and game["steps"] == game["terminal_tick"] + 1 for game in truth["games"])


def test_statistics_are_those_of_the_recorded_games():
    """Length, ticks, peaks and rug prices lie near what was measured on 926 games."""
    rng = Random("statistics")
    paths = [draw_prices(rng) for _ in range(3_000)]
    lengths, ends = [len(path) - 1 for path in paths], [path[-1] for path in paths]
    assert 128 < statistics.median(lengths) < 150
    assert 0.14 < sum(length < 40 for length in lengths) / 3_000 < 0.21
    assert 1.6 < statistics.median(max(path) for path in paths) < 2.0
    assert min(ends) >= 0.00033
    assert max(ends) <= 0.02
    assert statistics.median(ends) == pytest.approx(0.0144, abs=0.001)
    times = [draw_times(rng, 0, len(path)) for path in paths[:300]]
    steps = sorted(b - a for path in times for a, b in pairwise(path[:-1]))
    for share, expected in ((0.05, 147_000), (0.5, 250_000), (0.95, 334_000)):
        assert steps[int(share * len(steps))] == pytest.approx(expected, rel=0.03)


def test_reader_finds_what_is_true(sample):
    """The dataset's reader lists the games of the truth, with its duplicates and broken rows."""
    folder, _, truth = sample
    units = find.find(folder, {})
    assert {unit.key for unit in units} == {game["game_id"] for game in truth["games"]}
    counts = find.scan(folder, schema.parse_options({})).counts
    assert counts.n_twice == truth["duplicate_rows"]
    assert counts.n_files == truth["files"]
    assert counts.n_unowned == 0
    cash = {unit.key: unit.context["cash"] for unit in units}
    assert all((cash[game["game_id"]] is None) == game["session_id"].startswith("cdp") for game in truth["games"])


def test_encoder_gives_the_steps_that_are_true(sample):
    """Each episode has the steps and the end of the truth."""
    folder, _, truth = sample
    options = {"max_bad_rows": 0.05}
    units = find.find(folder, options)
    rows = encode.encode(encode.read(folder, units, options), options)
    expected = {game["game_id"]: (game["steps"], game["is_terminal"]) for game in truth["games"]}
    bounds = rows["group_offsets"].tolist()
    for unit, start, end in zip(units, bounds, bounds[1:], strict=False):
        assert (end - start, bool(rows["terminated"][start:end].any())) == expected[unit.key], unit.key


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"games": 2}, "games: 2, expected at least one a session, 3"),
        ({"seed": -1}, "seed: -1, expected a whole number from 0"),
        ({"sessions": 0}, "sessions: 0, expected a whole number from 1"),
        ({"defects": "yes"}, "defects: 'yes', expected bool"),
        ({"start": "soon"}, "start: 'soon', expected a time in UTC"),
        ({"start": "2025-01-01T00:00:00+02:00"}, "expected a time in UTC without its offset"),
        ({"start": datetime(2025, 1, 1)}, "expected text; put the time in quotes"),
        ({"speed": 1}, "unknown key 'speed'"),
    ],
)
def test_unusable_options_are_refused(tmp_path, change, message):
    """An error names the option, what was found and what is expected; nothing is written."""
    with pytest.raises(ExpectedError, match=re.escape(message)):
        simulate.write(tmp_path / "out", {**SAMPLE, **change})
    assert not (tmp_path / "out").exists()


def test_games_are_dealt_to_any_number_of_sessions(tmp_path):
    """One session has all games; every session has one at least."""
    for games, sessions in ((1, 1), (5, 5), (4, 2)):
        tasks = simulate._tasks(simulate.parse_settings({"games": games, "seed": 1, "sessions": sessions}))
        assert len(tasks) == sessions
        assert sum(task.n_games for task in tasks) == games
        assert min(task.n_games for task in tasks) >= 1


def test_account_agrees_with_recorded_purchases():
    """Two purchases and what the server told after the second one, to a millionth of a price."""
    assert doctest.testmod(account).failed == 0
    books = account.Account(1.0)
    books.buy(0.002, 1.0)
    books.buy(0.002, 1.4444769765)
    state = books.state(1.4444769765)
    assert state["positionQty"] == 0.003384584
    assert state["avgCost"] == pytest.approx(1.181828845, rel=1e-6)
    assert state["cumulativePnL"] == pytest.approx(0.000888953, abs=2e-9)
    assert state["totalInvested"] == 0.004
