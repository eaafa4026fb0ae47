"""An event in any of its forms -> the kind of event and its numbers.

- a row of the store: 20 columns, `doc_type` and `raw_json` among them;
- an event of the feed: ``{"event_name": name, "data": payload}``, or with `event` instead of `event_name`;
- a flat one: ``{"event_name": name, "game_id": ..., "tick": ..., "price": ...}``, with the payload's own names too.

Without a name, `button_id` makes an event a press, `cash`, `positionQty` or `position_qty` a player update; any other
is a frame. A list as payload holds the payload last, behind objects with `__trace`. `ts`, ISO text or ms since 1970, is
when the event was recorded; `session_id` and `seq` order it, where it has them.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from stages.datasets.rugs.encode import columns
from stages.datasets.rugs.reading import payload
from stages.datasets.rugs.reading.store import KINDS, NO_GAME, NOT_NEEDED
from stages.datasets.rugs.schema import GSU, OTHER, PLAYER, PRESS, TRADE

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NS_PER_MS: Final = 1_000_000
WRAPPERS: Final = ("ts", "event", "event_name", "source", "doc_type", "session_id", "seq", "direction")
# Names in flat events -> names in payloads, for the kinds in which they differ.
FLAT: Final = {
    GSU: {
        "game_id": "gameId",
        "tick": "tickCount",
        "cooldown_timer": "cooldownTimer",
        "cooldown_timer_ms": "cooldownTimer",
        "allow_pre_round_buys": "allowPreRoundBuys",
        "connected_players": "connectedPlayers",
    },
    PLAYER: {"position_qty": "positionQty", "avg_cost": "avgCost", "cumulative_pnl": "cumulativePnL"},
    TRADE: {"game_id": "gameId", "player_id": "playerId", "tick": "tickIndex"},
    PRESS: {"gameId": "game_id"},
    OTHER: {},
}
PLAYER_NAMES: Final = ("cash", "positionQty", "position_qty")


@dataclass(frozen=True)
class Message:
    """One event.

    Attributes
    ----------
    kind
        See `schema`; `NOT_NEEDED` is what has no use or cannot be read.
    game_id
        The game that the event names; empty if it names none: then it is of the session's present game.
    ts_ns
        When it was recorded, ns since 1970 UTC; 0 if that is not told.
    numbers
        Columns of `encode.events.Events`; NaN is missing.
    own_id
        The own player, if the event tells.
    player_id, trade_id
        Of a trade.
    session, seq, doc_type
        What orders it, and what makes it a duplicate; `seq` is None if it is not told.
    """

    kind: int
    game_id: str = ""
    ts_ns: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict)
    own_id: str = ""
    player_id: str = ""
    trade_id: str | None = None
    session: str = ""
    seq: int | None = None
    doc_type: str = ""


def message(event: "Mapping[str, Any] | Message") -> Message:
    """Read one event."""
    return messages([event])[0]


def messages(events: Iterable["Mapping[str, Any] | Message"]) -> list[Message]:
    """Read events, much faster than one by one; what is read already stays as it is."""
    given = list(events)
    raw = {i: event for i, event in enumerate(given) if not isinstance(event, Message)}
    by_kind: dict[int, list[int]] = {}
    for i, event in raw.items():
        by_kind.setdefault(_kind(event), []).append(i)
    found = {i: event for i, event in enumerate(given) if isinstance(event, Message)}
    for kind, chosen in by_kind.items():
        raws = [_raw(kind, raw[i]) for i in chosen] if kind != NOT_NEEDED else []
        found |= zip(chosen, read(kind, raws, [_envelope(raw[i]) for i in chosen]), strict=True)
    return [found[i] for i in range(len(given))]


def with_owner(event: Message, own_id: str) -> Message:
    """Return an event, a trade with the number `is_own`, if it has none yet; `own_id` is the own player, if known."""
    if event.kind != TRADE or "is_own" in event.numbers:
        return event
    is_own = event.player_id == own_id != ""
    return replace(event, numbers={**event.numbers, "is_own": float(is_own)})


def read(kind: int, raws: Sequence[bytes], envelopes: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Read events of one kind.

    Parameters
    ----------
    kind
        See `schema`, or `NOT_NEEDED`.
    raws
        Their JSON as the store holds it; of `NOT_NEEDED` none.
    envelopes
        What else is told of each: keywords of `Message`.
    """
    if kind == NOT_NEEDED:
        return [Message(NOT_NEEDED, **envelope) for envelope in envelopes]
    contents = payload.decode(kind, raws)
    kinds = [NOT_NEEDED if content is payload.BROKEN else kind for content in contents]
    found = [Message(own, **envelope) for own, envelope in zip(kinds, envelopes, strict=True)]
    usable = [i for i, content in enumerate(contents) if content is not None and content is not payload.BROKEN]
    table = columns.numbers(kind, [contents[i] for i in usable]) if usable else {}
    rows = np.stack([*table.values()], axis=-1).tolist() if table else [[]] * len(usable)
    for i, row in zip(usable, rows, strict=True):
        told = _told(kind, contents[i], envelopes[i])
        numbers = {name: number for name, number in zip(table, row, strict=True) if not math.isnan(number)}
        found[i] = Message(kind, numbers=numbers, **{**envelopes[i], **told})
    return found


