"""The JSON of needed events -> typed structs.

A frame is some 5 KB, of which 0.3 KB have a use: msgspec decodes those into typed structs and skips the rest, 1.4 GB/s
where orjson, which makes objects of everything, reaches 0.45 GB/s and pyarrow.json as much (63 MB of frames, measured).
What it refuses (NaN tokens, a list with a `__trace` object, text in a number's place) is read again by `json`.

The attributes of the structs are named as the columns of `encode.columns` that are made of them; the key of the JSON is
their name in the encoding.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, field

from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE

Number = float | None
Flag = bool | None
Text = str | None
T = TypeVar("T")


class RugPool(Struct):
    """What a frame says of the rug pool."""

    pool: Number = field(name="rugpoolAmount", default=None)
    pool_threshold: Number = field(name="threshold", default=None)
    instarug: Number = field(name="instarugCount", default=None)


class Frame(Struct):
    """The payload of a gameStateUpdate."""

    game: Text = field(name="gameId", default=None)
    tick: Number = field(name="tickCount", default=None)
    price: Number = None
    timer: Number = field(name="cooldownTimer", default=None)
    active: Flag = None
    rugged: Flag = None
    presale: Flag = field(name="allowPreRoundBuys", default=None)
    connected: Number = field(name="connectedPlayers", default=None)
    avg_mult: Number = field(name="averageMultiplier", default=None)
    c2: Number = field(name="count2x", default=None)
    c10: Number = field(name="count10x", default=None)
    c50: Number = field(name="count50x", default=None)
    c100: Number = field(name="count100x", default=None)
    highest: Number = field(name="highestToday", default=None)
    rugpool: RugPool | None = None
    partial: msgspec.Raw = field(name="partialPrices", default=msgspec.Raw())


class Player(Struct):
    """The payload of a playerUpdate, or of a usernameStatus, which has the id only."""

    game: Text = field(name="gameId", default=None)
    player: Text = field(name="id", default=None)
    cash: Number = None
    qty: Number = field(name="positionQty", default=None)
    avg: Number = field(name="avgCost", default=None)
    pnl: Number = field(name="cumulativePnL", default=None)
    invested: Number = field(name="totalInvested", default=None)


class Trade(Struct):
    """The payload of a standard/newTrade."""

    game: Text = field(name="gameId", default=None)
    player: Text = field(name="playerId", default=None)
    type: Text = None
    trade: Text = field(name="id", default=None)
    trade_tick: Number = field(name="tickIndex", default=None)
    trade_price: Number = field(name="price", default=None)


class Press(Struct):
    """A button_event."""

    game: Text = field(name="game_id", default=None)
    button_id: Text = None
    button_category: Text = None
    server_ts: str | float | None = None
    press_tick: Number = field(name="tick", default=None)
    bet: Number = field(name="bet_amount", default=None)
    client_ms: Number = field(name="client_timestamp", default=None)


class Envelope(Struct, Generic[T]):
    """What the recorder wraps around the payload of a ws_event."""

    data: T | None = None


Payload = Frame | Player | Trade | Press
STRUCTS: Final[dict[int, type[Payload]]] = {GSU: Frame, PLAYER: Player, TRADE: Trade, PRESS: Press, OTHER: Player}
DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    GSU: msgspec.json.Decoder(Envelope[Frame], strict=False).decode,
    PLAYER: msgspec.json.Decoder(Envelope[Player], strict=False).decode,
    TRADE: msgspec.json.Decoder(Envelope[Trade], strict=False).decode,
    PRESS: msgspec.json.Decoder(Press, strict=False).decode,
    OTHER: msgspec.json.Decoder(Envelope[Player], strict=False).decode,
}


class Broken:
    """What stands for a payload that is not JSON."""


BROKEN: Final = Broken()


def decode(kind: int, raws: Iterable[bytes]) -> list[Payload | Broken | None]:
    """Return the payloads of events of one kind; None where there is none, `BROKEN` where the text is not JSON."""
    decoder, result = DECODERS[kind], list[Payload | Broken | None]()
    for raw in raws:
        try:
            content = decoder(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            result.append(_tolerant(kind, raw))
        else:
            result.append(content if kind == PRESS else content.data)
    return result


def broken(raws: pa.Array) -> np.ndarray:
    """Tell which payloads are cut off, bool (N,): those whose braces do not match at the end are looked at."""
    n_open, n_close = (pc.count_substring(raws, pattern=brace) for brace in "{}")
    is_odd = pc.or_(pc.invert(pc.ends_with(raws, pattern="}")), pc.not_equal(n_open, n_close))
    result = is_odd.to_numpy(zero_copy_only=False).copy()
    odd = np.flatnonzero(result)
    if len(odd):
        result[odd] = [not _is_json(raw) for raw in raws.take(odd).to_pylist()]
    return result


def _is_json(raw: bytes) -> bool:
    """Say whether a text is JSON, NaN and infinity allowed."""
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _tolerant(kind: int, raw: bytes) -> Payload | Broken | None:
    """Read a payload of which some value is not of its type: such a value is missing."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return BROKEN
    if kind != PRESS:
        content = content.get("data") if isinstance(content, dict) else None
    if isinstance(content, list):
        dicts = [item for item in content if isinstance(item, dict) and "__trace" not in item]
        content = dicts[-1] if dicts else None
    return _struct(STRUCTS[kind], content) if isinstance(content, dict) else None


def _struct(cls: type[Any], content: Mapping[str, Any]) -> Any:
    values = {}
    for item in msgspec.structs.fields(cls):
        value = content.get(item.encode_name)
        if item.name == "rugpool":
            values[item.name] = _struct(RugPool, value) if isinstance(value, dict) else None
        elif item.name == "partial":
            values[item.name] = msgspec.Raw(json.dumps(value).encode())
        elif item.type == Text:
            values[item.name] = value if isinstance(value, str) else None
        elif item.name == "server_ts":
            values[item.name] = value if isinstance(value, str) else number(value)
        else:
            values[item.name] = number(value)
    return cls(**values)


def number(value: object) -> float:
    """Return a JSON value as a finite number, NaN if it is none.

    Examples
    --------
    >>> number("2.5"), number(True), number(None), number("Infinity")
    (2.5, 1.0, nan, nan)
    """
    if isinstance(value, str):
        value = {"true": 1.0, "false": 0.0}.get(value.lower(), value.replace("_", "?"))
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return result if math.isfinite(result) else math.nan
