"""Write the rows of a session the way the recorder does: small Parquet files by kind of document and date.

Rows are buffered; 100 of them, or 5 s since the last time, are flushed into a file for each `doc_type` and UTC date
among them: ``doc_type=<doc_type>/date=<YYYY-MM-DD>/<YYYYmmdd_HHMMSS_ffffff>_<8 hex>.parquet``, all with 20 columns.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.datasets.rugs.simulate.game import MS, SECOND, moment
from stages.datasets.rugs.simulate.rows import BUTTON, HERO, HERO_NAME, WS, Row

_BUFFER_ROWS, _BUFFER_TIME = 100, 5 * SECOND
_REFLUSH_DELAY = 420 * SECOND
_NAMES = (
    "ts", "source", "doc_type", "session_id", "seq", "direction", "raw_json", "game_id", "player_id", "username",
    "event_name", "price", "tick", "action_type", "cash", "position_qty", "button_id", "button_category",
    "sequence_id", "sequence_position",
)  # fmt: skip
_WHOLE = {"seq", "tick", "sequence_position"}
SCHEMA = pa.schema([(name, pa.int64() if name in _WHOLE else pa.string()) for name in _NAMES])
_SHUFFLED, _SWAPPED = 0.05, 0.002
_SKIPPABLE = ("newChatMessage", "goldenHourUpdate")


@dataclass(frozen=True)
class Record:
    """A row with its number in the session, its text and the time it claims."""

    seq: int
    row: Row
    raw: str
    claimed: int


@dataclass(frozen=True)
class Flush:
    """The rows that are written at one time, in µs since the epoch."""

    time: int
    records: list[Record]


def numbered(rows: list[Row], is_service: bool) -> list[Record]:
    """Return the records of a session's rows."""
    return [Record(i, row, _raw(row, is_service), row.time) for i, row in enumerate(rows, int(is_service))]


def flushes(records: list[Record]) -> Iterator[Flush]:
    """Yield what the buffer lets go, when."""
    held: list[Record] = []
    since = records[0].row.time
    for record in records:
        held.append(record)
        if len(held) >= _BUFFER_ROWS or record.row.time - since >= _BUFFER_TIME:
            since = record.row.time
            yield Flush(since, held)
            held = []
    if held:
        yield Flush(records[-1].row.time + MS, held)


def spoiled_records(records: list[Record], rng: Random) -> tuple[list[Record], dict[str, int]]:
    """Return records with truncated texts, a press that is stored twice, and neighbours with swapped times."""
    result = list(records)
    chat = [i for i, record in enumerate(records) if record.row.event in _SKIPPABLE]
    frames = [i for i, record in enumerate(records) if record.row.kind == "standard" and record.row.tick]
    cut = [*rng.sample(chat, min(2, len(chat))), *rng.sample(frames, min(1, len(frames)))]
    for i in cut:
        result[i] = replace(records[i], raw=records[i].raw[: 37 + len(records[i].raw) // 4])
    swapped = [i for i in range(0, len(records) - 1, 2) if rng.random() < _SWAPPED]
    for i in swapped:
        times = result[i + 1].claimed, result[i].claimed
        result[i], result[i + 1] = (replace(result[i + k], claimed=times[k]) for k in (0, 1))
    presses = [i for i, record in enumerate(records) if record.row.doc_type == BUTTON][:1]
    for i in presses:
        result.insert(i + 1, result[i])
    return result, {"truncated_json": len(cut), "swapped_times": len(swapped), "press_stored_twice": len(presses)}


def spoiled_flushes(found: list[Flush], rng: Random) -> tuple[list[Flush], dict[str, int]]:
    """Return flushes of which some have their rows shuffled, and one is written again under another name."""
    result = [
        replace(flush, records=rng.sample(flush.records, len(flush.records))) if rng.random() < _SHUFFLED else flush
        for flush in found
    ]
    again = rng.choice(found)
    n_shuffled = sum(new is not old for new, old in zip(result, found, strict=True))
    result.append(Flush(again.time + _REFLUSH_DELAY, again.records))
    return result, {"shuffled_flush": n_shuffled, "reflushed_rows": len(again.records)}


def write(folder: Path, flush: Flush, session_id: str, rng: Random) -> list[Path]:
    """Write the files of a flush below a folder and return their paths relative to it."""
    is_service = not session_id.startswith("cdp")
    parts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in flush.records:
        row = columns(record, session_id, is_service)
        parts[row["doc_type"], row["ts"][:10]].append(row)
    paths = []
    for (doc_type, date), rows in sorted(parts.items()):
        name = f"{moment(flush.time):%Y%m%d_%H%M%S_%f}_{rng.getrandbits(32):08x}.parquet"
        path = Path(f"doc_type={doc_type}") / f"date={date}" / name
        _write_file(folder / path, pa.Table.from_pylist(rows, SCHEMA))
        paths.append(path)
    return paths


def columns(record: Record, session_id: str, is_service: bool) -> dict[str, Any]:
    """Return the columns of a record that are not null."""
    row = record.row
    ts = moment(record.claimed)
    source = "ui" if row.doc_type in (BUTTON, "player_action") else "public_ws" if is_service else "cdp"
    return {
        "ts": (ts.replace(tzinfo=None) if is_service else ts).isoformat(),
        "source": source,
        "doc_type": row.doc_type,
        "session_id": session_id,
        "seq": record.seq,
        "direction": "sent" if source == "ui" else "received",
        "raw_json": record.raw,
        "game_id": row.game_id,
        **_extra(row, is_service),
    }


def _extra(row: Row, is_service: bool) -> dict[str, Any]:
    """Return the columns that only some kinds of documents fill."""
    payload = row.payload if isinstance(row.payload, Mapping) else {}
    if row.doc_type == WS:
        told = {"price": _decimal(payload.get("price")), "tick": payload.get("tickCount")}
        return {"event_name": row.event, **({} if is_service else told)}
    if row.doc_type == BUTTON:
        names = ("button_id", "button_category", "sequence_id", "sequence_position", "tick")
        return {"price": _decimal(payload["price"]), **{name: payload[name] for name in names}}
    if row.doc_type == "game_tick":
        return {"price": _decimal(payload["price"]), "tick": payload["tick"]}
    if row.doc_type == "player_action":
        return {"action_type": row.event}
    state = {"cash": _decimal(payload["cash"]), "position_qty": _decimal(payload["positionQty"])}
    return {**state, "player_id": HERO, "username": HERO_NAME}


def _decimal(value: Any) -> str | None:
    return None if value is None else str(value)


def _raw(row: Row, is_service: bool) -> str:
    if row.doc_type != WS:
        return json.dumps(row.payload)
    stamp = {} if is_service else {"timestamp": row.time // MS}
    return json.dumps({"event": row.event, **stamp, "data": row.payload})


def _write_file(path: Path, table: pa.Table) -> None:
    """Write a file; it appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, partial, compression="snappy")
    partial.replace(path)
