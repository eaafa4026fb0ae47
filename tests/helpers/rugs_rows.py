"""Write rows of 20 columns, given as dicts, as the hive-partitioned Parquet store that the recorder writes."""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.places import REFERENCE_DIR

REFERENCE = REFERENCE_DIR / "rugs"
NO_REFERENCE = "the reference store is not beside the repository"

INTEGERS = ("seq", "tick", "sequence_position")
COLUMNS = (
    "ts", "source", "doc_type", "session_id", "seq", "direction", "raw_json", "game_id", "player_id", "username",
    "event_name", "price", "tick", "action_type", "cash", "position_qty", "button_id", "button_category",
    "sequence_id", "sequence_position",
)  # fmt: skip
SCHEMA = pa.schema([(name, pa.int64() if name in INTEGERS else pa.string()) for name in COLUMNS])


def write_rows(rows: Iterable[Mapping[str, Any]], root: Path, rows_per_file: int = 100) -> Path:
    """Write rows below ``root/events_parquet`` in the order given, ``rows_per_file`` a file; return `root`."""
    folders: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        folders[row["doc_type"], row["ts"][:10]].append(row)
    for (doc_type, date), chosen in folders.items():
        folder = root / "events_parquet" / f"doc_type={doc_type}" / f"date={date}"
        for number, start in enumerate(range(0, len(chosen), rows_per_file)):
            stamp = f"{date.replace('-', '')}_000000_{number:06d}_{number:08x}"
            write_file(chosen[start : start + rows_per_file], folder / f"{stamp}.parquet")
    return root


def write_file(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write rows as one Parquet file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
    return path


def read_rows(root: Path) -> list[dict[str, Any]]:
    """Return the rows of all files below a folder, files in the order of their paths."""
    files = sorted(path for path in root.rglob("*.parquet") if not path.name.startswith("."))
    return [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]


def make_row(seq: int, event: str, data: Any, game: str | None = None, session: str = "s-1") -> dict[str, Any]:
    """Return a ws_event, or a button_event where `event` is empty, recorded `seq` times 100 ms after midnight."""
    ts = (datetime(2025, 12, 28, tzinfo=UTC) + timedelta(milliseconds=100 * seq)).isoformat()[:-6]
    content = {"event": event, "data": data} if event else data
    shared = {"ts": ts, "session_id": session, "seq": seq, "raw_json": json.dumps(content), "game_id": game}
    if event:
        return {**shared, "doc_type": "ws_event", "event_name": event, "source": "public_ws", "direction": "received"}
    return {**shared, "doc_type": "button_event", "source": "ui", "direction": "sent"}


def session_rows(n_games: int, session: str = "s-1", first: int = 0) -> list[dict[str, Any]]:
    """Return a session of games of five frames; in each a press, a trade of its own, a foreign one and an update."""
    rows = [make_row(1, "usernameStatus", {"id": "me"}, session=session)]
    for number in range(first, first + n_games):
        game, seq = f"20251228-{number:016x}", 2 + 100 * number
        for tick in range(5):
            frame = {"gameId": game, "tickCount": tick, "price": 1 + tick / 10, "active": True, "rugged": tick == 4}
            frame |= {
                "rugpool": {"rugpoolAmount": 2.5, "threshold": 10, "instarugCount": 3},
                "leaderboard": [{"id": 1}],
            }
            rows.append(make_row(seq + 10 * tick, "gameStateUpdate", frame, game, session))
        press = {"button_id": "BUY", "button_category": "action", "tick": 1, "bet_amount": 0.002, "game_id": game}
        trade = {"gameId": game, "type": "buy", "price": 1.1, "tickIndex": 1}
        update = {"id": "me", "cash": 1 + number, "positionQty": 0.5, "avgCost": 1.1}
        chat = [{"__trace": True}, {"message": "gl"}]
        rows += [
            make_row(seq + 11, "", {**press, "client_timestamp": 1766880000000}, game, session),
            make_row(seq + 12, "standard/newTrade", [{"__trace": True}, {**trade, "playerId": "me"}], None, session),
            make_row(seq + 13, "standard/newTrade", {**trade, "playerId": "you"}, game, session),
            make_row(seq + 14, "playerUpdate", update, None, session),
            make_row(seq + 15, "newChatMessage", chat, None, session),
        ]
    return rows


def unpack_store(folder: Path) -> Path:
    """Unpack the reference store into a folder and return its root; skip the test where there is none."""
    if not (REFERENCE / "store.tar.gz").is_file():
        pytest.skip(NO_REFERENCE)
    with tarfile.open(REFERENCE / "store.tar.gz") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.2 has none
        archive.extractall(folder)
    return next(folder.rglob("events_parquet")).parent