def _name(event: Mapping[str, Any]) -> str | None:
    return event.get("event_name") or event.get("event")


def _kind(event: Mapping[str, Any]) -> int:
    """Return the kind of an event."""
    name, doc_type = _name(event), event.get("doc_type")
    if doc_type == "button_event" or name == "button_event":
        return PRESS
    if doc_type and doc_type != "ws_event":
        return NOT_NEEDED
    if name:
        return KINDS.get(name, NOT_NEEDED)
    content = _last_dict(event["data"]) if "data" in event else event
    if "button_id" in content:
        return PRESS
    return PLAYER if any(key in content for key in PLAYER_NAMES) else GSU


def _last_dict(content: object) -> Mapping[str, Any]:
    """Return a payload, which a list holds behind objects with `__trace`; empty where there is none."""
    items = content if isinstance(content, list) else [content]
    dicts = [item for item in items if isinstance(item, Mapping) and "__trace" not in item]
    return dicts[-1] if dicts else {}


def _raw(kind: int, event: Mapping[str, Any]) -> bytes:
    """Return the JSON of an event as the store holds it."""
    if "raw_json" in event:
        text = event["raw_json"] or ""
        return text if isinstance(text, bytes) else text.encode()
    names = FLAT[kind]
    content = event.get("data", event)
    if isinstance(content, Mapping):
        content = {names.get(name, name): value for name, value in content.items() if name not in WRAPPERS}
    return json.dumps(content if kind == PRESS else {"data": content}, default=str).encode()


def _envelope(event: Mapping[str, Any]) -> dict[str, Any]:
    game_id, seq = event.get("game_id"), event.get("seq")
    return {
        "game_id": "" if game_id in NO_GAME else str(game_id),
        "ts_ns": _nanoseconds(event.get("ts", event.get("timestamp"))),
        "session": str(event.get("session_id") or ""),
        "seq": None if seq is None else int(seq),
        "doc_type": str(event.get("doc_type") or ""),
    }


def _told(kind: int, content: Any, envelope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a payload says beside its numbers; its game counts where the row names none."""
    found: dict[str, Any] = {}
    if content.game not in NO_GAME and not envelope.get("game_id"):
        found["game_id"] = content.game
    if kind in (PLAYER, OTHER):
        found["own_id"] = content.player or ""
    elif kind == TRADE:
        found |= {"player_id": content.player or "", "trade_id": content.trade}
    return found


def _nanoseconds(value: object) -> int:
    """Return ISO text (UTC where it names no zone), a `datetime` or ms since 1970 as ns since 1970; 0 for none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        since = (value if value.tzinfo else value.replace(tzinfo=UTC)) - EPOCH
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    return int(value * NS_PER_MS) if isinstance(value, int | float) and math.isfinite(value) else 0
