"""Rugs: one short round, from Parquet rows to arrays that were worked out by hand."""

import json

import numpy as np
import pytest

from stages.datasets.rugs.encode import encode, findings, read
from stages.datasets.rugs.find import find
from tests.helpers.rugs_rows import write_rows

GAME = "20260101-0123456789abcdef"
HERO = "did:privy:hero"
START = "2026-01-01T12:00:"
START_MS = 1_767_268_800_000
STATISTICS = {"averageMultiplier": 4, "count2x": 50, "count10x": 8, "count50x": 2, "count100x": 1, "highestToday": 300}
LIVE = {"active": True, "rugged": False, "cooldownTimer": 0, "allowPreRoundBuys": False}
POOL = {"rugpool": {"rugpoolAmount": 2.0, "threshold": 8, "instarugCount": 1}}


def event(ms, name, **data):
    """Return an event as it was sent, and when."""
    return ms, name, {"event": name, "data": data}


def frame(ms, players, **data):
    return event(ms, "gameStateUpdate", gameId=GAME, connectedPlayers=players, **data)


def update(ms, *values):
    names = ("cash", "positionQty", "avgCost", "cumulativePnL", "totalInvested")
    return event(ms, "playerUpdate", id=HERO, **dict(zip(names, values, strict=False)))


def trade(ms, kind, tick, price):
    data = {"gameId": GAME, "playerId": HERO, "type": kind, "price": price, "qty": 0.02, "tickIndex": tick}
    return event(ms, "standard/newTrade", **data)


def press(ms, button, tick):
    data = {"game_id": GAME, "button_id": button, "button_category": "action", "tick": tick, "bet_amount": 0.02}
    return ms, None, {**data, "client_timestamp": START_MS + ms, "server_ts": None}


EVENTS = [
    event(0, "usernameStatus", id=HERO),
    update(10, 1.0, 0, 0, 0, 0),
    frame(100, 180, tickCount=0, price=1, **{**LIVE, "active": False, "cooldownTimer": 15000}, **STATISTICS),
    frame(6100, 181, cooldownTimer=9000, allowPreRoundBuys=True),
    press(14000, "BUY", 0),
    update(15050, 0.98, 0.02, 1, 0, 0.02),
    frame(15100, 182, tickCount=0, price=1, **LIVE),
    trade(15130, "buy", 0, 1),
    frame(15350, 190, tickCount=1, price=1.5, **LIVE, **POOL),
    frame(15360, 191, tickCount=1, price=9.0, **LIVE),
    press(15500, "SELL", 1),
    frame(15850, 184, tickCount=3, partialPrices={"values": {"3": 1.2}}, **LIVE),
    trade(15900, "sell", 3, 1.2),
    update(15910, 1.004, 0, 0, 0.004),
    frame(16100, 185, tickCount=4, price=0.01, **{**LIVE, "rugged": True}),
    update(16200, 1.104),
    frame(16600, 186, tickCount=5, price=0.01, **{**LIVE, "rugged": True}),
]
HASH = 3791781 / 2**24  # of the first 6 hex digits of sha256(GAME)
OBSERVATIONS = [
    # tick, price, phase, timer, presale, active, rugged, players, game
    # balance, position, average, pnl, invested, pool, threshold, instarugs, multiplier, 2x, 10x, 50x, 100x, highest
    # velocity, acceleration, unrealized, its share, pool ratio, at risk, time in position
    # ticks since a press, bet, execution tick, price, press time, latency
    [
        *[0, 1, 2, 0, 0, 1, 0, 182, HASH, 0.98, 0.02, 1, 0, 0.02, 0, 0, 0, 4, 50, 8, 2, 1, 300],
        *[0, 0, 0, 0, 0, 0.02, 0, 0, 0.02, 0, 0, 0, 0],
    ],
    [
        *[1, 1.5, 2, 0, 0, 1, 0, 190, HASH, 0.98, 0.02, 1, 0, 0.02, 2, 8, 1, 4, 50, 8, 2, 1, 300],
        *[0.5, 0, 0.01, 0.5, 0.25, 0.02 / 1.01, 1, 1, 0.02, 0, 1, 13900, 1130],
    ],
    [
        *[3, 1.2, 2, 0, 0, 1, 0, 184, HASH, 0.98, 0.02, 1, 0, 0.02, 2, 8, 1, 4, 50, 8, 2, 1, 300],
        *[-0.15, -0.325, 0.004, 0.2, 0.25, 0.02 / 1.004, 3, 2, 0.02, 0, 1, 13900, 1130],
    ],
    [
        *[4, 0.01, 3, 0, 0, 1, 1, 185, HASH, 1.004, 0, 0, 0.004, 0.02, 2, 8, 1, 4, 50, 8, 2, 1, 300],
        *[-1.19, -1.04, 0, 0, 0.25, 0, 0, 3, 0.02, 3, 1.2, 15400, 400],
    ],
]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Return the arrays of the round."""
    rows = []
    for seq, (ms, name, content) in enumerate(EVENTS):
        ts = f"{START}{ms // 1000:02d}.{ms % 1000:03d}"
        game = GAME if name is None else content["data"].get("gameId")
        doc_type = "button_event" if name is None else "ws_event"
        row = {"ts": ts, "session_id": "s", "seq": seq, "doc_type": doc_type, "event_name": name, "game_id": game}
        rows.append({**row, "raw_json": json.dumps(content)})
    folder = write_rows(rows, tmp_path_factory.mktemp("round"))
    table = read(folder, find(folder, {}), {})
    assert findings(table) == []
    return encode(table, {})


def test_observations(arrays):
    assert arrays["observation"].dtype == np.float32
    np.testing.assert_allclose(arrays["observation"], OBSERVATIONS, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("name", "expected"), [
    ("label_action", [1, 2, 0, -1]),  # BUY was pressed in presale
    ("mask_action", [[1, 1, 1, 1]] * 3 + [[1, 0, 0, 0]]),
    ("refused", [0, 0, 0, 0]),
    ("executed", [1, 1, 0, 0]),
    ("terminated", [0, 0, 1, 0]),
    ("truncated", [0, 0, 0, 0]),
    ("player_known", [1, 1, 1, 1]),
    ("tick", [0, 1, 3, 4]),
    ("line", [7, 9, 12, 15]),
    ("kept", [1, 1, 1, 1]),
    ("time", [START_MS * 10**6] * 4),
    ("game", [GAME.encode()] * 4),
    ("lookback", [0, 0, 0, 0]),
    ("player", [0, 0, 0, 0]),
    ("group_offsets", [0, 4]),
    ("source", [0]),
])  # fmt: skip
def test_other_fields(arrays, name, expected):
    assert arrays[name].tolist() == expected


def test_rewards(arrays):
    """(0.98 + 0.02 x 1.5) - 1.0; (0.98 + 0.02 x 1.2) - 1.01; 1.104, paid after the rug, - 1.004."""
    assert arrays["reward"] == pytest.approx([0.01, -0.006, 0.1, 0], abs=1e-7)
