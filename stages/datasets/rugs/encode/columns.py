"""Payloads of one kind of event -> the columns of `Events` that are of that kind."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import numpy as np

from stages.datasets.rugs.reading import payload
from stages.datasets.rugs.schema import BUTTONS, CATEGORIES, GSU, PLAYER, PRESS, SIDES, TRADE

NO_POOL: Final = payload.RugPool()
COLUMNS: Final[dict[int, tuple[str, ...]]] = {
    GSU: (
        *("tick", "price", "timer", "active", "rugged", "presale", "connected", "avg_mult"),
        *("c2", "c10", "c50", "c100", "highest"),
    ),
    PLAYER: ("cash", "qty", "avg", "pnl", "invested"),
    TRADE: ("trade_tick", "trade_price"),
    PRESS: ("press_tick", "bet", "client_ms"),
}
POOL_COLUMNS: Final = ("pool", "pool_threshold", "instarug")
MORE_COLUMNS: Final = ("price_partial", "side", "button", "category", "server_ms")
NAMES: Final = (*(name for names in COLUMNS.values() for name in names), *POOL_COLUMNS, *MORE_COLUMNS)


def missing(n_rows: int) -> dict[str, np.ndarray]:
    """Return all columns of so many rows, float64, NaN everywhere."""
    return {name: np.full(n_rows, np.nan) for name in NAMES}


def numbers(kind: int, payloads: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return the columns of `Events` of P payloads of one kind, float64 (P,), NaN for missing."""
    result = _matrix(payloads, COLUMNS.get(kind, ()))
    if kind == GSU:
        result |= _matrix([frame.rugpool or NO_POOL for frame in payloads], POOL_COLUMNS)
        result["price_partial"] = _partial(payloads, result["price"], result["tick"])
    elif kind == TRADE:
        result["side"] = _places([str(trade.type).lower() for trade in payloads], SIDES)
    elif kind == PRESS:
        result["button"] = _places([press.button_id for press in payloads], BUTTONS)
        result["category"] = _places([press.button_category for press in payloads], CATEGORIES)
        result["server_ms"] = np.array([_milliseconds(press.server_ts) for press in payloads], np.float64)
    return result


def _matrix(payloads: Sequence[Any], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    if not names:
        return {}
    table = np.array([*map(attrgetter(*names), payloads)], np.float64).reshape(len(payloads), len(names))
    table[~np.isfinite(table)] = np.nan
    return {name: np.ascontiguousarray(column) for name, column in zip(names, table.T, strict=True)}


def _partial(frames: Sequence[payload.Frame], price: np.ndarray, tick: np.ndarray) -> np.ndarray:
    """Return the price of a frame's tick in its candle; NaN where the frame has a price, which goes before."""
    result = np.full(len(frames), np.nan)
    is_needed = np.isnan(price) & ~np.isnan(tick)
    for i in np.flatnonzero(is_needed).tolist():
        candle = _candle(bytes(frames[i].partial))
        values = candle.get("values") if isinstance(candle, dict) else None
        if isinstance(values, dict):
            result[i] = payload.number(values.get(str(int(tick[i]))))
    return result


def _candle(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):  # no candle, or what msgspec skips unread: numbers of thousands of digits
        return None


def _places(values: Sequence[str | None], names: Sequence[str]) -> np.ndarray:
    place = {name: float(i) for i, name in enumerate(names)}
    return np.array([place.get(value or "", math.nan) for value in values], np.float64)


def _milliseconds(value: str | float | None) -> float:
    """Return a time of the server, ISO text or ms since 1970, as ms since 1970, floored."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return payload.number(value)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return float((aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
    return payload.number(value)
