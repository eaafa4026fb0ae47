"""Events of rugs episodes from a few words each, and what an encoder makes of them."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from stages.datasets.rugs import schema
from stages.datasets.rugs.encode import Table, encode
from stages.datasets.rugs.encode.events import Events
from stages.datasets.rugs.schema import BUTTONS, CATEGORIES, FEATURE_NAMES, GSU, OTHER, PLAYER, PRESS, TRADE

Row = dict[str, Any]
COLUMNS = [field.name for field in fields(Events)][4:-6]
START_MS = 1_766_916_000_000


def frame(tick: float, price: float = 1.0, **columns: float) -> Row:
    """Return a frame of the active round."""
    return {"kind": GSU, "tick": tick, "price": price, "active": 1, "rugged": 0, "timer": 0, "presale": 0, **columns}


def rug(tick: float, price: float = 0.01) -> Row:
    """Return the frame of a rug."""
    return frame(tick, price, rugged=1)


def waiting(timer: float, presale: float = 0) -> Row:
    """Return a frame of the cooldown, or of presale."""
    return {"kind": GSU, "timer": timer, "presale": presale, "connected": 100}


def update(cash: float = np.nan, qty: float = np.nan, avg: float = np.nan) -> Row:
    """Return an update of the player's state."""
    return {"kind": PLAYER, "cash": cash, "qty": qty, "avg": avg}


def press(button: str, tick: float = np.nan, bet: float = 0.0, **columns: float) -> Row:
    """Return a press; it was made when it was recorded."""
    category = "action" if button in BUTTONS[:3] else "percentage" if button.startswith("SELL") else "bet_adjust"
    codes = {"button": BUTTONS.index(button), "category": CATEGORIES.index(category)}
    return {"kind": PRESS, **codes, "press_tick": tick, "bet": bet, **columns}


def trade(side: int, tick: float, price: float, is_own: float = 1) -> Row:
    """Return a trade."""
    return {"kind": TRADE, "side": side, "trade_tick": tick, "trade_price": price, "is_own": is_own}


def identity() -> Row:
    """Return the row that names the player."""
    return {"kind": OTHER}


def events(*episodes: Sequence[Row], cash: float = np.nan) -> Events:
    """Return the table of some episodes, named g0, g1, ...; `cash` is carried into each. Rows come 100 ms apart."""
    rows = [row for episode in episodes for row in episode]
    line = np.concatenate([[], *(np.arange(len(episode)) + 1 for episode in episodes)]).astype(np.int32)
    ts_ms = START_MS + 100 * (line.astype(np.int64) - 1)
    columns = {name: np.array([row.get(name, np.nan) for row in rows], float) for name in COLUMNS}
    is_press = np.array([row["kind"] == PRESS for row in rows], bool) & np.isnan(columns["client_ms"])
    columns["client_ms"][is_press] = ts_ms[is_press]
    return Events(
        episode=np.repeat(np.arange(len(episodes), dtype=np.int32), [len(episode) for episode in episodes]),
        kind=np.array([row["kind"] for row in rows], np.int8),
        ts_ms=ts_ms,
        line=line,
        **columns,
        game_ids=tuple(f"g{index}" for index in range(len(episodes))),
        cash_carried=np.full(len(episodes), cash),
        start_ns=np.full(len(episodes), START_MS * 10**6),
        players=np.arange(len(episodes), dtype=np.uint64),
        offsets=np.cumsum([0, *(len(episode) for episode in episodes)]),
        findings=(),
    )


def table(*episodes: Sequence[Row], cash: float = np.nan, **options: Any) -> Table:
    """Return what `read` would give."""
    return Table(events(*episodes, cash=cash), schema.parse_options(options))


def arrays(*episodes: Sequence[Row], cash: float = np.nan, **options: Any) -> dict[str, np.ndarray]:
    """Return the arrays of some episodes."""
    return encode(table(*episodes, cash=cash, **options), options)


def feature(found: dict[str, np.ndarray], name: str) -> list[float]:
    """Return one feature of all steps, rounded as printed floats of 6 digits are."""
    return [float(f"{value:.6g}") for value in found["observation"][:, FEATURE_NAMES.index(name)].tolist()]
